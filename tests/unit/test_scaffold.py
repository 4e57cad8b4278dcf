"""scaffold.py: the first YAML from an object says what there is to decide, and is valid once that is decided."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.errors import InputError
from reloader.pipeline.compile import compile_file
from reloader.pipeline.model import Role
from reloader.pipeline.scaffold import first_yaml, pipeline_name

SUBJECT = Path(__file__).parent / "bpf" / "spec_subject.bpf.c"
EVERYTHING = Path(__file__).parent / "bpf" / "everything.bpf.c"


def written(folder: Path, source: Path | str, compile_bpf: Callable[..., Path]) -> Path:
    target = folder / "my.bpf.o"
    target.write_bytes(compile_bpf(source).read_bytes())
    (folder / "my.yaml").write_text(first_yaml([target]))
    return folder / "my.yaml"


def decided(path: Path, role: str = "state") -> Path:
    """The file once its author named the interfaces and chose the roles."""
    text = re.sub(r"\bTODO\b", role, path.read_text())
    path.write_text(re.sub("CHANGE-ME(-[0-9]+)?", lambda m: "eth" + (m[1] or "-1")[1:], text))
    return path


def undecided(path: Path) -> dict[str, list[str]]:
    """Map → choices, of every finding; there must be no other but the interfaces' names."""
    with pytest.raises(InputError) as caught:
        compile_file(path)
    problems = [p for p in caught.value.problems if p.reason != "placeholder"]
    found = [p.values for p in problems if p.reason == "role-not-chosen" and p.values]
    assert len(found) == len(problems) < len(caught.value.problems)
    assert all(p.line for p in problems)
    return {str(v["map"]): list(v["choices"]) for v in found}  # type: ignore[call-overload]


@pytest.mark.parametrize("source", [SUBJECT, EVERYTHING])
def test_it_validates_once_its_roles_are_chosen(
    tmp_path: Path, source: Path, compile_bpf: Callable[[Path], Path]
) -> None:
    path = decided(written(tmp_path, source, compile_bpf))
    (named,) = compile_file(path)
    assert named.wish.pipeline == "my"
    assert "xdp:eth1" in [a.id for a in named.wish.attachments]


