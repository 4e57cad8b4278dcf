"""pipeline/parse.py and pipeline/check.py: a YAML file becomes a Pipeline, or every problem with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reloader.errors import InputError, Problem
from reloader.pipeline.model import Apply, Mark, Role
from reloader.pipeline.parse import parse_pipelines, read_pipelines

GOOD = """\
# yaml-language-server: $schema=pipeline.schema.json
apiVersion: reloader/v1
kind: Pipeline
metadata: {name: edge}
spec:
  objects: [edge.bpf.o, {file: /abs/b.bpf.o, sha256: %s}]
  stateSchema: edge
  rodata: {sample_rate: 128, cfg: {ports: [53, 80]}}
  attach:
    - {program: count_flows, type: xdp, interface: eth0}
    - {program: drop_bad, type: xdp, interface: eth0, mode: skb, netns: blue}
    - program: drop_bad
      type: xdp
      interface: eth1
      netns: /proc/1/ns/net
  maps:
    blocklist: {role: config, from: {csv: lists/block.csv}, apply: auto, together_with: [policies]}
    policies:
      role: config
      entries:
        - {key: {id: 7}, value: {action: drop}}
      prune: false
      byteorder: {key.id: network}
      max_entries: 100
    third: {role: config, together_with: [blocklist]}
    flows: {role: state}
    .bss: {role: state}
    events: {role: stream}
    bans: {role: external, pin: /sys/fs/bpf/ddos/bans}
  health:
    window: 10s
    checks:
      - {map: flows, field: packets, rate_below: 1/s, failures: 2}
      - {http: "http://[::1]:80/x", netns: red, timeout: 1s}
