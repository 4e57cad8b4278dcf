"""Which version a layout is of: the layout says so, and a number only where two look alike."""

from __future__ import annotations

from dataclasses import replace

from reloader.layouts.rules import LayoutVersion
from reloader.plan.state.layout_history import edited, span
from reloader.structs.tree import Member, TypeTree

U32 = TypeTree(kind="int", name="u32", size=4)
U64 = TypeTree(kind="int", name="u64", size=8)


def value(*names: str) -> TypeTree:
    members = tuple(Member(name=n, offset_bits=64 * i, type=U64) for i, n in enumerate(names))
    return TypeTree(kind="struct", name="flow", size=8 * len(names), members=members)


def history(*layouts: str, schema: str = "edge") -> tuple[LayoutVersion, ...]:
    return tuple(
        LayoutVersion(schema=schema, map="flows", version=number, key=U32, value=value(*names.split()))
        for number, names in enumerate(layouts, 1)
    )


def test_regress_a_version_that_was_written_anew_is_not_the_one_it_was() -> None:
    """`rm -r state; reloader state new`, and the wish says version 1 as the record does."""
    number, differing = edited(history("packets state"), history("state packets"))
    assert number == 1
    assert differing == ("value.packets: offset 0 → 8 (u64)", "value.state: offset 8 → 0 (u64)")


def test_regress_two_branches_wrote_a_version_two_each() -> None:
    assert edited(history("a", "b a"), history("a", "a c"))[0] == 2
    assert edited(history("a", "b a"), history("a", "a c", "a c d"))[0] == 2
    assert edited(history("a", "b a"), history("a"))[0] == edited(history("a"), history("a", "b a"))[0] == 0


def test_regress_a_live_layout_is_found_by_what_it_is_not_by_its_number() -> None:
    was, now = (U32, value("packets", "state")), (U32, value("state", "packets"))
    found = span(was, history("packets state"), now, history("packets state", "state packets"))
    assert (found.old, found.new) == (1, 2)
    found = span(was, history("state packets"), now, history("state packets"))
    assert (found.old, found.new) == (0, 1)


def test_a_number_chooses_between_versions_that_look_alike() -> None:
    alike = history("a", "a", "a b", "a")
    a = (U32, value("a"))
    assert (span(a, alike[:1], a, alike[:2]).old, span(a, alike[:1], a, alike[:2]).new) == (1, 2)
    assert (span(a, alike, a, alike[:2]).old, span(a, alike, a, alike[:2]).new) == (4, 2)
    assert span((None, None), alike[:2], a, alike).old == 2


def test_numbers_of_two_schemas_are_not_compared() -> None:
    ours, theirs = history("a", "a b", "a b c"), history("a b c", "c b a", schema="other")
    assert edited(ours, theirs)[0] == 0
    found = span((U32, value("a", "b", "c")), ours, (U32, value("c", "b", "a")), theirs)
    assert (found.old, found.new, found.history) == (1, 2, theirs)


def test_rules_of_a_later_registry_are_what_counts() -> None:
    old, new = history("a", "b"), history("a", "b")
    mended = (new[0], replace(new[1], merge={"b": "sum"}))
    a, b = (U32, value("a")), (U32, value("b"))
    assert span(a, old, b, mended).history[1].merge == {"b": "sum"}