def test_what_it_says_of_the_subject(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    text = written(tmp_path, SUBJECT, compile_bpf).read_text()
    modeline, *_ = text.splitlines()
    schema = Path(modeline.removeprefix("# yaml-language-server: $schema="))
    assert schema.is_file()
    for line in (
        "  #   sample_rate: 64  # u32",
        "    - {program: look, type: xdp, interface: CHANGE-ME}",
        "    - {program: jump, type: xdp, interface: CHANGE-ME-2}",
        "    - {program: classify, type: tcx, interface: CHANGE-ME-3}",
        "    # hash, struct pair → struct policy, 300000 entries",
        "    #   key: struct pair {u32 id; u16 port}",
        "    #   roles: state, config, scratch, external",
        "    pairs:",
        "      #   - {key: …, value: {verdict: …, port: …, level: …}}",
        "    ports: {role: live}",
        "    .bss: {role: state}",
    ):
        assert line in text.splitlines(), f"{line!r} is not in\n{text}"
    assert "tail_target" not in text  # only ever tail-called


def test_suggested_roles(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    path = written(tmp_path, SUBJECT, compile_bpf)
    plain = ["state", "config", "scratch", "external"]
    assert undecided(path) == dict.fromkeys(("policies", "blocklist", "pairs", "slots", "unsaid"), plain)
    (one,) = compile_file(decided(path))
    roles = {m.name: m.role for m in one.wish.maps}
    assert roles == {
        "policies": Role.STATE,
        "blocklist": Role.STATE,
        "pairs": Role.STATE,
        "slots": Role.STATE,
        "unsaid": Role.STATE,
        "events": Role.STREAM,
        "ports": Role.LIVE,
        "jumps": Role.LIVE,
        ".bss": Role.STATE,
    }


GUESSED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct counts { __u64 packets; __u64 bytes; };
#define MAP(kind, name, V) struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, 8); \\
    __type(key, __u32); __type(value, V); } name SEC(".maps");
MAP(HASH, vip_map, __u32) MAP(HASH, route_table, __u32) MAP(ARRAY, settings, __u32) MAP(HASH, heap, __u32)
MAP(LRU_HASH, service_lru, __u32) MAP(PERCPU_ARRAY, rule_stats, __u64) MAP(PERCPU_HASH, block_hits, __u64)
MAP(LRU_PERCPU_HASH, backends, __u32) MAP(PERCPU_ARRAY, tmp_buf, __u32)
MAP(ARRAY, drop_counters, struct counts) MAP(HASH, acl_stats, struct counts)
SEC("xdp") int main_(struct xdp_md *ctx)
{
    __u32 k = 0;
#define USE(name) bpf_map_lookup_elem(&name, &k);
    USE(vip_map) USE(route_table) USE(settings) USE(heap) USE(service_lru) USE(rule_stats) USE(block_hits)
    USE(backends) USE(tmp_buf) USE(drop_counters) USE(acl_stats)
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_f14_init_never_guesses_a_role_that_deletes(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    """What names suggest is no ground: LRU, per-CPU maps and counters are state, all others are asked for, at once."""
    path = written(tmp_path, GUESSED, compile_bpf)
    assert "role: config" not in re.sub("#.*", "", path.read_text())
    assert undecided(path).keys() == {"vip_map", "route_table", "settings", "heap"}
    (one,) = compile_file(decided(path, "scratch"))
    kept = {m.name for m in one.wish.maps if m.role is Role.STATE}
    counters = {"rule_stats", "block_hits", "drop_counters", "acl_stats"}
    assert kept == {"service_lru", "backends", "tmp_buf", *counters}


def test_f14_the_question_comes_with_all_other_findings(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    """Also where the schema, or the objects, are wrong."""
    path = written(tmp_path, GUESSED, compile_bpf)
    text = path.read_text().replace("CHANGE-ME", "eth0")
    for change in (("main_, type", "main2, type"), ("kind: Pipeline", "kind: Pipe"), ("my.bpf.o", "none.bpf.o")):
        path.write_text(text.replace(*change))
        with pytest.raises(InputError) as caught:
            compile_file(path)
        reasons = [p.reason for p in caught.value.problems]
        assert reasons.count("role-not-chosen") == 4
        assert len(reasons) == 5


def test_f14_a_question_may_have_its_entries_already(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    path = written(tmp_path, GUESSED, compile_bpf)
    path.write_text(path.read_text().replace("role: TODO", "entries: [{key: 1, value: 2}]\n      role: TODO", 1))
    assert len(undecided(path)) == 4


def test_odd_file_names_are_quoted(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    target = tmp_path / "7, odd: [name].bpf.o"
    target.write_bytes(compile_bpf(SUBJECT).read_bytes())
    path = tmp_path / "x.yaml"
    path.write_text(first_yaml([target]))
    (one,) = compile_file(decided(path))
    assert one.wish.pipeline == "p-7-odd-name"
    assert one.files == (str(target),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("My_Edge.bpf.o", "my-edge"), ("edge.o", "edge"), ("7.o", "p-7"), ("é.o", "p"), ("a" * 80 + ".o", "a" * 63)],
)
def test_pipeline_names(name: str, expected: str) -> None:
    assert pipeline_name(Path(name)) == expected


def test_nothing_to_attach_names_the_sections(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    text = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("lsm/x") int c(void *x) { return 0; }\n'
    with pytest.raises(InputError) as caught:
        first_yaml([compile_bpf(text)])
    (problem,) = caught.value.problems
    assert (problem.reason, problem.values and problem.values["sections"]) == ("nothing-to-attach", ["lsm/x"])
    assert "lsm/x" in problem.hint


def test_a_file_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "x.o").write_text("no")
    for name in ("x.o", "missing.o"):
        with pytest.raises(InputError) as caught:
            first_yaml([tmp_path / name])
        assert name in str(caught.value.problems[0])
