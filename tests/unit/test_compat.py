"""Which layouts are one and the same, and what the list of differences says when they are not.

Pairs are compiled from C, so that offsets are the compiler's and not the author's of this test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.kernel import MapType
from reloader.plan.state import texts as words
from reloader.plan.state.compat import Difference, MapShape, differences, map_differences
from reloader.structs.btf import Kind, Member, TypeTree, layout_digest
from reloader.structs.elf import read_object

Compile = Callable[[str | Path], Path]

SAME = {
    "type names": ("__u32 a; __u64 b;", "unsigned int a; unsigned long long b;"),
    "own typedefs": ("counter_t a; address_t b;", "__u64 a; __be32 b;"),
    "a renamed struct": ("struct { int x; } a;", "struct point a;"),
    "qualifiers": ("int a; const char *b;", "volatile int a; void *b;"),
    "an anonymous struct around": ("int a; int b;", "int a; struct { int b; };"),
    "the order in a union": ("union { int a; char b; };", "union { char b; int a; };"),
    "the order of enumerators": ("enum { A1, B1 } e;", "enum { B2 = 1, A2 = 0 } e;"),
}

DIFFERENT: dict[str, tuple[str, str, list[str]]] = {
    "widened": (
        "__u64 packets; __u32 bytes; __u8 flag;",
        "__u64 packets; __u64 bytes; __u8 flag;",
        [
            "value: size 16 → 24",
            "value.bytes: size 4 → 8 (u32 → u64)",
            "value.flag: offset 12 → 16 (u8)",
        ],
    ),
    "moved and widened": (
        "__u64 a; __u32 bytes; __u32 b;",
        "__u64 a; __u32 b; __u64 bytes;",
        [
            "value: size 16 → 24",
            "value.bytes: offset 8 → 16, size 4 → 8 (u32 → u64)",
            "value.b: offset 12 → 8 (u32)",
        ],
    ),
    "reordered at the same size": (
        "__u32 a; __u32 b;",
        "__u32 b; __u32 a;",
        ["value.a: offset 0 → 4 (u32)", "value.b: offset 4 → 0 (u32)"],
    ),
    "renamed": ("__u32 a; __u32 b;", "__u32 a; __u32 c;", ["value.b: renamed to c (u32 at offset 4)"]),
    "added": ("__u64 a;", "__u64 a; __u64 b;", ["value: size 8 → 16", "value.b: added (u64 at offset 8)"]),
    "added into padding": ("__u64 a; __u32 b;", "__u64 a; __u32 b; __u32 c;", ["value.c: added (u32 at offset 12)"]),
    "removed": ("__u32 a; __u32 b;", "__u32 a;", ["value: size 8 → 4", "value.b: removed (u32 at offset 4)"]),
    "sign": ("__u32 a;", "__s32 a;", ["value.a: sign (u32 → s32)"]),
    "byte order": ("__be32 a;", "__u32 a;", ["value.a: byte order (be32 → u32)"]),
    "bool for a byte": ("bool a;", "__u8 a;", ["value.a: type (bool → u8)"]),
    "text for bytes": ("char a[4];", "__u8 a[4];", ["value.a[]: type (char → u8)"]),
    "an array's length": (
        "__u8 a[4];",
        "__u8 a[8];",
        ["value: size 4 → 8", "value.a: count 4 → 8, size 4 → 8 (u8[4] → u8[8])"],
    ),
    "inside an array of structs": (
        "struct { __u16 x; __u16 y; } a[3];",
        "struct { __u16 y; __u16 x; } a[3];",
        ["value.a[].x: offset 0 → 2 (u16)", "value.a[].y: offset 2 → 0 (u16)"],
    ),
    "a bit-field": (
        "unsigned a : 3; unsigned b : 5;",
        "unsigned a : 4; unsigned b : 4;",
        [
            "value.a: bit 0, 3 wide → bit 0, 4 wide (u32)",
            "value.b: bit 3, 5 wide → bit 4, 4 wide (u32)",
        ],
    ),
    "an enumerator": (
        "enum one { ONE_A, ONE_B } e;",
        "enum two { ONE_A2, ONE_B2 = 5 } e;",
        [
            "value.e: enumerator ONE_A = 0 removed",
            "value.e: enumerator ONE_B = 1 removed",
            "value.e: enumerator ONE_A2 = 0 added",
            "value.e: enumerator ONE_B2 = 5 added",
        ],
    ),
    "struct for union": (
        "union { int x; char y; } a;",
        "struct { int x; } a;",
        ["value.a: type (union → struct)", "value.a.y: removed (char at offset 0)"],
    ),
    "lock for a number": (
        "struct bpf_spin_lock l; __u32 a;",
        "__u32 l; __u32 a;",
        ["value.l: type (struct bpf_spin_lock → u32)"],
    ),
    "two alike of the kernel's own": (
        "struct bpf_timer h;",
        "struct bpf_dynptr h;",
        ["value.h: type (struct bpf_timer → struct bpf_dynptr)"],
    ),
    "a kernel pointer": (
        "void *p;",
        'void __attribute__((btf_type_tag("kptr"))) *p;',
        ["value.p: type (void * → void kptr *)"],
    ),
    "deep inside": (
        "struct { struct { __u32 low; __u32 x; } b; } a;",
        "struct { struct { __u16 low; __u32 x; } b; } a;",
        ["value.a.b.low: size 4 → 2 (u32 → u16)"],
    ),
}


@pytest.fixture(scope="module")
def pairs(compile_bpf: Compile) -> dict[str, tuple[TypeTree, TypeTree]]:
    """All pairs, compiled in one go: each snippet is the body of a struct of its own."""
    head = """
    #include <linux/bpf.h>
    #include <linux/types.h>
    #include <stdbool.h>
    typedef __u64 counter_t;
    typedef __be32 address_t;
    struct point { int x; };
    """
    bodies = [(k, a, b) for k, (a, b) in SAME.items()] + [(k, a, b) for k, (a, b, _) in DIFFERENT.items()]
    text = head + "".join(
        f"struct old_{i} {{ {a} }}; struct new_{i} {{ {b} }}; struct old_{i} o{i}; struct new_{i} n{i};\n"
        for i, (_, a, b) in enumerate(bodies)
    )
    btf = read_object(compile_bpf(text).read_bytes()).btf
    assert btf is not None

    def tree(name: str) -> TypeTree:
        found = btf.find(Kind.STRUCT, name)
        assert found is not None
        return btf.tree(found)

    return {key: (tree(f"old_{i}"), tree(f"new_{i}")) for i, (key, _, _) in enumerate(bodies)}


def renamed_enumerators(tree: TypeTree) -> TypeTree:
    """C allows an enumerator's name once in a file; the pair about their order spells them A1/A2."""
    names = {"A2": "A1", "B2": "B1"}
    members = tuple(
        dataclasses.replace(
            m,
            type=dataclasses.replace(m.type, enumerators=tuple((names.get(n, n), v) for n, v in m.type.enumerators)),
        )
        for m in tree.members
    )
    return dataclasses.replace(tree, members=members)


