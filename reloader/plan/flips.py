"""Configuration by a new map: the ops around one store that makes packets look at it, and the counters it takes along.

Maps with RELOADER_CONFIG have two sides each and share the word that says which one packets look at. The new map is
filled, checked and put on the other side before the flip; maps that do not change get theirs put there too.

Used by draft.py; imports plan.ops and state.rules. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reloader.frozen import frozen
from reloader.layout import Layout
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.spec.wish import Kept, WishMap
from reloader.spec.words import SIDE, SLOTS
from reloader.state.rules import Conversion, Rule
from reloader.state.rules import Op as How


@frozen
class Place:
    """Where the pins of one load's config maps are."""

    layout: Layout
    pipeline: str
    load: int

    def engine_map(self, name: str) -> str:
        """One of our headers' maps."""
        return self.layout.map_pin(self.pipeline, self.load, name)

    def side(self) -> str:
        return self.engine_map(SIDE)

    def slots(self, name: str) -> str:
        return self.engine_map(SLOTS + name)

    def pins(self, maps: Sequence[WishMap]) -> list[Op]:
        """What has to be pinned beside the maps of a new load."""
        names = [m.name for m in maps if m.flips]
        pins: list[Op] = [ops.PinMap(map=SLOTS + n, path=self.slots(n)) for n in names]
        return [*pins, ops.PinMap(map=SIDE, path=self.side())] if names else []

    def shared(self, maps: Sequence[WishMap]) -> dict[str, str]:
        """The same as map name → pin: what a second build of the programs looks at, too."""
        return {op.map: op.path for op in self.pins(maps) if isinstance(op, ops.PinMap)}


@frozen
class Flip:
    """One map that is exchanged: its live pin and its new one."""

    wanted: WishMap
    live: str
    path: str


def before_commit(
    place: Place, side: int, flips: Sequence[Flip], same: dict[str, str], checks: Sequence[Op] = ()
) -> list[Op]:
    """`side`: the one packets look at now. `same`: config maps that stay as they are → pin. `checks` come last before
    packets see the new maps."""
    made: list[Op] = [
        ops.CreateSpareMap(map=f.wanted.name, like=f.live, path=f.path, entries=f.wanted.entries.digest)
        for f in flips
        if f.wanted.entries
    ]
    put: list[Op] = [
        ops.PutSlot(map=name, path=place.slots(name), side=1 - side, inner=pin, before=pin)
        for name, pin in same.items()
    ]
    put += [_put(place, f, 1 - side, before=f.live) for f in flips]
    carried = [
        Carried(map=f.wanted.name, source=f.live, target=f.path, rules=carry(f.wanted.keep, f.wanted.keep, f.wanted))
        for f in flips
        if f.wanted.keep
    ]
    flip = ops.FlipSide(path=place.side(), side=1 - side)
    return [*made, *put, *checks, *marks(carried), flip, *drains(carried)]


def _put(place: Place, flip: Flip, side: int, *, before: str) -> Op:
    name = flip.wanted.name
    return ops.PutSlot(map=name, path=place.slots(name), side=side, inner=flip.path, before=before)


def after_commit(
    place: Place, side: int, flips: Sequence[Flip], pub: dict[str, str], carried: Mapping[str, Sequence[Op]], group: int
) -> Iterator[Op]:
    """Nobody looks at the old maps any more: both sides get the new one, stale writers are stopped, pins go.
    `carried`: map → what brings over the entries that others wrote last."""
    for f in flips:
        yield ops.Publish(source=f.path, path=pub[f.wanted.name], group=group)
        yield _put(place, f, side, before=f.path)
        yield ops.Freeze(path=f.live)
        yield from carried[f.wanted.name]
        yield ops.Unpin(path=f.live)


# counters


@frozen
class Carried:
    """A config map whose counters follow it into another map."""

    map: str
    source: str
    target: str
    rules: Conversion


def marks(carried: Sequence[Carried]) -> list[Op]:
    """Before packets see the new map: whether the kernel takes the program, and from here on a way back is owed."""
    out: list[Op] = []
    for c in carried:
        out.append(ops.CheckFit(map=c.map, source=c.source, target=c.target, rules=c.rules, kept=True))
        back = inverse(c.rules)
        out.append(ops.OweDrainBack(map=c.map, source=c.source, target=c.target, back=back, kept=True))
    return out


def drains(carried: Sequence[Carried]) -> list[Op]:
    """Once nobody counts in the old map any more."""
    return [ops.Drain(map=c.map, source=c.source, target=c.target, rules=c.rules, kept=True) for c in carried]


def carry(old: Sequence[Kept], new: Sequence[Kept], wanted: WishMap, *, old_value_size: int = 0) -> Conversion:
    """Rules that move the counters both layouts have, by name."""
    there = {k.name: k for k in old}
    rules = [
        Rule(op=How.SUM, src_off=was.offset, dst_off=k.offset, src_size=was.size, dst_size=k.size, imm=k.count - 1)
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
        yield Rule(op=How.KEEP_OLD, src_off=at, dst_off=at, src_size=size, dst_size=size, imm=run - 1)
        at += size * run


def _conversion(rules: tuple[Rule, ...], wanted: WishMap, old: int, new: int) -> Conversion:
    return Conversion(
        key=(), value=rules, old_key_size=wanted.key_size, new_key_size=wanted.key_size,
        old_value_size=old, new_value_size=new,
    )  # fmt: skip
