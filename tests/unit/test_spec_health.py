"""spec.health: from text to checks, each finding at its place; and against the objects: fields, keys, programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.errors import InputError, Problem
from reloader.pipeline.checks import (
    Bound,
    Check,
    Health,
    HostCommand,
    Http,
    InterfaceCounter,
    MapField,
    Of,
    ProgramRuns,
    Tcp,
)
from reloader.pipeline.compile import compile_file
from reloader.pipeline.field import find
from reloader.structs.tree import Member, TypeTree

TEXT = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {name: edge}
spec:
  objects: [flow_count.bpf.o]
  attach: [{program: count_flows, type: xdp, interface: eth0}]
  maps:
    flows: {role: state}
    counters: {role: state}
    events: {role: stream}
    blocklist: {role: config, entries: []}
  health:
    window: 2m
    interval: 500ms
    failures: 2
    checks:
      - {map: counters, field: not_ip, rate_below: 60/m, below: 1000}
      - {map: blocklist, key: 192.0.2.1, field: action, above: 0}
      - {program: count_flows, ratio_below: 1.5, failures: 3}
      - {interface: eth0, counter: rx_dropped, rate_below: 10}
      - {tcp: "192.0.2.1:80", netns: blue}
      - {http: "http://[2001:db8::1]:8080/up?x=1", body: fine, timeout: 250ms}
      - {http: "http://192.0.2.1", status: 204}
      - {command: look-at-it}
"""


@pytest.fixture
def place(tmp_path: Path, objects: Callable[[str], Path]) -> Path:
    (tmp_path / "flow_count.bpf.o").write_bytes(objects("programs/flow_count/flow_count").read_bytes())
    return tmp_path / "t.yaml"


def health_of(place: Path, text: str = TEXT) -> Health:
    place.write_text(text)
    (one,) = compile_file(place)
    assert one.wish.health is not None
    return one.wish.health


def test_every_kind_of_check(place: Path) -> None:
    found = health_of(place)
    assert (found.window, found.interval) == (120.0, 0.5)
    rate = Bound(of=Of.RATE, above=False, limit=1.0)
    assert found.checks == (
        Check(
            what=MapField(map="counters", field="not_ip"),
            bounds=(Bound(of=Of.VALUE, above=False, limit=1000.0), rate),
            failures=2,
        ),
        Check(
            what=MapField(map="blocklist", field="action", key=bytes([192, 0, 2, 1])),
            bounds=(Bound(of=Of.VALUE, above=True, limit=0.0),),
            failures=2,
        ),
        Check(
            what=ProgramRuns(program="count_flows"), bounds=(Bound(of=Of.RATIO, above=False, limit=1.5),), failures=3
        ),
        Check(
            what=InterfaceCounter(interface="eth0", counter="rx_dropped"),
            bounds=(Bound(of=Of.RATE, above=False, limit=10.0),),
            failures=2,
        ),
        Check(what=Tcp(address="192.0.2.1", port=80, netns="/run/netns/blue"), failures=2),
        Check(what=Http(address="2001:db8::1", port=8080, path="/up?x=1", body="fine", timeout=0.25), failures=2),
        Check(what=Http(address="192.0.2.1", port=80, path="/", status=204), failures=2),
        Check(what=HostCommand(command="look-at-it"), failures=2),
    )
    assert found.compares
    assert found.counts_runs
    assert found.commands == ("look-at-it",)
    assert found.checks[0].text() == "counters.not_ip, below 1000, rate_below 1/s"


def test_health_is_no_part_of_what_the_kernel_shows(place: Path) -> None:
    place.write_text(TEXT)
    (one,) = compile_file(place)
    place.write_text(TEXT.replace("window: 2m", "window: 3m"))
    (other,) = compile_file(place)
    assert one.wish.digest() == other.wish.digest()
    assert one.wish.health != other.wish.health


