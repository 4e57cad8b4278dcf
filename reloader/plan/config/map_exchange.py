"""Configuration by a new map: the ops around one store that makes packets look at it, and the counters it takes along.

Maps with RELOADER_CONFIG have two sides each and share the word that says which one packets look at. The new map is
filled, checked and put on the other side before the flip; maps that do not change get theirs put there too.

Used by plan/builder.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reloader.config_maps.keep import carry, inverse
from reloader.frozen import frozen
from reloader.layouts.rules import Conversion
from reloader.paths import Paths
from reloader.pipeline.enums import SIDE, SLOTS
from reloader.pipeline.wish import WishMap
from reloader.plan import ops
from reloader.plan.ops import Op


@frozen
class LoadPaths:
    """Where the pins of one load's config maps are."""

    paths: Paths
    pipeline: str
    load: int

    def engine_map(self, name: str) -> str:
        """One of our headers' maps."""
        return self.paths.map_pin(self.pipeline, self.load, name)

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
    place: LoadPaths, side: int, flips: Sequence[Flip], same: dict[str, str], checks: Sequence[Op] = ()
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


def _put(place: LoadPaths, flip: Flip, side: int, *, before: str) -> Op:
    name = flip.wanted.name
    return ops.PutSlot(map=name, path=place.slots(name), side=side, inner=flip.path, before=before)


def after_commit(
    place: LoadPaths,
    side: int,
    flips: Sequence[Flip],
    pub: dict[str, str],
    carried: Mapping[str, Sequence[Op]],
    group: int,
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
