"""compile.py: a YAML against real objects: the wish it gives, or every problem with its place."""

from __future__ import annotations

import hashlib
import random
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.disk import jsonable
from reloader.errors import InputError, Problem
from reloader.pipeline.compile import Compiled, compile_file
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish

SOURCE = Path(__file__).parent / "bpf" / "spec_subject.bpf.c"

GOOD = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {name: subject}
spec:
  objects: [subject.bpf.o]
  rodata: {sample_rate: 128, settings: {rate: 1, mode: 3}}
  attach:
    - {program: look, type: xdp, interface: eth0}
    - {program: jump, type: xdp, interface: eth1, netns: blue}
  maps:
    policies:
      role: config
      entries:
        - {key: 7, value: {verdict: DROP, port: 80}}
        - {key: 3, value: {verdict: PASS}}
    blocklist: {role: config, entries: [{key: 10.0.0.0/8, value: 1}]}
    pairs: {role: state}
    slots: {role: config, entries: [{key: 3, value: 9}]}
    unsaid: {role: config, byteorder: {key: network}, entries: [{key: 192.0.2.1, value: 1}]}
    events: {role: stream, max_entries: 8192}
    ports: {role: live}
    jumps: {role: live}
    .bss: {role: state}
"""


@pytest.fixture
def place(tmp_path: Path, compile_bpf: Callable[[str | Path], Path]) -> Path:
    """A folder with the object beside where the YAML will be."""
    (tmp_path / "subject.bpf.o").write_bytes(compile_bpf(SOURCE).read_bytes())
    return tmp_path


def compiled(place: Path, text: str = GOOD) -> Compiled:
    (place / "t.yaml").write_text(text)
    (one,) = compile_file(place / "t.yaml")
    return one


def problems_of(place: Path, text: str) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        compiled(place, text)
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_whole_wish(place: Path) -> None:
    one = compiled(place)
    wish = one.wish
    digest = hashlib.sha256((place / "subject.bpf.o").read_bytes()).hexdigest()
    assert wish.pipeline == "subject"
    assert wish.source_revision == f"file:{hashlib.sha256(GOOD.encode()).hexdigest()[:12]}"
    assert [(o.digest, o.path) for o in wish.objects] == [(digest, str(place / "subject.bpf.o"))]
    assert one.objects.keys() == {digest}
    assert wish.programs == ("jump", "look", "tail_target")
    assert wish.rodata == {"sample_rate": struct.pack("<I", 128), "settings": struct.pack("<IBxxx", 1, 3)}
    assert [(a.id, a.program, a.target) for a in wish.attachments] == [
        ("xdp:eth0", "look", {"interface": "eth0", "mode": "native"}),
        ("xdp:eth1@blue", "jump", {"interface": "eth1", "mode": "native", "netns": "/run/netns/blue"}),
    ]
    assert [m.name for m in wish.maps] == sorted(m.name for m in wish.maps)
    assert wish.map("events").max_entries == 8192
    assert wish.map(".bss").role is Role.STATE
    assert one.files == (str(place / "subject.bpf.o"),)
    assert jsonable.from_json(Wish, jsonable.to_json(wish)) == wish


def test_entries_are_packed_and_sorted_by_key(place: Path) -> None:
    one = compiled(place)
    ref = one.wish.map("policies").entries
    assert ref is not None
    assert ref.count == 2
    expected = struct.pack("<IIHBx", 3, 0, 0, 0) + struct.pack("<IIHBx", 7, 1, 80, 0)
    assert one.entries[ref.digest] == expected
    assert hashlib.sha256(expected).hexdigest() == ref.digest
    prefix = one.wish.map("blocklist").entries
    assert prefix is not None
    assert one.entries[prefix.digest] == struct.pack("<I", 8) + bytes([10, 0, 0, 0]) + struct.pack("<I", 1)
    said = one.wish.map("unsaid").entries
    assert said is not None
    assert one.entries[said.digest][:4] == bytes([192, 0, 2, 1])
    assert one.wish.map("pairs").entries is None


def test_programs_held_by_any_filled_array_are_loaded(place: Path) -> None:
    """libbpf fills `jumps` although `look` does not use it, and fails on a program that is not loaded."""
    text = changed("    - {program: jump, type: xdp, interface: eth1, netns: blue}\n", "")
    assert compiled(place, text).wish.programs == ("look", "tail_target")


def test_an_empty_list_is_owned_and_empty(place: Path) -> None:
    one = compiled(place, changed("entries: [{key: 3, value: 9}]", "entries: []"))
    ref = one.wish.map("slots").entries
    assert ref is not None
    assert (ref.count, one.entries[ref.digest]) == (0, b"")


def test_bulk_gives_the_same_entries_as_the_list(place: Path) -> None:
    (place / "p.csv").write_text("key,verdict,port\n7,DROP,80\n3,PASS,0\n")
    (place / "p.jsonl").write_text(
        '{"key": 7, "value": {"verdict": "DROP", "port": 80}}\n{"key": 3, "value": {"verdict": 0}}\n'
    )
    start = GOOD.index("      entries:\n        - {key: 7")
    end = GOOD.index("    blocklist")
    listed = compiled(place).wish.map("policies").entries
    for kind in ("csv", "jsonl"):
        one = compiled(place, f"{GOOD[:start]}      from: {{{kind}: p.{kind}}}\n{GOOD[end:]}")
        assert one.wish.map("policies").entries == listed
        assert str(place / f"p.{kind}") in one.files


BAD = [
    ("program: look", "program: lok", "8:17", "spec.attach[0].program", "no-such-program", "did you mean 'look'?"),
    ("program: look", "program: classify", "8:17", "spec.attach[0].program", "section", 'SEC("xdp")'),
    ("[subject.bpf.o]", "[none.bpf.o]", "5:13", "spec.objects[0]", "unusable-object", "compile it first"),
    ("[subject.bpf.o]", "[.]", "5:13", "spec.objects[0]", "not-a-regular-file", ""),
    ("[subject.bpf.o]", "[t.yaml]", "5:13", "spec.objects[0]", "t.yaml: ", "clang -target bpf"),
    (
        "[subject.bpf.o]",
        f"[{{file: subject.bpf.o, sha256: {'ab' * 32}}}]",
        "5:13",
        "spec.objects[0]",
        "digest",
        "sha256 is",
    ),
    ("sample_rate: 128", "sampel_rate: 128", "6:25", "spec.rodata.sampel_rate", "no-such-constant", "'sample_rate'?"),
    ("sample_rate: 128", "sample_rate: -1", "6:25", "spec.rodata.sample_rate", "-1", ""),
    ("mode: 3", "mode: 300", "6:56", "spec.rodata.settings.mode", "300", ""),
    ("mode: 3", "moed: 3", "6:40", "spec.rodata.settings", "moed", "mode"),
    ("    pairs: {role: state}\n", "", "10:3", "spec.maps", "undeclared-maps", "pairs: {role: T"),
    ("pairs: {role: state}", "pears: {role: state}", "10:3", "spec.maps", "undeclared-maps", ""),
    (
        "pairs: {role: state}",
        "pairs: {role: stream}",
        "17:19",
        "spec.maps.pairs.role",
        "role-of-type",
        "state, config",
    ),
    ("events: {role: stream", "events: {role: state", "20:20", "spec.maps.events.role", "role-of-type", "stream"),
    ("ports: {role: live}", "ports: {role: config}", "21:19", "spec.maps.ports.role", "role-of-type", "live"),
    ("jumps: {role: live}", "jumps: {role: state}", "22:19", "spec.maps.jumps.role", "role-of-type", "live"),
    (".bss: {role: state}", ".bss: {role: config}", "23:18", 'spec.maps[".bss"].role', "role-of-variables", "state"),
    (
        ".bss: {role: state}",
        ".bss: {role: state, max_entries: 2}",
        "23:38",
        'spec.maps[".bss"]',
        "size-of-variables",
        "",
    ),
    ("{key: 7, value", "{key: -7, value", "14:17", "spec.maps.policies.entries[0].key", "-7", ""),
    ("verdict: DROP", "verdict: DORP", "14:37", "spec.maps.policies.entries[0].value.verdict", "DORP", "DROP"),
    ("port: 80", "prot: 80", "14:27", "spec.maps.policies.entries[0].value", "prot", "port"),
    (
        "{key: 3, value: {",
        "{key: 7, value: {",
        "15:17",
        "spec.maps.policies.entries[1].key",
        "14:11 has the same key",
        "",
    ),
    ("key: 10.0.0.0/8", "key: 10.0.0.1/8", "16:47", "spec.maps.blocklist.entries[0].key", "beyond", "10.0.0.0/8"),
    ("key: 10.0.0.0/8", "key: {prefixlen: 8, addr: 10.0.0.1}", "16:47", "spec.maps.blocklist.entries[0].key", "", ""),
    (
        "key: 10.0.0.0/8",
        "key: {prefixlen: 33, addr: 10.0.0.1}",
        "16:47",
        "spec.maps.blocklist.entries[0].key",
        "33",
        "",
    ),
    ("{key: 3, value: 9}", "{key: 4, value: 9}", "18:43", "spec.maps.slots.entries[0].key", "outside the array", ""),
    (
        "{key: network}",
        "{kye: network}",
        "19:40",
        "spec.maps.unsaid.byteorder.kye",
        "'kye' does not exist",
        "key.field",
    ),
    ("byteorder: {key: network}, ", "", "19:44", "spec.maps.unsaid.entries[0].key", "byte order", "byteorder:"),
    (
        "role: config\n",
        "role: config\n      max_entries: 1\n",
        "15:9",
        "spec.maps.policies.entries",
        "2 entries",
        "raise",
    ),
]


@pytest.mark.parametrize(("old", "new", "where", "path", "said", "hint"), BAD)
def test_one_wrong_thing(place: Path, old: str, new: str, where: str, path: str, said: str, hint: str) -> None:
    """`said`: the code, or words of the message."""
    problem = problems_of(place, changed(old, new))[0]
    assert f"{problem.line}:{problem.column}" == where, str(problem)
    assert problem.path.startswith(path), str(problem)
    assert said == problem.reason or said.lower() in problem.message.lower(), str(problem)
    assert hint in problem.hint, str(problem)
    assert problem.file == str(place / "t.yaml")


def test_a_constant_section_needs_no_role(place: Path) -> None:
    (problem,) = problems_of(place, GOOD + "    .rodata: {role: state}\n")
    assert (problem.line, problem.reason, problem.values) == (24, "constants-as-map", {"section": ".rodata"})


def test_undeclared_maps_come_as_yaml_to_paste(place: Path) -> None:
    """What the hint prints, pasted, makes the file valid once its roles are chosen."""
    start = GOOD.index("  maps:")
    (problem,) = problems_of(place, GOOD[:start])
    assert (problem.line, problem.column, problem.path) == (4, 1, "spec.maps")
    assert (problem.reason, problem.values and problem.values["count"]) == ("undeclared-maps", 9)
    block = problem.hint.partition("\n")[2]
    pasted = f"{GOOD[:start]}  maps:\n{block}\n"
    assert {p.reason for p in problems_of(place, pasted)} == {"role-not-chosen"}
    one = compiled(place, pasted.replace("TODO", "state"))
    roles = {m.name: m.role for m in one.wish.maps}
    assert roles["events"] is Role.STREAM
    assert roles["ports"] is Role.LIVE
    assert roles[".bss"] is Role.STATE


def test_findings_in_a_csv_point_into_it(place: Path) -> None:
    (place / "b.csv").write_text("key,value\n10.0.0.0/8,1\n10.1.0.0/16,x\n10.0.0.0/8,2\n")
    text = changed("entries: [{key: 10.0.0.0/8, value: 1}]", "from: {csv: b.csv}")
    (problem,) = problems_of(place, text)
    assert (problem.file, problem.line, problem.path) == (str(place / "b.csv"), 3, "value")
    (place / "b.csv").write_text("key,value\n10.0.0.0/8,1\n\n10.1.0.0/16,1\n10.0.0.0/8,2\n")
    (problem,) = problems_of(place, text)
    assert (problem.line, problem.message) == (5, "line 2 has the same key")


def test_all_problems_at_once(place: Path) -> None:
    text = GOOD.replace("program: look", "program: lok").replace("role: stream", "role: live").replace("DROP", "DORP")
    assert [p.line for p in problems_of(place, text + "---\n" + text.replace("subject}", "other}"))] == [
        *(8, 14, 20),
        *(8 + 24, 14 + 24, 20 + 24),
    ]


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 100, 1000, -1, -64, -1000])
def test_a_truncated_object(place: Path, cut: int) -> None:
    path = place / "subject.bpf.o"
    path.write_bytes(path.read_bytes()[:cut])
    problem = problems_of(place, GOOD)[0]
    assert (problem.line, problem.column, problem.path) == (5, 13, "spec.objects[0]")


def test_flipped_bits_never_end_in_a_traceback(place: Path) -> None:
    """One bit in each of many places: another wish or problems, never another exception."""
    path = place / "subject.bpf.o"
    whole = path.read_bytes()
    (place / "t.yaml").write_text(GOOD)
    outcomes = set()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            compile_file(place / "t.yaml")
            outcomes.add("wish")
        except InputError:
            outcomes.add("problems")
    assert outcomes == {"wish", "problems"}


ODD = ["null", "true", "-1", "1e400", ".nan", "0x7fffffffffffffffffff", "[]", "{}", "[1, 2]", "{a: 1}", "''", "0.5"]
ODD += ["hex:00", "hex:zz", "10.0.0.0/8", "::1", "!x", "*a"]


def test_mutated_yaml_gives_wishes_or_problems(place: Path) -> None:
    """Two words of the good file exchanged for odd ones, 200 times, always the same ones."""
    chance = random.Random(7)
    words = [m.span() for m in re.finditer(r"[\w./@-]+", GOOD)]
    (place / "t.yaml").write_text(GOOD)
    for _ in range(200):
        text = GOOD
        for start, end in sorted(chance.sample(words, 2), reverse=True):
            text = text[:start] + chance.choice(ODD) + text[end:]
        (place / "t.yaml").write_text(text)
        try:
            compile_file(place / "t.yaml")
        except InputError as error:
            found = error.problems
            if not found or not all(p.message for p in found):
                pytest.fail(f"an empty finding for\n{text}")


class TestSeveralObjects:
    SECOND = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
        %s SEC(".maps");
    const volatile __u32 extra = 1;
    %s
    SEC("xdp") int %s(struct xdp_md *ctx) { __u32 key = extra; return bpf_map_lookup_elem(&%s, &key) ? 1 : 2; }
    char LICENSE[] SEC("license") = "GPL";
    """

    def both(self, place: Path, compile_bpf: Callable[[str], Path], program: str, name: str, more: str = "") -> str:
        source = self.SECOND % (name, more, program, name)
        (place / "second.bpf.o").write_bytes(compile_bpf(source).read_bytes())
        return changed("[subject.bpf.o]", "[subject.bpf.o, second.bpf.o]").replace(
            "{sample_rate: 128,", "{extra: 2, sample_rate: 128,"
        )

    def test_are_one_pipeline(self, place: Path, compile_bpf: Callable[[str], Path]) -> None:
        text = self.both(place, compile_bpf, "added", "more") + "    more: {role: state}\n"
        wish = compiled(place, text.replace("program: jump", "program: added")).wish
        assert wish.programs == ("added", "look", "tail_target")
        assert len(wish.objects) == 2
        assert wish.map("more").value_size == 8
        assert wish.rodata["extra"] == struct.pack("<I", 2)

    @pytest.mark.parametrize(
        ("program", "name", "more", "reason", "why"),
        [
            ("look", "more", "", "twin_program", None),
            ("added", "policies", "", "map_clash", "the declarations differ"),
            (
                "added",
                "more",
                "__u64 count; __u64 *at(void) { return &count; }",
                "map_clash",
                "the layout of joint variables is known only after linking",
            ),
        ],
    )
    def test_that_clash(
        self,
        place: Path,
        compile_bpf: Callable[[str], Path],
        program: str,
        name: str,
        more: str,
        reason: str,
        why: str | None,
    ) -> None:
        text = self.both(place, compile_bpf, program, name, more)
        (problem,) = problems_of(place, text)
        assert (problem.line, problem.path) == (5, "spec.objects[1]")
        assert problem.values is not None
        assert (problem.reason, problem.values.get("why")) == (reason, why)


def test_200k_rows_take_a_fraction_of_a_second(place: Path) -> None:
    """Half a second is the aim on an idle machine; the bound leaves room for a busy one."""
    lines = (f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32,{i}\n" for i in range(200_000))
    (place / "b.csv").write_text("key,value\n" + "".join(lines))
    text = changed("entries: [{key: 10.0.0.0/8, value: 1}]", "from: {csv: b.csv}")
    began = time.process_time()
    one = compiled(place, text)
    assert time.process_time() - began < 1.5
    ref = one.wish.map("blocklist").entries
    assert ref is not None
    assert (ref.count, len(one.entries[ref.digest])) == (200_000, 200_000 * 12)