BAD = [
    ("window: 2m", "window: 2", "13:13", "health.window", "must be text"),
    ("window: 2m", "window: 2 min", "13:13", "health.window", "not allowed here"),
    ("window: 2m", "window: 25h", "13:13", "health.window", "window-too-long"),
    ("window: 2m", "window: " + "9" * 400 + "s", "13:13", "health.window", "window-too-long"),
    ("timeout: 250ms", "timeout: 0s", "22:73", "checks[5].timeout", "timeout-out-of-range"),
    ("timeout: 250ms", "timeout: " + "9" * 400 + "h", "22:73", "checks[5].timeout", "timeout-out-of-range"),
    ("interval: 500ms", "interval: 3m", "14:15", "health.interval", "interval-out-of-range"),
    ("failures: 3}", "failures: 300}", "19:9", "health.checks[2]", "failures-beyond-window"),
    ("rate_below: 60/m", "rate_below: 60/min", "17:52", "checks[0].rate_below", "not allowed here"),
    ("field: not_ip", "field: not_up", "17:32", "checks[0].field", "not-a-number"),
    (", field: not_ip", "", "17:9", "checks[0].field", "field-missing"),
    ("map: counters, field: not_ip", "map: counter, field: not_ip", "17:15", "checks[0].map", "no-such-map"),
    ("map: counters, field: not_ip", "map: events, field: a", "17:15", "checks[0].map", "map-not-summed"),
    ("key: 192.0.2.1", "key: nowhere", "18:31", "checks[1].key", "not-of-type"),
    ("program: count_flows, ratio", "program: count_flow, ratio", "19:19", "checks[2].program", "no-such-program"),
    (", ratio_below: 1.5", "", "19:9", "checks[2]", "bound-missing"),
    ("counter: rx_dropped, ", "", "20:9", "checks[3]", "counter-missing"),
    ("192.0.2.1:80\"", "localhost:80\"", "21:15", "checks[4].tcp", "not-an-address"),
    ("192.0.2.1:80\"", "192.0.2.1\"", "21:15", "checks[4].tcp", "not-an-address"),
    ("]:8080/up", "]:80800/up", "22:16", "checks[5].http", "not-an-address"),
    ("http://192.0.2.1\"", "https://192.0.2.1\"", "23:16", "checks[6].http", "not allowed here"),
    ("netns: blue}", "netns: blue, below: 1}", "21:44", "checks[4].below", "field-not-used"),
    ("{command: look-at-it}", "{command: /bin/sh}", "24:19", "checks[7].command", "not allowed here"),
    ("{command: look-at-it}", "{failures: 1}", "24:9", "checks[7]", "kind-missing"),
    ("{command: look-at-it}", "{command: a, tcp: '1.2.3.4:5'}", "24:9", "checks[7]", "several-kinds"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "path", "says"), BAD)
def test_one_wrong_thing(place: Path, old: str, new: str, at: str, path: str, says: str) -> None:
    assert TEXT.count(old) == 1, old
    (problem,) = problems_of(place, TEXT.replace(old, new))
    assert f"{problem.line}:{problem.column}" == at, str(problem)
    assert path in problem.path
    assert says == problem.reason or says in problem.message  # a code, or words of the schema


def problems_of(place: Path, text: str) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        health_of(place, text)
    return caught.value.problems


U32 = TypeTree(kind="int", name="u32", size=4)
NETWORK = TypeTree(kind="int", name="be16", size=2, order="big")
PAIR = TypeTree(
    kind="struct", name="pair", size=12,
    members=(
        Member(name="a", offset_bits=0, type=U32),
        Member(name="list", offset_bits=32, type=TypeTree(kind="array", size=4, element=NETWORK, count=2)),
        Member(name="bit", offset_bits=64, bits=1, type=U32),
    ),
)  # fmt: skip
ROWS = TypeTree(kind="array", size=24, element=PAIR, count=2)


@pytest.mark.parametrize(
    ("tree", "path", "sum_"),
    [(U32, "", 1), (ROWS, "[1].a", 0x0F0E0D0C), (PAIR, "list[1]", 0x0607), (ROWS, "[1].list[0]", 0x1011)],
)
def test_numbers_are_found_by_their_path(tree: TypeTree, path: str, sum_: int) -> None:
    found = find(tree, path, "little")
    assert found is not None
    assert found.sum([bytes(range(24))] if tree is not U32 else [b"\1\0\0\0"]) == sum_


@pytest.mark.parametrize("path", ["", "bit", "list", "list[2]", "a.b", "a[0]", "x", "a..", "[0]"])
def test_what_is_no_number_is_not_found(path: str) -> None:
    assert find(PAIR, path) is None


def test_every_cpu_and_entry_counts() -> None:
    found = find(U32, "")
    assert found is not None
    value = b"\1\0\0\0" + bytes(4) + b"\2\0\0\0" + b"\xff" * 4
    assert found.sum([value, value], stride=8) == 6
