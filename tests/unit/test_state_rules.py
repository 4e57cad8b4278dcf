"""Rules from versions: what is written for the kernel, what is refused and why, what is lost."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from reloader.disk import jsonable
from reloader.layouts.emit import MERGES
from reloader.layouts.rule_table import StateRefused, between, compile_conversion, compose, invert
from reloader.layouts.rules import Conversion, Fault, FieldRule, LayoutVersion, Op, Rule
from reloader.structs.tree import Member, TypeTree, map_of
from reloader.wording.message import code_of, values_of
from tests.support.layout_pairs import Var, laid_out
from tests.support.reference import NoCounterpart, apply_rules, merge_rules

DROP = FieldRule(drop=True, accept_loss=True)
WIDEN, NARROW, CAST = FieldRule(widen=True), FieldRule(narrow=True), FieldRule(cast=True)
ZERO8 = FieldRule(default=bytes(8))
U32 = TypeTree(kind="int", size=4)
LOCK = TypeTree(kind="struct", name="bpf_spin_lock", size=4, members=(Member(name="val", offset_bits=0, type=U32),))
TIMER = TypeTree(kind="struct", name="bpf_timer", size=16)
KPTR = TypeTree(kind="ptr", name="struct task_struct", size=8, tag="kptr")


def shaped(text: str, *, packed: bool = False) -> TypeTree:
    """`a:u64 b:u32*3`: a struct as C lays it out."""
    found = []
    for word in text.split():
        name, kind = word.split(":")
        kind, _, count = kind.partition("*")
        found.append(Var(name=name, kind=kind, count=int(count or 0)))
    return laid_out(tuple(found), packed=packed)


def with_members(size: int, *members: tuple[str, int, TypeTree]) -> TypeTree:
    found = tuple(Member(name=n, offset_bits=at * 8, type=t) for n, at, t in members)
    return TypeTree(kind="struct", name="s", size=size, members=found)


def bits(size: int, *members: tuple[str, int, int]) -> TypeTree:
    found = tuple(Member(name=n, offset_bits=at, bits=width, type=U32) for n, at, width in members)
    return TypeTree(kind="struct", name="s", size=size, members=found)


def step(old: TypeTree | str, new: TypeTree | str, rules: dict[str, FieldRule] | None = None, **more: Any) -> Any:
    """Two versions of a value (or, by key_old and key_new, of a key)."""
    trees = [shaped(t) if isinstance(t, str) else t for t in (old, new)]
    keys = [shaped(more.pop(k, "id:u32")) for k in ("key_old", "key_new")]
    merge = more.pop("merge", {})
    return (
        LayoutVersion(schema="t", map="m", version=1, key=keys[0], value=trees[0], merge=more.pop("merge_old", {})),
        LayoutVersion(
            schema="t", map="m", version=2, key=keys[1], value=trees[1], value_rules=rules or {}, merge=merge, **more
        ),
    )


def refused(chain: Any) -> list[tuple[str, str]]:
    """(field, code) of every fault."""
    return [(fault.field, fault.message.code) for fault in faults(chain)]


def faults(chain: Any) -> tuple[Fault, ...]:
    with pytest.raises(StateRefused) as caught:
        compile_conversion(*chain)
    return caught.value.faults


# --- the table


def test_a_rule_is_sixteen_bytes_as_the_header_has_them() -> None:
    rule = Rule(op=Op.SUM, src_off=0x102, dst_off=0x304, src_size=4, dst_size=8, signed=True, imm=0x0102030405060708)
    assert rule.pack() == bytes.fromhex("0201 0403 04 08 03 01 0807060504030201".replace(" ", ""))
    assert Rule(op=Op.COPY, src_off=0, dst_off=0, src_size=8, dst_size=4, checked=True).pack()[7] == 2
    assert len(rule.pack()) == 16


def test_reordered_counters_are_moved_each_to_its_place() -> None:
    found = compile_conversion(*step("packets:u64 bytes:u64", "bytes:u64 packets:u64", merge={"": "sum"}))
    assert found.value == (
        Rule(op=Op.SUM, src_off=8, dst_off=0, src_size=8, dst_size=8),
        Rule(op=Op.SUM, src_off=0, dst_off=8, src_size=8, dst_size=8),
    )
    assert found.key == ()
    assert found.lossy == ()


def test_fields_in_a_row_are_one_rule() -> None:
    text = " ".join(f"f{i}:u64" for i in range(9))
    assert compile_conversion(*step(text, text)).value == (
        Rule(op=Op.COPY, src_off=0, dst_off=0, src_size=8, dst_size=8, imm=8),
    )
    summed = compile_conversion(*step(text, f"new:u64 {text}", {"new": ZERO8}, merge={"": "sum"}))
    assert summed.value == (Rule(op=Op.SUM, src_off=0, dst_off=8, src_size=8, dst_size=8, imm=8),)


def test_a_run_of_bytes_moves_in_the_widest_aligned_words() -> None:
    found = compile_conversion(*step("name:u8*21 a:u8", "a:u8 name:u8*21"))
    assert [(r.src_off, r.dst_off, r.src_size, r.imm) for r in found.value] == [(21, 0, 1, 0), (0, 1, 1, 20)]
    found = compile_conversion(*step("a:u32 name:u8*20", "a:u32 b:u64 name:u8*20", {"b": ZERO8}))
    assert [(r.src_off, r.dst_off, r.src_size, r.imm) for r in found.value if r.dst_off >= 16] == [(4, 16, 4, 4)]


def test_a_long_value_of_many_small_fields_still_has_room() -> None:
    """One rule a field where that fits; else neighbours that move alike are joined."""
    text = " ".join(f"a{i}:u8 b{i}:u16 c{i}:u32" for i in range(30))
    found = compile_conversion(*step(text, text))
    assert len(found.value) == 1
    scattered = " ".join(f"a{i}:u8 b{i}:u64" for i in range(65))
    mixed = " ".join(f"b{i}:u64 a{i}:u8" for i in reversed(range(65)))
    (fault,) = faults(step(scattered, mixed))
    assert (fault.field, fault.message.values) == ("value", {"count": 130, "limit": 64})


def test_what_no_rule_names_is_zero() -> None:
    chain = step("a:u64", "a:u64 b:u64 c:u32", {"b": ZERO8, "c": FieldRule(default=b"\7\0\0\0")})
    found = compile_conversion(*chain)
    assert [r.op for r in found.value] == [Op.COPY, Op.CONST]
    assert apply_rules(found, bytes(4), b"\1" * 8)[1] == b"\1" * 8 + bytes(8) + b"\7" + bytes(7)


def test_too_large_a_value_is_refused() -> None:
    (fault,) = faults(step("a:u8*5000", "a:u8*5001", {"a": WIDEN}))
    assert (fault.field, fault.message.values) == ("value", {"size": 5001, "limit": 4096})


def test_conversions_travel_as_json() -> None:
    old, new = step("a:u32", "a:u64 b:u64", {"a": WIDEN, "b": ZERO8}, merge={"a": "sum"})
    found = compile_conversion(old, new)
    assert jsonable.from_json(Conversion, jsonable.to_json(found)) == found
    assert jsonable.from_json(LayoutVersion, jsonable.to_json(new)) == new


# --- numbers


@pytest.mark.parametrize(
    ("old", "new", "rule", "value", "expected"),
    [
        ("u32", "u64", WIDEN, 0xFFFFFFFF, 0xFFFFFFFF),
        ("s32", "s64", WIDEN, -5, -5),
        ("s8", "s64", WIDEN, -128, -128),
        ("u64", "u16", NARROW, 65535, 65535),
        ("u64", "u16", NARROW, 65536, None),
        ("s64", "s8", NARROW, -128, -128),
        ("s64", "s8", NARROW, -129, None),
        ("u32", "s32", CAST, 7, 7),
        ("s16", "u64", FieldRule(cast=True, widen=True), -1, 2**64 - 1),
        ("be16", "be32", WIDEN, 443, 443),
        ("bool", "u8", CAST, 1, 1),
    ],
)
def test_numbers_change_their_size(old: str, new: str, rule: FieldRule, value: int, expected: int | None) -> None:
    found = compile_conversion(*step(f"a:{old}", f"a:{new}", {"a": rule}))
    order = "big" if old.startswith("be") else "little"
    before = value.to_bytes(found.old_value_size, order, signed=old.startswith("s"))  # type: ignore[arg-type]
    if expected is None:
        with pytest.raises(NoCounterpart):
            apply_rules(found, bytes(4), before)
        return
    made = apply_rules(found, bytes(4), before)[1]
    assert int.from_bytes(made, order, signed=new.startswith("s")) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "rule", "code"),
    [
        ("u32", "u64", FieldRule(), "widen-not-said"),
        ("u64", "u32", FieldRule(), "narrow-not-said"),
        ("u32", "s32", FieldRule(), "meaning-changed"),
        ("u32", "be32", FieldRule(), "meaning-changed"),
        ("u8", "bool", CAST, "boolean-from-number"),
        ("u64", "s32", FieldRule(cast=True, narrow=True), "narrow-not-possible"),
        ("be64", "be32", NARROW, "narrow-not-possible"),
        ("u32", "be64", FieldRule(cast=True, widen=True), "size-and-order"),
    ],
)
def test_what_a_number_cannot_become(old: str, new: str, rule: FieldRule, code: str) -> None:
    (fault,) = faults(step(f"a:{old}", f"a:{new}", {"a": rule}))
    assert (fault.field, fault.message.code) == ("value.a", code)
    assert fault.message.values == {"old": old, "new": new}


def test_enumerators_may_be_added_and_nothing_else() -> None:
    def with_enum(*names: tuple[str, int]) -> TypeTree:
        return with_members(4, ("state", 0, TypeTree(kind="enum", name="st", size=4, enumerators=names)))

    old = with_enum(("A", 0), ("B", 1))
    assert compile_conversion(*step(old, with_enum(("A", 0), ("B", 1), ("C", 2)))).lossy == ()
    for other in (with_enum(("A", 1), ("B", 0)), with_enum(("A", 0))):
        assert refused(step(old, other)) == [("value.state", "meaning-changed")]
        compile_conversion(*step(old, other, {"state": CAST}))


# --- merging


@pytest.mark.parametrize(
    ("word", "old", "there", "merged"),
    [
        ("sum", 5, 7, 12),
        ("max", 5, 7, 7),
        ("min", 5, 7, 5),
        ("or", 5, 8, 13),
        ("keep_new", 5, 7, 7),
        ("keep_old", 5, 7, 5),
    ],
)
def test_two_entries_become_one(word: str, old: int, there: int, merged: int) -> None:
    found = compile_conversion(*step("a:u64 b:u32", "b:u32 a:u64", merge={"a": word}))
    values = struct.pack("<QI4x", old, 1), struct.pack("<I4xQ", 2, there)
    assert merge_rules(found, *values) == struct.pack("<I4xQ", 2, merged)
    assert set(MERGES) >= {word}


@pytest.mark.parametrize("word", ["sum", "max", "min", "or"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("u8", "merge-size"),
        ("u16", "merge-size"),
        ("be32", "merge-needs-integer"),
        ("bool", "merge-needs-integer"),
    ],
)
def test_what_no_instruction_can_join(word: str, kind: str, code: str) -> None:
    (fault,) = faults(step(f"a:{kind}", f"x:u64 a:{kind}", {"x": ZERO8}, merge={"a": word}))
    assert (fault.field, fault.message.code, fault.message.values["word"]) == ("value.a", code, word)


def test_a_count_out_of_its_place_is_not_summed() -> None:
    old, new = shaped("x:u8 n:u64", packed=True), shaped("n:u64 x:u8")
    assert refused(step(old, new, merge={"n": "sum"})) == [("value.n", "merge-unaligned")]
    compile_conversion(*step(old, new))


def test_a_count_of_two_bytes_cannot_be_taken_even_to_a_larger_one() -> None:
    chain = step("n:u16", "n:u64", {"n": WIDEN}, merge={"n": "sum"})
    assert refused(chain) == [("value.n", "sum-exchange-size")]


def test_on_the_way_back_a_merge_that_cannot_be_gives_way_and_is_named() -> None:
    chain = step("n:u16", "n:u64", {"n": WIDEN}, merge={"n": "max"}, merge_old={"n": "max"})
    (line,) = invert(chain).lossy
    assert code_of(line) == "running-value-kept"
    assert values_of(line)["field"] == "value.n"


# --- names


def test_a_rename_needs_saying_and_then_loses_nothing() -> None:
    assert refused(step("a:u64", "b:u64")) == [("value.b", "field-is-new"), ("value.a", "field-only-before")]
    found = compile_conversion(*step("a:u64", "b:u64", {"b": FieldRule(rename="a")}))
    assert found.lossy == ()
    assert found.notes[-1] == "value.b (u64): was a, keep_new"


def test_swapped_names_are_two_renames() -> None:
    rules = {"a": FieldRule(rename="b"), "b": FieldRule(rename="a")}
    found = compile_conversion(*step("a:u32 b:u32", "a:u32 b:u32", rules))
    assert apply_rules(found, bytes(4), b"aaaabbbb")[1] == b"bbbbaaaa"


def test_fields_inside_structs_and_arrays_of_structs() -> None:
    inner_old, inner_new = shaped("x:u32 y:u32"), shaped("y:u64 x:u32")
    many = TypeTree(kind="array", size=inner_old.size * 3, element=inner_old, count=3)
    fewer = TypeTree(kind="array", size=inner_new.size * 2, element=inner_new, count=2)
    old, new = (
        with_members(32, ("one", 0, inner_old), ("many", 8, many)),
        with_members(56, ("many", 0, fewer), ("uno", 40, inner_new)),
    )
    rules = {
        "uno": FieldRule(rename="one"), "uno.y": WIDEN, "many": NARROW, "many[].y": WIDEN,
    }  # fmt: skip
    found = compile_conversion(*step(old, new, rules))
    before = struct.pack("<8I", *range(1, 9))
    after = apply_rules(found, bytes(4), before)[1]
    assert after == struct.pack("<QI4xQI4x8xQI4x", 4, 3, 6, 5, 2, 1)
    assert [line.partition(" ")[0] for line in found.lossy] == ["value.many[].x", "value.many[].y"]
    assert apply_rules(invert(step(old, new, rules)), bytes(4), after)[1] == struct.pack("<8I", *range(1, 7), 0, 0)


def test_a_rename_out_of_a_struct_goes_by_the_whole_path() -> None:
    old = with_members(16, ("in", 0, shaped("x:u32 y:u32")), ("z", 8, TypeTree(kind="int", size=8)))
    found = compile_conversion(*step(old, "y:u32 z:u64", {"y": FieldRule(rename="in.y"), "in.x": DROP}))
    assert apply_rules(found, bytes(4), struct.pack("<IIQ", 1, 2, 3))[1] == struct.pack("<I4xQ", 2, 3)


def test_every_reason_is_named_at_once() -> None:
    found = refused(step("a:u64 b:u32 c:u8", "a:u32 d:u8 e:u64 b:u64", {"nothing": DROP, "q": WIDEN}))
    assert [field for field, _ in found] == [
        "value.a", "value.d", "value.e", "value.b", "value.nothing", "value.q", "value.c",
    ]  # fmt: skip


def test_one_old_field_has_one_successor() -> None:
    chain = step("a:u64", "a:u64 b:u64", {"b": FieldRule(rename="a")})
    assert refused(chain) == [("value.b", "source-taken-twice")]


def test_a_default_does_not_hide_a_field_that_was_there() -> None:
    assert refused(step("a:u64", "a:u64", {"a": ZERO8})) == [("value.a", "default-of-old-field")]
    found = compile_conversion(*step("a:u64", "a:u64", {"a": FieldRule(const=bytes(8))}))
    assert [values_of(line) for line in found.lossy] == [{"field": "value.a (u64)", "version": 2}]


def test_a_change_of_meaning_alone_copies_or_converts_as_said() -> None:
    assert compile_conversion(*step("a:u64", "a:u64")).value[0].op is Op.COPY
    found = compile_conversion(*step("ms:u64", "ms:u64", {"ms": FieldRule(const=bytes(8))}))
    assert found.value == ()


# --- what moves whole, or not at all


def test_bit_fields_move_as_units() -> None:
    old = bits(8, ("a", 0, 3), ("b", 3, 5), ("c", 32, 32))
    moved = bits(8, ("c", 0, 32), ("a", 32, 3), ("b", 35, 5))
    found = compile_conversion(*step(old, moved))
    assert apply_rules(found, bytes(4), struct.pack("<II", 0xAB, 7))[1] == struct.pack("<II", 7, 0xAB)
    wider = bits(8, ("a", 0, 3), ("b", 3, 5), ("d", 8, 1), ("c", 32, 32))
    assert compile_conversion(*step(old, wider, {"d": FieldRule(default=b"\0")})).lossy == ()
    joined = bits(8, ("a", 0, 3), ("b", 3, 4), ("d", 7, 1), ("c", 32, 32))
    assert refused(step(old, joined))[0] == ("value.a,b,d", "bit-fields-changed")
    compile_conversion(*step(old, joined, {"a,b,d": FieldRule(rename="a,b", cast=True, accept_loss=True)}))


def test_unions_move_whole() -> None:
    def with_union(*kinds: tuple[str, str]) -> TypeTree:
        members = tuple(Member(name=n, offset_bits=0, type=Var(name=n, kind=k).tree) for n, k in kinds)
        return with_members(
            16,
            ("u", 0, TypeTree(kind="union", name="u", size=8, members=members)),
            ("n", 8, Var(name="n", kind="u64").tree),
        )

    old = with_union(("a", "u64"), ("b", "u32"))
    assert len(compile_conversion(*step(old, old)).value) == 1
    other = with_union(("a", "u64"), ("c", "u16"))
    assert refused(step(old, other)) == [("value.u", "union-changed")]
    compile_conversion(*step(old, other, {"u": CAST}))


def test_an_unnamed_union_has_the_name_of_its_members() -> None:
    union = TypeTree(
        kind="union",
        size=8,
        members=tuple(
            Member(name=n, offset_bits=0, type=Var(name=n, kind=k).tree) for n, k in (("v4", "be32"), ("v6", "be64"))
        ),
    )
    old, new = (
        with_members(8, ("", 0, union)),
        with_members(16, ("n", 0, Var(name="n", kind="u64").tree), ("", 8, union)),
    )
    found = compile_conversion(*step(old, new, {"n": ZERO8}))
    assert found.value == (Rule(op=Op.COPY, src_off=0, dst_off=8, src_size=8, dst_size=8),)
    assert found.notes[-1].startswith("value.v4|v6 (union)")


def test_bytes_of_an_address_may_change_their_type() -> None:
    struct_in6 = TypeTree(
        kind="struct",
        name="in6_addr",
        size=16,
        members=(Member(name="b", offset_bits=0, type=Var(name="b", kind="u8", count=16).tree),),
    )
    old, new = with_members(16, ("addr", 0, struct_in6)), shaped("addr:be32*4")
    assert refused(step(old, new)) == [("value.addr", "type-changed")]
    assert compile_conversion(*step(old, new, {"addr": CAST})).value[0].imm == 1


def test_a_lock_starts_open_and_no_rule_touches_it() -> None:
    old = with_members(16, ("lock", 0, LOCK), ("n", 8, Var(name="n", kind="u64").tree))
    new = with_members(16, ("n", 0, Var(name="n", kind="u64").tree), ("lock", 8, LOCK))
    for chain in (step(old, new, merge={"n": "sum"}), step("n:u64", new), step(old, "n:u64")):
        found = compile_conversion(*chain)
        assert [(r.src_size, r.imm) for r in found.value] == [(8, 0)]
        assert found.lossy == ()


@pytest.mark.parametrize(
    "special",
    [
        TIMER,
        KPTR,
        TypeTree(kind="struct", name="bpf_list_head", size=16),
        TypeTree(kind="struct", name="bpf_rb_root", size=16),
    ],
)
def test_what_only_the_kernel_may_write_is_refused_with_choices(special: TypeTree) -> None:
    value = with_members(8 + special.size, ("n", 0, Var(name="n", kind="u64").tree), ("t", 8, special))
    for chain in (step(value, "n:u64"), step("n:u64", value), step(value, value)):
        assert {code for _, code in refused(chain)} == {"special-field"}


def test_one_hidden_in_a_union_is_found() -> None:
    union = TypeTree(kind="union", name="u", size=16, members=(Member(name="t", offset_bits=0, type=TIMER),))
    assert faults(step(with_members(16, ("u", 0, union)), "n:u64"))[0].message.values["special"] == "bpf_timer"


# --- keys


def test_longer_keys_have_a_constant_part_and_the_way_back_expects_it() -> None:
    rules = {"vlan": FieldRule(const=b"\7\0")}
    chain = step("n:u64", "n:u64", key_old="a:u32 b:u16", key_new="b:u16 vlan:u16 a:u32", key_rules=rules)
    forward, back = compile_conversion(*chain), invert(chain)
    key = struct.pack("<IH2x", 0xAABBCCDD, 9)
    made = apply_rules(forward, key, bytes(8))[0]
    assert made == struct.pack("<HHI", 9, 7, 0xAABBCCDD)
    assert apply_rules(back, made, bytes(8))[0] == key
    with pytest.raises(NoCounterpart):
        apply_rules(back, struct.pack("<HHI", 9, 8, 0xAABBCCDD), bytes(8))
    assert not forward.collides
    assert (back.lossy, back.demands) == ((), ("key.vlan is 7",))
    assert Op.EXPECT in {r.op for r in back.key}


def test_keys_that_could_fall_together_are_refused() -> None:
    dropped: dict[str, Any] = {"key_old": "a:u32 b:u32", "key_new": "a:u32", "key_rules": {"b": DROP}}
    (fault,) = faults(step("n:u64", "n:u64", **dropped))
    assert (fault.message.code, fault.message.values) == ("keys-collide", {"fields": ["key.b"]})
    chain = step("n:u64 m:u8", "n:u64 m:u8", collide=True, merge={"n": "sum"}, **dropped)
    assert refused(chain) == [("value.m", "merge-not-joining")]
    found = compile_conversion(*step("n:u64", "n:u64", collide=True, merge={"n": "sum"}, **dropped))
    assert found.collides
    assert "entries that differ only in key.b become one" in found.lossy


def test_a_key_part_that_was_always_the_same_may_go() -> None:
    rules = {"pad": FieldRule(drop=True, was=bytes(4))}
    chain = step("n:u64", "n:u64", key_old="a:u32 pad:u32", key_new="a:u32", key_rules=rules)
    found = compile_conversion(*chain)
    assert not found.collides
    assert apply_rules(found, b"aaaa" + bytes(4), bytes(8))[0] == b"aaaa"
    with pytest.raises(NoCounterpart):
        apply_rules(found, b"aaaa\1\0\0\0", bytes(8))
    assert apply_rules(invert(chain), b"aaaa", bytes(8))[0] == b"aaaa" + bytes(4)


def test_a_narrower_key_takes_only_what_fits() -> None:
    chain = step("n:u64", "n:u64", key_old="id:u64", key_new="id:u32", key_rules={"id": NARROW})
    found = compile_conversion(*chain)
    assert not found.collides
    with pytest.raises(NoCounterpart):
        apply_rules(found, struct.pack("<Q", 1 << 32), bytes(8))


def test_padding_of_a_key_is_no_reason_for_rules() -> None:
    assert (
        compile_conversion(
            *step("n:u64", "m:u64", {"m": FieldRule(rename="n")}, key_old="a:u8 b:u32", key_new="a:u8 b:u32")
        ).key
        == ()
    )


# --- many versions


def versions(*steps: tuple[str, dict[str, FieldRule]], merge: dict[str, str] | None = None) -> list[LayoutVersion]:
    key = shaped("id:u32")
    return [
        LayoutVersion(schema="t", map="m", version=n, key=key, value=shaped(text), value_rules=rules, merge=merge or {})
        for n, (text, rules) in enumerate(steps, 1)
    ]


def test_four_versions_are_one_pass_by_lineage() -> None:
    chain = versions(
        ("packets:u32 bytes:u32", {}),
        ("packets:u64 octets:u32", {"packets": WIDEN, "octets": FieldRule(rename="bytes")}),
        ("octets:u64 packets:u64 mark:u32", {"octets": WIDEN, "mark": FieldRule(default=b"\5\0\0\0")}),
        ("packets:u64 octets:u64 bytes:u64", {"mark": DROP, "bytes": ZERO8}),
        merge={"packets": "sum"},
    )
    found = compose(chain)
    assert found.value == (
        Rule(op=Op.SUM, src_off=0, dst_off=0, src_size=4, dst_size=8),
        Rule(op=Op.COPY, src_off=4, dst_off=8, src_size=4, dst_size=8),
    )
    assert found.lossy == ()
    assert [r.src_size for r in between(chain, 4, 1).value] == [8, 8]
    assert all(r.checked for r in between(chain, 4, 1).value)
    assert between(chain, 1, 4) == found
    assert between(chain, 3, 3).value[0].src_off == 0


def test_a_constant_is_carried_through_later_versions() -> None:
    chain = versions(
        ("a:u64", {}), ("a:u64 b:u16", {"b": FieldRule(default=b"\1\2")}), ("a:u64 b:u32", {"b": WIDEN}),
    )  # fmt: skip
    assert apply_rules(compose(chain), bytes(4), bytes(8))[1] == bytes(8) + b"\1\2" + bytes(6)


def test_a_dropped_field_is_lost_though_its_name_comes_back() -> None:
    chain = versions(("a:u64 b:u64", {}), ("a:u64", {"b": DROP}), ("a:u64 b:u64", {"b": ZERO8}))
    assert compose(chain).lossy == ("value.b (u64) is not in version 3",)
    assert "value.b (u64) is restored as zero" in invert(chain).lossy


def test_a_dropped_field_comes_back_as_said() -> None:
    rules = {"b": FieldRule(drop=True, was=b"\7" + bytes(7))}
    chain = versions(("a:u64 b:u64", {}), ("a:u64", rules), ("c:u64", {"c": FieldRule(rename="a")}))
    assert apply_rules(invert(chain), bytes(4), b"\1" * 8)[1] == b"\1" * 8 + b"\7" + bytes(7)


def test_an_unknown_version_between_is_refused() -> None:
    chain = versions(("a:u64", {}), ("a:u64", {}), ("a:u64", {}))
    with pytest.raises(StateRefused) as caught:
        between([chain[0], chain[2]], 1, 3)
    assert [fault.message.code for fault in caught.value.faults] == ["versions-unknown"]


def test_problems_of_a_chain_say_which_step() -> None:
    with pytest.raises(StateRefused) as caught:
        compose(versions(("a:u64", {}), ("b:u64", {}), ("c:u64", {})))
    assert [fault.step for fault in caught.value.faults] == [(1, 2)] * 2 + [(2, 3)] * 2
    assert str(caught.value.reasons[0]).startswith("version 1 → 2: value.b: ")


def test_of_a_map_of_maps_the_rules_are_those_of_the_maps_in_it() -> None:
    old, new = step("packets:u64 bytes:u64", "bytes:u64 packets:u64", merge={"": "sum"})
    nested = [replace(v, key=shaped("tenant:u32"), value=map_of("hash", v.key, v.value)) for v in (old, new)]
    assert compile_conversion(*nested) == compile_conversion(old, new)
    assert invert(nested) == invert((old, new))


@pytest.mark.parametrize("change", ["key", "type"])
def test_nothing_else_of_a_map_of_maps_changes(change: str) -> None:
    old, new = step("packets:u64", "packets:u64")
    first = replace(old, value=map_of("hash", old.key, old.value))
    kind, key = ("lru_hash", old.key) if change == "type" else ("hash", shaped("tenant:u64"))
    second = replace(new, key=key, value=map_of(kind, new.key, new.value))
    assert refused((first, second)) == [("key", "outer-changed")]


def test_regress_a_key_of_nothing_but_zeros_is_no_unchanged_key() -> None:
    """What no rule names becomes zero, and without any rule the kernel takes the old key's own bytes."""
    kept = {"a": DROP, "b": FieldRule(default=bytes(2))}
    keys: dict[str, Any] = {"key_old": "a:u8", "key_new": "b:u16", "key_rules": kept}
    made = compile_conversion(*step("n:u64", "n:u64", **keys, collide=True, merge={"n": "sum"}))
    assert made.key
    assert apply_rules(made, b"\x07", bytes(8))[0] == bytes(2)