@pytest.mark.parametrize("name", SAME)
def test_same_layout(name: str, pairs: dict[str, tuple[TypeTree, TypeTree]]) -> None:
    old, new = (renamed_enumerators(t) for t in pairs[name])
    assert differences(old, new) == ()
    assert layout_digest(old, None) == layout_digest(new, None)


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_layout(name: str, pairs: dict[str, tuple[TypeTree, TypeTree]]) -> None:
    old, new = pairs[name]
    assert [str(d) for d in differences(old, new)] == DIFFERENT[name][2]
    assert layout_digest(old, None) != layout_digest(new, None)
    assert differences(new, old)  # a difference one way is one the other way
    assert differences(old, old) == differences(new, new) == ()


def test_an_enumerator_that_changes_its_value() -> None:
    old = TypeTree(kind="enum", size=4, enumerators=(("A", 0), ("B", 1)))
    new = TypeTree(kind="enum", size=4, enumerators=(("A", 0), ("B", 2), ("C", 1)))
    found = [str(d) for d in differences(old, new, path="key")]
    assert found == ["key: enumerator B = 1 → 2", "key: enumerator C = 1 added"]


def test_what_only_one_side_describes() -> None:
    tree = TypeTree(kind="int", size=4)
    assert differences(None, None) == ()
    assert [str(d) for d in differences(None, tree)] == ["value: BTF describes only one side (unknown → u32)"]


# --- maps


U32 = TypeTree(kind="int", size=4)
U64 = TypeTree(kind="int", size=8)
SECTION = TypeTree(kind="datasec", name=".bss", size=8)


def shape(kind: MapType = MapType.HASH, **changes: object) -> MapShape:
    plain = MapShape(type=kind, key_size=4, value_size=8, max_entries=64, map_flags=0, key=U32, value=U64)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]  # fields by name, as the cases give them


def texts(old: MapShape, new: MapShape) -> list[str]:
    return [str(d) for d in map_differences(old, new)]


def test_equal_maps() -> None:
    assert texts(shape(), shape()) == []


def test_every_attribute_counts() -> None:
    changed = shape(MapType.LRU_HASH, key_size=8, key=U64, value_size=4, value=U32, max_entries=65, map_flags=1)
    assert texts(shape(), changed) == [
        "type: hash → lru_hash",
        "key_size: 4 → 8 bytes",
        "value_size: 8 → 4 bytes",
        "max_entries: 64 → 65",
        "map_flags: 0x0 → 0x1",
        "key: size 4 → 8 (u32 → u64)",
        "value: size 8 → 4 (u64 → u32)",
    ]


