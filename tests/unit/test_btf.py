"""BTF to layouts: against bpftool's reading of the same object, and against blobs made to hurt."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.disk import jsonable
from reloader.structs.btf import Btf, BtfError, Kind, Member, TypeTree, identity, layout_digest, leaves

SOURCE = Path(__file__).parent / "bpf" / "everything.bpf.c"
CLANG = ("clang-19", "-g", "-O2", "-mcpu=v3", "-I/usr/include/x86_64-linux-gnu", "-c", str(SOURCE), "-o")


@pytest.fixture(scope="module")
def compiled(compile_bpf: Callable[[str | Path], Path]) -> Path:
    return compile_bpf(SOURCE)


@pytest.fixture(scope="module")
def blob(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return section(compiled, tmp_path_factory.mktemp("btf") / "x")


@pytest.fixture(scope="module")
def btf(blob: bytes) -> Btf:
    return Btf.parse(blob)


def section(path: Path, out: Path) -> bytes:
    subprocess.run(["llvm-objcopy-19", f"--dump-section=.BTF={out}", path, "/dev/null"], check=True)
    return out.read_bytes()


def tree_of(btf: Btf, name: str) -> TypeTree:
    found = btf.find(Kind.STRUCT, name)
    assert found is not None
    return btf.tree(found)


# --- as bpftool reads it


def test_types_agree_with_bpftool(btf: Btf, compiled: Path) -> None:
    shown = subprocess.run(
        ["bpftool", "btf", "dump", "file", str(compiled), "-j"], check=True, capture_output=True, text=True
    )
    types: list[dict[str, Any]] = json.loads(shown.stdout)["types"]
    assert len(types) == len(btf) - 1
    checked = 0
    for theirs in types:
        if theirs["kind"] in ("STRUCT", "UNION"):
            ours = btf.tree(theirs["id"])
            assert (ours.kind.upper(), ours.size) == (theirs["kind"], theirs["size"])
            assert [m.name or "(anon)" for m in ours.members] == [m["name"] for m in theirs["members"]]
            assert [m.offset_bits for m in ours.members] == [m["bits_offset"] for m in theirs["members"]]
            assert [m.bits for m in ours.members] == [m.get("bitfield_size", 0) for m in theirs["members"]]
            checked += 1
        elif theirs["kind"] in ("ENUM", "ENUM64"):
            assert btf.tree(theirs["id"]).size == theirs["size"]
    assert checked > 20


def test_leaves_of_a_struct_with_everything(btf: Btf) -> None:
    found = {leaf.path: (leaf.offset_bits, leaf.bits, leaf.type.text()) for leaf in leaves(tree_of(btf, "flow_value"))}
    assert found["lock"] == (0, 0, "struct bpf_spin_lock")
    assert found["delta"] == (128, 0, "s64")
    assert (found["low"], found["mid"], found["high"]) == ((192, 3, "u32"), (195, 7, "u32"), (202, 5, "s32"))
    assert found["seen"] == (208, 0, "bool")
    assert found["comment"] == (216, 0, "char[13]")
    assert found["mac"] == (320, 0, "u8[6]")
    assert found["inner_b"] == (528, 0, "u8")
    assert found["pairs[2].half"] == (704, 0, "u16")
    assert found["address.v4"] == (736, 0, "be32")
    assert found["address.v6.in6_u.u6_addr32"] == (736, 0, "be32[4]")
    assert found["task"] == (896, 0, "struct task_struct kptr *")
    assert found["callback"][2] == "void *"
    assert found["ratio"] == (1088, 0, "f64")
    assert found["grid[1]"] == (1200, 0, "u16[3]")
    assert found["rest"] == (1248, 0, "u8[0]")


def test_enums_know_their_values(btf: Btf) -> None:
    fields = {m.name: m.type for m in tree_of(btf, "flow_value").fields()}
    assert fields["action"].enumerators == (("ACT_PASS", 0), ("ACT_DROP", 7), ("ACT_BELOW", -2))
    assert fields["action"].signed
    assert fields["wide"].enumerators == (("WIDE_SMALL", 1), ("WIDE_BIG", 0x1FFFFFFFF))
    assert fields["wide"].size == 8


def test_a_typedef_of_a_typedef_keeps_its_byte_order(btf: Btf) -> None:
    fields = {m.name: m.type for m in tree_of(btf, "flow_key").fields()}
    assert (fields["daddr"].name, fields["daddr"].order) == ("address_t", "big")
    assert (fields["proto"].name, fields["proto"].order) == ("__u8", "")


def test_structs_of_the_kernel_stay_visible(btf: Btf) -> None:
    assert [m.type.special for m in tree_of(btf, "timed").fields()] == [True, False]
    special = [m.name for m in tree_of(btf, "flow_value").fields() if m.type.special]
    assert special == ["lock", "task"]


def test_a_tree_survives_json(btf: Btf) -> None:
    tree = tree_of(btf, "flow_value")
    assert jsonable.from_json(TypeTree, json.loads(json.dumps(jsonable.to_json(tree)))) == tree


def test_big_endian_btf_reads_alike(blob: bytes, tmp_path: Path) -> None:
    subprocess.run([*CLANG, str(tmp_path / "be.o"), "-target", "bpfeb"], check=True)
    big = section(tmp_path / "be.o", tmp_path / "blob")
    assert big[:2] == b"\xeb\x9f"
    for name in ("pair", "flow_key", "settings", "timed"):
        assert tree_of(Btf.parse(big), name) == tree_of(Btf.parse(blob), name)


def test_digests_see_layouts_not_type_names() -> None:
    int_name = TypeTree(kind="int", name="int_name", size=4)
    assert layout_digest(int_name, None) == layout_digest(TypeTree(kind="int", name="__u32", size=4), None)
    digests = {
        layout_digest(tree, None)
        for tree in (
            int_name,
            TypeTree(kind="int", size=8),
            TypeTree(kind="int", size=4, signed=True),
            TypeTree(kind="int", size=4, order="big"),
            TypeTree(kind="enum", size=4),
            TypeTree(kind="array", size=4, count=1, element=int_name),
            None,
        )
    }
    assert len(digests) == 7
    assert all(len(d) == 8 and int(d, 16) >= 0 for d in digests)
    assert layout_digest(int_name, None) != layout_digest(None, int_name)


def test_anonymous_members_belong_to_what_holds_them() -> None:
    half = Member(name="half", offset_bits=0, type=TypeTree(kind="int", size=2))
    inside = Member(name="", offset_bits=32, type=TypeTree(kind="struct", size=4, members=(half,)))
    nested = TypeTree(kind="struct", size=8, members=(inside,))
    direct = TypeTree(kind="struct", size=8, members=(Member(name="half", offset_bits=32, type=half.type),))
    assert [(m.name, m.offset_bits) for m in nested.fields()] == [("half", 32)]
    assert identity(nested) == identity(direct)


# --- blobs made by hand, to hurt


def made(*types: bytes, strings: bytes = b"\0name\0") -> bytes:
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


def a_type(kind: Kind, *words: int, size: int = 0, vlen: int = 0, flag: bool = False, name: int = 0) -> bytes:
    return struct.pack(f"<{3 + len(words)}I", name, flag << 31 | kind << 24 | vlen, size, *words)


INT = a_type(Kind.INT, 32, size=4, name=1)


def test_the_made_blobs_are_sound() -> None:
    assert Btf.parse(made(INT)).tree(1) == TypeTree(kind="int", name="name", size=4)


@pytest.mark.parametrize(
    ("types", "why"),
    [
        ([a_type(Kind.TYPEDEF, size=1, name=1)], "btf-typedefs"),
        ([a_type(Kind.CONST, size=2), a_type(Kind.VOLATILE, size=1)], "btf-typedefs"),
        ([a_type(Kind.STRUCT, 0, 1, 0, size=4, vlen=1)], "btf-depth"),
        ([a_type(Kind.ARRAY, 1, 1, 2)], "btf-depth"),
        ([a_type(Kind.STRUCT, 0, 99, 0, size=4, vlen=1)], "btf-type-missing"),
        ([a_type(Kind.STRUCT, 0, 2, 8, size=4, vlen=1), INT], "btf-member-beyond"),
        ([a_type(Kind.STRUCT, 0, 2, 3, size=8, vlen=1), INT], "btf-member-beyond"),
        ([a_type(Kind.STRUCT, 0, 2, 40 << 24, size=9, vlen=1, flag=True), INT], "btf-member-beyond"),
        ([a_type(Kind.STRUCT, 9999, 2, 0, size=4, vlen=1), INT], "btf-string-beyond"),
        ([a_type(Kind.ARRAY, 2, 2, 0xFFFFFFFF), INT], "btf-type-too-large"),
        ([a_type(Kind.INT, 32, size=5)], "btf-scalar-size"),
        ([a_type(Kind.FWD, name=1)], "btf-type-sizeless"),
        ([a_type(Kind.FUNC_PROTO)], "btf-type-sizeless"),
        ([a_type(Kind.DATASEC, 2, 0, 4, size=4, vlen=1), INT], "btf-not-variable"),
        (
            [a_type(Kind.DATASEC, 2, 2, 4, size=4, vlen=1), a_type(Kind.VAR, 1, size=3, name=1), INT],
            "btf-variable-beyond",
        ),
        ([a_type(Kind.ENUM, size=3)], "btf-enum-size"),
    ],
)
def test_types_that_make_no_sense(types: list[bytes], why: str) -> None:
    with pytest.raises(BtfError) as caught:
        Btf.parse(made(*types)).tree(1)
    assert caught.value.message.code == why


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"", "btf-too-short"),
        (b"\0" * 40, "btf-magic"),
        (made(INT)[:3] + b"\0" + struct.pack("<I", 0xFFFFFFFF) + made(INT)[8:], "btf-cut-off"),
        (made(INT, strings=b"\0name"), "btf-strings-not-closed"),
        (made(a_type(Kind.INT)), "btf-type-cut-off"),
        (made(struct.pack("<III", 0, 31 << 24, 0)), "btf-kind-unknown"),
        (made(INT).replace(b"\x9f\xeb\x01", b"\x9f\xeb\x02"), "btf-version"),
    ],
)
def test_blobs_that_are_none(blob: bytes, why: str) -> None:
    with pytest.raises(BtfError) as caught:
        Btf.parse(blob)
    assert caught.value.message.code == why


@pytest.mark.parametrize("name", [b"a\x1b[2Jb", b"a\nb", b"\xff\xfe"])
def test_names_reach_terminals_only_clean(name: bytes) -> None:
    with pytest.raises(BtfError):
        Btf.parse(made(INT, strings=b"\0" + name + b"\0")).tree(1)


def test_a_layout_that_doubles_at_every_level_ends_soon() -> None:
    """Forty structs of two empty ones each unfold to 2⁴⁰ fields."""
    types = [a_type(Kind.STRUCT, size=0)] + [
        a_type(Kind.STRUCT, 0, i, 0, 0, i, 0, size=0, vlen=2) for i in range(1, 41)
    ]
    btf = Btf.parse(made(*types))
    assert btf.tree(10).size == 0
    with pytest.raises(BtfError, match="does not fit"):
        btf.tree(41)


def test_a_thousand_fields_of_a_large_enum_end_soon() -> None:
    enum = a_type(Kind.ENUM, *[1, 7] * 5000, size=4, vlen=5000)
    whole = a_type(Kind.STRUCT, *[n for i in range(1000) for n in (0, 1, i * 32)], size=4000, vlen=1000)
    btf = Btf.parse(made(enum, whole))
    assert len(btf.tree(1).enumerators) == 5000
    with pytest.raises(BtfError, match="does not fit"):
        btf.tree(2)


def test_names_are_short() -> None:
    with pytest.raises(BtfError, match="not printable"):
        Btf.parse(made(INT, strings=b"\0" + b"a" * 2000 + b"\0")).tree(1)


def test_depth_is_bounded_even_when_built_from_below() -> None:
    types = [INT] + [a_type(Kind.STRUCT, 0, i, 0, size=4, vlen=1) for i in range(1, 2000)]
    btf = Btf.parse(made(*types))
    deepest = 0
    for i in range(1, 2001):
        try:
            btf.tree(i)
            deepest = i
        except BtfError:
            break
    assert 30 < deepest < 60


# --- damage


def exercise(data: bytes) -> bool:
    """Read all there is to read; True when nothing was found wrong."""
    try:
        btf = Btf.parse(data)
    except BtfError:
        return False
    sound = True
    for i in range(len(btf)):
        try:
            tree = btf.tree(i)
            identity(tree)
            for _, leaf in zip(range(50), leaves(tree), strict=False):
                leaf.type.text()
        except BtfError:
            sound = False
    for use in (lambda: btf.find_datasec(".maps"), lambda: [btf.is_volatile(i) for i in range(len(btf))]):
        try:
            use()
        except BtfError:
            sound = False
    return sound


@pytest.fixture(scope="module")
def small_blob(compile_bpf: Callable[[str | Path], Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    text = """
    enum e { A, B = 5 };
    typedef struct { char name[8]; } named;
    struct s { int a : 3; enum e e; named n[2]; union { long x; const char *y; }; struct s *next; };
    const volatile struct s one = {};
    double two;
    """
    return section(compile_bpf(text), tmp_path_factory.mktemp("btf") / "small")


def test_cut_off_at_every_byte(small_blob: bytes) -> None:
    assert len(small_blob) > 300
    assert [exercise(small_blob[:n]) for n in range(len(small_blob))].count(True) == 0


def test_thousands_of_flipped_bits(small_blob: bytes) -> None:
    dice = random.Random(20)
    start = time.monotonic()
    for _ in range(4000):
        data = bytearray(small_blob)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        exercise(bytes(data))
    assert time.monotonic() - start < 30


@settings(max_examples=150, deadline=2000)
@given(st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_overwritten_anywhere(small_blob: bytes, patches: list[tuple[int, bytes]]) -> None:
    data = bytearray(small_blob)
    for at, patch in patches:
        at = at % len(data)
        data[at : at + len(patch)] = patch
    exercise(bytes(data))


@settings(max_examples=150, deadline=2000)
@given(st.lists(st.tuples(st.sampled_from(list(Kind)[1:]), st.lists(st.integers(0, 9), max_size=6), st.integers(0, 9))))
def test_any_graph_of_types(parts: list[tuple[Kind, list[int], int]]) -> None:
    """Types that refer to each other at random."""
    types = []
    for kind, words, size in parts:
        fixed = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}.get(kind, 0)
        each = {Kind.STRUCT: 3, Kind.UNION: 3, Kind.ENUM: 2, Kind.FUNC_PROTO: 2, Kind.DATASEC: 3, Kind.ENUM64: 3}
        vlen = len(words) // each[kind] if kind in each else 0
        count = fixed or vlen * each.get(kind, 0)
        types.append(a_type(kind, *(words + [0] * 6)[:count], size=size, vlen=vlen))
    exercise(made(*types))