""" % ("ab" * 32)


def problems_of(source: str | bytes) -> list[Problem]:
    data = source.encode() if isinstance(source, str) else source
    with pytest.raises(InputError) as caught:
        parse_pipelines(data, Path("/src/t.yaml"))
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_whole_pipeline() -> None:
    (edge,) = parse_pipelines(GOOD.encode(), Path("/src/edge.yaml"))
    assert edge.name == "edge"
    assert [(o.path, o.sha256) for o in edge.objects] == [("/src/edge.bpf.o", None), ("/abs/b.bpf.o", "ab" * 32)]
    assert edge.state_schema == "edge"
    assert edge.rodata == {"sample_rate": 128, "cfg": {"ports": [53, 80]}}
    assert edge.rodata_marks["cfg.ports[1]"] == Mark(line=8, column=48)
    assert [a.options for a in edge.attach][1] == {"interface": "eth0", "mode": "skb", "netns": "blue"}
    assert edge.attach[2].marks["interface"] == Mark(line=14, column=18)
    maps = {m.name: m for m in edge.maps}
    assert maps["blocklist"].bulk is not None
    assert (maps["blocklist"].bulk.format, maps["blocklist"].bulk.path) == ("csv", "/src/lists/block.csv")
    assert maps["policies"].entries is not None
    entry = maps["policies"].entries[0]
    assert (entry.key, entry.value, entry.mark.line) == ({"id": 7}, {"action": "drop"}, 21)
    assert entry.marks["value.action"] == Mark(line=21, column=42)
    assert (maps["policies"].prune, maps["policies"].max_entries) == (False, 100)
    assert maps["policies"].byteorder == {"key.id": "network"}
    assert maps["policies"].marks["byteorder.key.id"] == Mark(line=23, column=19)
    assert maps["bans"].pin == "/sys/fs/bpf/ddos/bans"
    assert maps[".bss"].role is Role.STATE
    assert maps["blocklist"].apply is Apply.AUTO


def test_together_with_is_made_symmetric_and_transitive() -> None:
    (edge,) = parse_pipelines(GOOD.encode(), Path("/src/edge.yaml"))
    tied = {m.name: m.together_with for m in edge.maps if m.together_with}
    assert tied == {
        "blocklist": ("policies", "third"),
        "policies": ("blocklist", "third"),
        "third": ("blocklist", "policies"),
    }


BAD = [
    ("rate_below: 1/s, ", "", "33:9", "spec.health.checks[0]", "bound-missing", "at least one of above"),
    ("reloader/v1", "reloader/v2", "2:13", "apiVersion", "wrong-constant", ""),
    ("kind: Pipeline", "kind: SockLB", "3:7", "kind", "wrong-constant", ""),
    ("{name: edge}", "{name: Edge}", "4:18", "metadata.name", "invalid-text", "a small letter"),
    ("{name: edge}", '{name: "edge\\n"}', "4:18", "metadata.name", "invalid-text", "a small letter"),
    ("{name: edge}", "{name: 7}", "4:18", "metadata.name", "wrong-type", "quotes"),
    ("{name: edge}", "{}", "4:1", "metadata", "missing-field", "identity"),
    ("{name: edge}", "edge", "4:11", "metadata", "wrong-type", ""),
    ("stateSchema: edge", "stateSchema: 'A b'", "7:16", "spec.stateSchema", "invalid-text", ""),
    ("stateSchema: edge", "stateschema: edge", "7:3", "spec.stateschema", "unknown-field", "mean 'stateSchema'?"),
    ("sample_rate: 128", "sample_rate: ~", "8:25", "spec.rodata.sample_rate", "empty-value", ""),
    ("type: xdp, interface: eth0}", "type: xdp}", "10:7", "spec.attach[0]", "missing-field", "network"),
    ("interface: eth0}", "interface: a/b}", "10:52", "spec.attach[0].interface", "invalid-text", "15 characters"),
    (
        "interface: eth0}",
        "chain: {}, interface: x}",
        "10:41",
        "spec.attach[0].chain",
        "field-not-available",
        "remove it",
    ),
    ("mode: skb", "mode: hw", "11:61", "spec.attach[1].mode", "not-a-choice", ""),
    ("type: xdp\n", "type: lsm\n", "13:13", "spec.attach[2].type", "not-a-choice", "support 'lsm'"),
    ("mode: skb, netns: blue", "mode: skb", "11:7", "spec.attach[1]", "place-taken", ""),
    ("netns: blue", "netns: a/b", "11:73", "spec.attach[1].netns", "invalid-text", "absolute path"),
    ("edge.bpf.o, ", "/abs/b.bpf.o, ", "6:27", "spec.objects[1]", "duplicate-object", ""),
    ("sha256: ab", "sha256: xx", "6:54", "spec.objects[1].sha256", "invalid-text", "64 hexadecimal"),
    ("csv: lists", "cvs: lists", "17:38", "spec.maps.blocklist.from.cvs", "unknown-field", "mean 'csv'?"),
    (
        "{csv: lists/block.csv}",
        "{csv: a, jsonl: b}",
        "17:37",
        "spec.maps.blocklist.from",
        "too-many-fields",
        "exactly one",
    ),
    ("apply: auto", "apply: flip", "17:68", "spec.maps.blocklist.apply", "not-a-choice", ""),
    ("apply: auto", "apply: entries", "17:68", "spec.maps.blocklist.apply", "tied-apply-entries", "policies"),
    (
        "with: [policies]",
        "with: [polices]",
        "17:90",
        "spec.maps.blocklist.together_with[0]",
        "no-such-tied-map",
        "'policies'?",
    ),
    ("with: [policies]", "with: [flows]", "17:90", "spec.maps.blocklist.together_with[0]", "not-config", ""),
    ("with: [policies]", "with: [blocklist]", "17:90", "spec.maps.blocklist.together_with[0]", "tied-to-itself", ""),
    ("{key: {id: 7}, ", "{", "21:11", "spec.maps.policies.entries[0]", "missing-field", ""),
    ("prune: false", "prune: no", "22:14", "spec.maps.policies.prune", "wrong-type", ""),
    ("prune: false", "from: {csv: x}", "22:7", "spec.maps.policies.from", "entries-and-from", ""),
    ("key.id: network", "key.id: big", "23:27", "spec.maps.policies.byteorder", "not-a-choice", ""),
    ("entries: 100", "entries: 0", "24:20", "spec.maps.policies.max_entries", "number-too-small", ""),
    ("entries: 100", "entries: 4294967296", "24:20", "spec.maps.policies.max_entries", "number-too-large", ""),
    ("flows: {role: state}", "flows: {}", "26:5", "spec.maps.flows", "missing-field", "choose one of config"),
    ("flows: {role: state}", "flows: {role: sate}", "26:19", "spec.maps.flows.role", "not-a-choice", "'state'?"),
    (
        "flows: {role: state}",
        "flows: {role: state, prune: true}",
        "26:26",
        "spec.maps.flows.prune",
        "field-of-other-role",
        "role config",
    ),
    ("flows: {role: state}", "a b: {role: state}", "26:5", 'spec.maps["a b"]', "invalid-map-name", ""),
    ("/sys/fs/bpf/ddos/bans", "bans", "29:33", "spec.maps.bans.pin", "invalid-text", "Absolute"),
    (", pin: /sys/fs/bpf/ddos/bans", "", "29:5", "spec.maps.bans", "pin-missing", ""),
    ("role: stream", "role: stream, pin: /a", "28:28", "spec.maps.events.pin", "field-of-other-role", ""),
    (
        "bans: {role: external,",
        "bans: {role: external, max_entries: 1,",
        "29:28",
        "spec.maps.bans",
        "field-of-other-role",
        "role config, state,",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "path", "reason", "hint"), BAD)
def test_one_wrong_thing(old: str, new: str, place: str, path: str, reason: str, hint: str) -> None:
    (problem,) = problems_of(changed(old, new))
    assert f"{problem.line}:{problem.column}" == place, str(problem)
    assert problem.path.startswith(path)
    assert problem.reason == reason, problem
    assert hint in problem.hint
    assert problem.file == "/src/t.yaml"


def test_a_check_without_a_bound() -> None:
    (problem,) = problems_of(changed("rate_below: 1/s, ", ""))
    assert (problem.line, problem.column, problem.path) == (33, 9, "spec.health.checks[0]")


def test_all_problems_at_once_in_order_of_place() -> None:
    source = changed("{name: edge}", "{name: edge, x: 1}").replace("role: stream", "role: strem")
    source += "---\nkind: Pipeline\n---\n" + GOOD + "---\n- a\n"
    found = [(p.line, p.path) for p in problems_of(source)]
    again = GOOD.count("\n") + 3
    assert found == [
        (4, "metadata.x"),
        (28, "spec.maps.events.role"),
        *[(again - 1, "")] * 3,
        (again + 4, "metadata.name"),
        (2 * again - 1, ""),
    ]


def test_a_name_given_twice_names_both_places() -> None:
    (problem,) = problems_of(GOOD + "---\n" + GOOD)
    assert (problem.reason, problem.values) == ("duplicate-pipeline", {"name": "edge", "line": 4, "column": 18})


def test_pins_that_would_meet_are_refused() -> None:
    source = changed("interface: eth0}", "interface: eth0.1}").replace(
        "interface: eth0, mode: skb, netns: blue", "interface: eth0-1"
    )
    (problem,) = problems_of(source)
    assert (problem.reason, problem.values and problem.values["place"]) == ("place-taken", "xdp:eth0-1")


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.yaml", "cannot-be-read"), ("", "not-a-regular-file"), ("a\0b", "cannot-be-read")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_pipelines(tmp_path / name)
    (problem,) = caught.value.problems
    assert (problem.reason, problem.line) == (reason, 0)


def outcome(source: str) -> list[Problem]:
    """What is wrong with a text; empty when it is good."""
    try:
        parse_pipelines(source.encode("utf-8", "surrogatepass"), Path("/src/t.yaml"))
    except InputError as error:
        if not error.problems:
            pytest.fail("an InputError without a problem")
        return error.problems
    return []


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_mutated_yaml_gives_pipelines_or_problems(data: st.DataObject) -> None:
    """Cut, exchange, repeat or replace a piece of a good file: nothing but InputError may come out."""
    source = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        end = min(len(source), start + data.draw(st.integers(0, 30)))
        pieces = [
            "",
            " ",
            "\n",
            "\t",
            ": ",
            "- ",
            "{",
            "}",
            "[",
            "&a ",
            "*a",
            "!x",
            "~",
            "7",
            "null",
            "#",
            source[start:end] * 2,
        ]
        source = source[:start] + data.draw(st.sampled_from(pieces)) + source[end:]
    assert all(p.line >= 0 and p.message for p in outcome(source))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t, max_size=3), max_leaves=8
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(trees, st.sampled_from(["metadata", "spec", "objects", "attach", "maps", "rodata", "entry"]))
def test_any_tree_in_any_place(tree: object, place: str) -> None:
    """Well-formed YAML of a wrong shape: JSON is YAML, so json.dumps writes it."""
    spec: dict[str, object] = {"objects": ["a.o"], "attach": [{"program": "p", "type": "xdp", "interface": "e"}]}
    whole: dict[str, object] = {
        "apiVersion": "reloader/v1",
        "kind": "Pipeline",
        "metadata": {"name": "a"},
        "spec": spec,
    }
    if place in ("metadata", "spec"):
        whole[place] = tree
    elif place == "entry":
        spec["maps"] = {"m": {"role": "config", "entries": [{"key": tree, "value": tree}]}}
    else:
        spec[place] = tree
    outcome(json.dumps(whole))
