"""Rules for the counters that `keep:` names: they follow a config map's entries into another map, or stay in this one.

Used by plan/ and config_maps/write.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reloader.layouts.rules import Conversion, Op, Rule
from reloader.pipeline.wish import Kept, WishMap


def carry(old: Sequence[Kept], new: Sequence[Kept], wanted: WishMap, *, old_value_size: int = 0) -> Conversion:
    """Rules that move the counters both layouts have, by name."""
    there = {k.name: k for k in old}
    rules = [
        Rule(op=Op.SUM, src_off=was.offset, dst_off=k.offset, src_size=was.size, dst_size=k.size, imm=k.count - 1)
        for k in new
        if (was := there.get(k.name)) and was.count == k.count
    ]
    size = old_value_size or wanted.value_size
    return _conversion(tuple(rules), wanted, size, wanted.value_size)


def inverse(rules: Conversion) -> Conversion:
    """Back the same way."""
    turned = tuple(
        Rule(op=r.op, src_off=r.dst_off, dst_off=r.src_off, src_size=r.dst_size, dst_size=r.src_size, imm=r.imm)
        for r in rules.value
    )
    return Conversion(
        key=(), value=turned, old_key_size=rules.new_key_size, new_key_size=rules.old_key_size,
        old_value_size=rules.new_value_size, new_value_size=rules.old_value_size,
    )  # fmt: skip


def in_place(wanted: WishMap) -> Conversion:
    """Rules that write all of a value but its counters over a live one."""
    rules, at = list[Rule](), 0
    for start, end in [*((k.offset, k.offset + k.size * k.count) for k in wanted.keep), (wanted.value_size, 0)]:
        rules += _words(at, start)
        at = end
    return _conversion(tuple(rules), wanted, wanted.value_size, wanted.value_size)


def _words(at: int, end: int) -> Iterator[Rule]:
    """The bytes from `at` up to `end` in the largest aligned words."""
    while at < end:
        size = next(s for s in (8, 4, 2, 1) if at % s == 0 and at + s <= end)
        run = (end - at) // size if size == 8 else 1
        yield Rule(op=Op.KEEP_OLD, src_off=at, dst_off=at, src_size=size, dst_size=size, imm=run - 1)
        at += size * run


def _conversion(rules: tuple[Rule, ...], wanted: WishMap, old: int, new: int) -> Conversion:
    return Conversion(
        key=(), value=rules, old_key_size=wanted.key_size, new_key_size=wanted.key_size,
        old_value_size=old, new_value_size=new,
    )  # fmt: skip
