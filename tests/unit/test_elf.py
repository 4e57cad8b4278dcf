"""Object files to programs, maps and switches: a real object with everything in it, odd ones, and damaged ones."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.kernel import MapType
from reloader.structs.btf import BtfError, TypeTree
from reloader.structs.elf import ElfError, ElfMap, ElfObject, read_object
from reloader.structs.elf.file import SHT_SYMTAB, ElfFile
from reloader.structs.elf.sections import loadable_section, section_type
from reloader.wording.message import code_of

SOURCE = Path(__file__).parent / "bpf" / "everything.bpf.c"
CLANG = ("clang-19", "-O2", "-mcpu=v3", "-I/usr/include/x86_64-linux-gnu", "-x", "c", "-c")
HEADERS = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
HASH = "__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);"
PROGRAM = 'SEC("xdp") int p(struct xdp_md *c) { return 2; }\n'
Compile = Callable[[str | Path], Path]


@pytest.fixture(scope="module")
def path(compile_bpf: Compile) -> Path:
    return compile_bpf(SOURCE)


@pytest.fixture(scope="module")
def whole(path: Path) -> ElfObject:
    return read_object(path.read_bytes())


def the_map(found: ElfObject, name: str) -> ElfMap:
    one = found.map(name)
    assert one is not None
    return one


def fields(tree: TypeTree | None) -> dict[str, int]:
    assert tree is not None
    return {m.name: m.offset_bits // 8 for m in tree.fields()}


# --- programs


def test_programs_and_what_their_sections_say(whole: ElfObject) -> None:
    found = {p.name: (p.section, p.type, p.is_frags, p.autoload) for p in whole.programs}
    assert found == {
        "count_flows": ("xdp.frags", "xdp", True, True),
        "jump": ("xdp/second", "xdp", False, True),
        "pass_on": ("xdp", "xdp", False, True),
        "drop_all": ("xdp", "xdp", False, True),
        "optional": ("?tc", "tc", False, False),
        "connect4": ("cgroup/connect4", "cgroup_inet4_connect", False, True),
        "choose": ("sk_reuseport", "sk_reuseport_select", False, True),
        "work": ("syscall", "syscall", False, True),
        "walk": ("iter/bpf_map_elem", "trace_iter", False, True),
    }
    assert whole.license == "GPL"


def test_maps_a_program_names_itself_or_through_functions(whole: ElfObject) -> None:
    found = {p.name: p.maps for p in whole.programs}
    data = {".rodata", ".rodata.debug", ".data", ".data.special", ".bss"}
    assert found["count_flows"] == {"flows", "opaque"} | data  # opaque only two calls down, .bss too
    assert found["jump"] == {"jumps", "small_b"}  # small_b in a callback
    assert found["drop_all"] == {"outer"}
    assert found["optional"] == {".kconfig"}
    assert found["connect4"] == {"blocked", "timers", "events"}
    assert found["work"] == frozenset()


def test_tail_calls_set_in_the_source(whole: ElfObject) -> None:
    jump = whole.program("jump")
    assert jump is not None
    assert jump.programs == {"pass_on"}
    assert whole.reachable(["jump"]) == {"jump", "pass_on"}
    assert whole.reachable(["drop_all", "nobody"]) == {"drop_all"}


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("xdp", ("xdp", False)),
        ("xdp.frags", ("xdp", True)),
        ("xdp.frags/devmap", ("xdp_devmap", True)),
        ("xdp/cpumap", ("xdp_cpumap", False)),
        ("xdp/own/words", ("xdp", False)),
        ("?xdp", ("xdp", False)),
        ("classifier", ("tc", False)),
        ("tcx/ingress", ("tcx_ingress", False)),
        ("cgroup/connect6", ("cgroup_inet6_connect", False)),
        ("iter.s/task", ("trace_iter", False)),
        ("lsm.s/file_open", ("lsm_mac", False)),
        ("xdpish", ("", False)),
        ("cgroup/what", ("", False)),
        ("", ("", False)),
    ],
)
def test_section_names(section: str, kind: tuple[str, bool]) -> None:
    assert section_type(section) == kind


@pytest.mark.parametrize(
    ("section", "instead"),
    [
        ("xdp/own/words", "xdp"),
        ("xdp.frags/own", "xdp.frags"),
        ("?tc/own", "tc"),
        ("cgroup/connect4/own", "cgroup/connect4"),
        ("tcx/ingress", "tc"),
        ("xdpish", "xdp"),
    ],
)
def test_a_section_to_write_instead(section: str, instead: str) -> None:
    assert loadable_section(section) == instead


def test_lines_of_the_source(whole: ElfObject) -> None:
    program = whole.program("drop_all")
    assert program is not None
    assert program.first_insn > 0  # the second in its section
    found = whole.source_line("xdp", program.first_insn)
    assert found is not None
    file, line, text = found
    assert file.endswith("everything.bpf.c")
    assert text == "int drop_all(struct xdp_md *ctx)" == SOURCE.read_text().splitlines()[line - 1]
    last = whole.source_line("xdp", program.first_insn + program.insns - 1)
    assert last is not None
    assert "return inner" in last[2]
    assert whole.source_line("nowhere", 0) is None


# --- maps


def test_declared_maps(whole: ElfObject) -> None:
    found = {m.name: m for m in whole.maps if not m.internal}
    assert {n: (m.type, m.key_size, m.value_size, m.max_entries, m.map_flags) for n, m in found.items()} == {
        "flows": (MapType.HASH, 16, 160, 1024, 1),
        "blocked": (MapType.LPM_TRIE, 8, 4, 256, 1),
        "opaque": (MapType.ARRAY, 4, 12, 4, 0),
        "events": (MapType.RINGBUF, 0, 0, 5000, 0),
        "timers": (MapType.ARRAY, 4, 24, 1, 0),
        "small_a": (MapType.HASH, 4, 8, 16, 0),
        "small_b": (MapType.HASH, 4, 8, 16, 0),
        "outer": (MapType.ARRAY_OF_MAPS, 4, 4, 4, 0),
        "jumps": (MapType.PROG_ARRAY, 4, 4, 4, 0),
    }
    assert all(m.writable for m in found.values())
    assert found["opaque"].pinning == 1
    assert found["opaque"].key is found["opaque"].value is None
    assert fields(found["flows"].key) == {"saddr": 0, "daddr": 4, "sport": 8, "dport": 10, "proto": 12}


def test_what_maps_hold_from_the_start(whole: ElfObject) -> None:
    assert the_map(whole, "jumps").prog_array_values == ("", "pass_on")
    outer = the_map(whole, "outer")
    assert outer.inner_values == ("small_a", "", "small_b")
    assert outer.inner is not None
    assert (outer.inner.type, outer.inner.max_entries) == (MapType.HASH, 16)


def test_maps_of_global_variables(whole: ElfObject, path: Path) -> None:
    internal = {m.name: m for m in whole.maps if m.internal}
    assert set(internal) == {".bss", ".data", ".data.special", ".rodata", ".rodata.debug", ".kconfig"}
    assert {n for n, m in internal.items() if not m.writable} == {".rodata", ".rodata.debug", ".kconfig"}
    shown = subprocess.run(["llvm-objdump-19", "-t", path], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in shown.splitlines() if " .bss" in line and " O " in line]
    assert len(rows) == 3  # global and static ones
    assert fields(internal[".bss"].value) == {r[-1]: int(r[0], 16) for r in rows}
    assert (internal[".bss"].max_entries, internal[".bss"].key_size) == (1, 4)
    assert fields(internal[".rodata"].value).keys() >= {"sample_rate", "settings", "ports", "folded"}


def test_switches_are_volatile_constants_only(whole: ElfObject) -> None:
    assert set(whole.rodata) == {"sample_rate", "settings", "ports", "verbose"}
    assert whole.rodata["sample_rate"].value == (64).to_bytes(4, "little")
    assert whole.rodata["settings"].value == struct.pack("<IBxxx", 5, 2)
    assert whole.rodata["ports"].value == struct.pack("<3H", 80, 443, 8080)
    assert whole.rodata["ports"].type.text() == "u16[3]"
    assert whole.rodata["verbose"].section == ".rodata.debug"


def test_a_statically_linked_object_reads_alike(whole: ElfObject, path: Path, tmp_path: Path) -> None:
    """The linker fills in section sizes and offsets; they must not be filled in twice."""
    other = tmp_path / "other.o"
    text = HEADERS + "__u64 more_total;\n" + 'SEC("xdp") int q(struct xdp_md *c) { return more_total++ ? 2 : 1; }\n'
    build(text, other, "-g")
    linked = tmp_path / "linked.o"
    subprocess.run(["bpftool", "gen", "object", linked, path, other], check=True)
    found = read_object(linked.read_bytes())
    assert {p.name for p in found.programs} == {p.name for p in whole.programs} | {"q"}
    assert {p.name: p.maps for p in found.programs if p.name != "q"} == {p.name: p.maps for p in whole.programs}
    bss = fields(the_map(found, ".bss").value)
    assert bss.keys() == {"total", "hidden_total", "hidden_counts", "more_total"}
    assert len(set(bss.values())) == 4
    assert the_map(found, "jumps").prog_array_values == ("", "pass_on")
    assert found.rodata["ports"].value == whole.rodata["ports"].value


def test_the_kernel_type_numbers_agree_with_bpftool(whole: ElfObject, path: Path) -> None:
    shown = json.loads(
        subprocess.run(
            ["bpftool", "btf", "dump", "file", path, "-j"], check=True, capture_output=True, text=True
        ).stdout
    )
    sections = {t["name"]: t["vars"] for t in shown["types"] if t["kind"] == "DATASEC"}
    assert len(sections[".maps"]) == len([m for m in whole.maps if not m.internal])


# --- objects that are not as wished


def build(text: str, out: Path, *flags: str, target: str = "bpf") -> Path:
    """Compile without the shared fixture, which always asks for -g."""
    command = [*CLANG, *flags, "-target", target, "-", "-o", str(out)]
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)
    return out


def test_an_object_without_btf_still_reads(tmp_path: Path) -> None:
    text = HEADERS + "__u64 total;\n" + 'SEC("xdp") int p(struct xdp_md *c) { return total++ ? 2 : 1; }\n'
    found = read_object(build(text, tmp_path / "x.o").read_bytes())
    assert found.btf is None
    assert {p.name: set(p.maps) for p in found.programs} == {"p": {".bss"}}
    assert the_map(found, ".bss").value is None
    assert found.source_line("xdp", 0) is None


@pytest.mark.parametrize(
    ("text", "flags", "why"),
    [
        (f'struct {{ {HASH} __type(key, int); __type(value, int); }} m SEC(".maps");', [], "maps-without-btf"),
        (f'static struct {{ {HASH} __type(key, int); __type(value, int); }} m SEC(".maps");\n'
         'SEC("xdp") int q(struct xdp_md *c) { int k = 0; return bpf_map_lookup_elem(&m, &k) ? 1 : 2; }',
         ["-g"], "map-static"),
        ('struct { int type; } m SEC("maps") = { 1 };', ["-g"], "maps-legacy"),
        (f'struct {{ {HASH} __uint(key_size, 2); __type(key, int); __type(value, int); }} m SEC(".maps");',
         ["-g"], "size-differs"),
        ('struct { __uint(max_entries, 1); } m SEC(".maps");', ["-g"], "map-without-type"),
        (f'struct {{ {HASH} __uint(colour, 3); }} m SEC(".maps");', ["-g"], "attribute-unknown"),
        ('struct { int type; } m SEC(".maps");', ["-g"], "not-by-type"),
        ('static __attribute__((used)) SEC("xdp") int s(struct xdp_md *c) { return 1; }', ["-g"], "program-static"),
    ],
)  # fmt: skip
def test_refused_with_the_reason(text: str, flags: list[str], why: str, tmp_path: Path) -> None:
    data = build(HEADERS + PROGRAM + text + "\n", tmp_path / "x.o", *flags).read_bytes()
    with pytest.raises(ElfError) as caught:
        read_object(data)
    code = code_of(caught.value.message)
    assert code == why


def test_other_machines_are_named(tmp_path: Path) -> None:
    command = ["clang-19", "-target", "x86_64-linux-gnu", "-x", "c", "-c", "-", "-o", str(tmp_path / "native.o")]
    subprocess.run(command, input=b"int f(void) { return 1; }", check=True)
    with pytest.raises(ElfError, match="machine 62, not for BPF"):
        read_object((tmp_path / "native.o").read_bytes())
    big = build(HEADERS + PROGRAM, tmp_path / "b.o", target="bpfeb").read_bytes()
    with pytest.raises(ElfError, match="big-endian"):
        read_object(big)
    good = build(HEADERS + PROGRAM, tmp_path / "x.o").read_bytes()
    with pytest.raises(ElfError, match="32-bit"):
        read_object(good[:4] + b"\1" + good[5:])
    with pytest.raises(ElfError, match="not a relocatable"):
        read_object(good[:16] + b"\2" + good[17:])
    for nothing in (b"", b"hello", b"#!/bin/sh\n" * 20):
        with pytest.raises(ElfError, match=r"empty|not an object file"):
            read_object(nothing)


# --- damage


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object with one of each, small enough to be read thousands of times."""
    text = (
        HEADERS
        + f'struct {{ {HASH} __type(key, int); __type(value, long); }} m SEC(".maps");\n'
        + "int p(struct xdp_md *c);\n"
        + "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);\n"
        + ' __array(values, int(struct xdp_md *)); } j SEC(".maps") = { .values = { (void *)&p } };\n'
        + "const volatile int knob = 3; long total; static int hidden;\n"
        + "static __noinline long get(int k) { return bpf_map_lookup_elem(&m, &k) ? 1 : hidden++; }\n"
        + 'SEC("xdp") int p(struct xdp_md *c) { total++; bpf_tail_call(c, &j, 0); return get(knob) ? 2 : 1; }\n'
        + 'char L[] SEC("license") = "GPL";\n'
    )
    built = build(text, tmp_path_factory.mktemp("elf") / "small.o", "-g")
    subprocess.run(["llvm-strip-19", "-g", built], check=True)
    return built.read_bytes()