def test_sizes_are_rounded_by_possible_cpus() -> None:
    """Given as a value: a host with possible CPUs 0-3,8 has five, however many are online."""
    own_lists = 1 << 1  # BPF_F_NO_COMMON_LRU
    live = shape(MapType.LRU_HASH, max_entries=100, map_flags=own_lists)
    wanted = shape(MapType.LRU_HASH, max_entries=96, map_flags=own_lists)
    assert map_differences(live, wanted, cpus=5) == ()
    assert [d.path for d in map_differences(live, wanted, cpus=4)] == ["max_entries"]
    assert [d.path for d in map_differences(live, wanted)] == ["max_entries"], "two declarations"


def test_a_type_newer_than_we_know() -> None:
    assert texts(shape(), dataclasses.replace(shape(), type=999)) == ["type: hash → type 999"]


def test_trap_ring_buffer_sizes_are_rounded_by_the_loader() -> None:
    nothing = {"key_size": 0, "value_size": 0, "key": None, "value": None}
    live = shape(MapType.RINGBUF, max_entries=8192, **nothing)
    assert texts(live, shape(MapType.RINGBUF, max_entries=5000, **nothing)) == []
    assert texts(live, shape(MapType.RINGBUF, max_entries=9000, **nothing)) == ["max_entries: 8192 → 9000"]
    assert map_differences(live, shape(MapType.RINGBUF, max_entries=40_000, **nothing), page_size=65536) == ()
    assert texts(shape(max_entries=8192), shape(max_entries=5000)) != []  # not so for others


def test_trap_device_maps_are_made_read_only_by_the_kernel() -> None:
    for kind in (MapType.DEVMAP, MapType.DEVMAP_HASH):
        assert texts(shape(kind, map_flags=1 << 7, key=None, value=None), shape(kind)) == []
    assert texts(shape(map_flags=1 << 7), shape()) == ["map_flags: 0x80 → 0x0"]


def test_trap_access_flags_belong_to_descriptors() -> None:
    assert texts(shape(), shape(map_flags=1 << 3)) == []


def test_trap_loaders_differ_in_mmapping_variables() -> None:
    old = shape(MapType.ARRAY, value=SECTION, map_flags=1 << 10, key=None)
    assert texts(old, shape(MapType.ARRAY, value=SECTION)) == []
    assert texts(shape(MapType.ARRAY, map_flags=1 << 10), shape(MapType.ARRAY)) == ["map_flags: 0x400 → 0x0"]


def test_trap_perf_event_arrays_are_sized_by_cpus() -> None:
    kind = MapType.PERF_EVENT_ARRAY
    assert texts(shape(kind, max_entries=2, key=None, value=None), shape(kind, max_entries=0)) == []


def test_trap_the_kernel_keeps_no_btf_of_handles() -> None:
    assert texts(shape(MapType.XSKMAP, key=None, value=None), shape(MapType.XSKMAP)) == []
    unknown = texts(shape(key=None, value=None), shape())
    assert [t.split(":")[0] for t in unknown] == ["key", "value"]


def test_the_index_of_an_array_needs_no_description() -> None:
    assert texts(shape(MapType.ARRAY, key=None), shape(MapType.ARRAY)) == []


# --- any two layouts


def scalars() -> st.SearchStrategy[TypeTree]:
    sizes = st.sampled_from((1, 2, 4, 8))
    ints = st.builds(
        TypeTree, kind=st.just("int"), size=sizes, signed=st.booleans(), order=st.sampled_from(("", "big"))
    )
    others = st.builds(TypeTree, kind=st.sampled_from(("bool", "char", "float", "ptr", "enum")), size=sizes)
    return ints | others


def members(inner: st.SearchStrategy[TypeTree]) -> st.SearchStrategy[tuple[Member, ...]]:
    names = st.sampled_from(("a", "b", "c", ""))
    one = st.builds(
        Member, name=names, offset_bits=st.sampled_from((0, 8, 32)), bits=st.sampled_from((0, 0, 3)), type=inner
    )
    return st.lists(one, max_size=3).map(tuple)


def compounds(inner: st.SearchStrategy[TypeTree]) -> st.SearchStrategy[TypeTree]:
    kinds = st.sampled_from(("struct", "union", "datasec"))
    structs = st.builds(
        TypeTree, kind=kinds, name=st.sampled_from(("x", "bpf_timer")), size=st.just(16), members=members(inner)
    )
    arrays = st.builds(TypeTree, kind=st.just("array"), size=st.just(16), element=inner, count=st.integers(0, 3))
    return structs | arrays


LAYOUTS = st.recursive(scalars(), compounds, max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(LAYOUTS, LAYOUTS)
def test_no_difference_exactly_when_the_digests_agree(old: TypeTree, new: TypeTree) -> None:
    found = differences(old, new)
    assert (not found) == (layout_digest(old, None) == layout_digest(new, None))
    assert all(str(d).startswith("value") and "\n" not in str(d) for d in found)


@settings(max_examples=100, deadline=None)
@given(LAYOUTS)
def test_a_layout_equals_itself(tree: TypeTree) -> None:
    assert differences(tree, tree) == ()


def test_a_difference_is_one_line() -> None:
    assert str(Difference(path="value.x", what=words.SIGN(), old="u32", new="s32")) == "value.x: sign (u32 → s32)"