def exercise(data: bytes) -> bool:
    """Read all there is; False when the object was refused. Any other exception is a bug."""
    try:
        found = read_object(data)
        found.reachable([p.name for p in found.programs])
        for program in found.programs:
            found.source_line(program.section, program.first_insn)
    except (ElfError, BtfError):
        return False
    return True


def test_the_small_one_is_sound(small: bytes) -> None:
    assert exercise(small)
    assert {m.name for m in read_object(small).maps} == {"m", "j", ".bss", ".rodata"}


def test_functions_that_overlap(small: bytes) -> None:
    """Thousands of functions that each span the whole section would take for ever."""
    found = ElfFile.parse(small)
    table = next(s for s in found.sections if s.type == SHT_SYMTAB)
    text = found.section(".text")
    assert text is not None
    data = bytearray(small)
    for i, symbol in enumerate(found.symbols):
        if symbol.name == "L":  # another function over the one that is there
            struct.pack_into("<BBHQQ", data, table.offset + i * 24 + 4, 0x12, 0, text.index, 8, 16)
    with pytest.raises(ElfError, match="overlap"):
        read_object(bytes(data))


def test_cut_off_at_every_byte(small: bytes) -> None:
    """The section table lies at the end of the file: nothing that is cut off can be read."""
    assert len(small) > 2000
    assert not any(exercise(small[:n]) for n in range(len(small)))


def test_thousands_of_flipped_bits(small: bytes) -> None:
    dice = random.Random(42)
    survivors = slowest = 0.0
    for _ in range(3000):
        data = bytearray(small)
        for _ in range(dice.choice((1, 1, 2, 6))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        start = time.monotonic()
        survivors += exercise(bytes(data))
        slowest = max(slowest, time.monotonic() - start)
    assert 0 < survivors < 3000  # some bits matter, some do not
    assert slowest < 2


def test_flipped_bits_in_the_large_one(path: Path, tmp_path: Path) -> None:
    lean = tmp_path / "lean.o"
    subprocess.run(["llvm-strip-19", "-g", path, "-o", lean], check=True)
    data, dice = lean.read_bytes(), random.Random(7)
    for _ in range(250):
        hurt = bytearray(data)
        hurt[dice.randrange(len(hurt))] ^= 1 << dice.randrange(8)
        exercise(bytes(hurt))


@settings(max_examples=200, deadline=3000)
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5))
def test_overwritten_anywhere(small: bytes, patches: list[tuple[int, bytes]]) -> None:
    data = bytearray(small)
    for at, patch in patches:
        at %= len(data)
        data[at : at + len(patch)] = patch
    exercise(bytes(data))


@settings(max_examples=100, deadline=3000)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_true_header(small: bytes, rest: bytes) -> None:
    exercise(small[:64] + rest)
