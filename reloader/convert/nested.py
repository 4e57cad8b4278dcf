"""State in maps of maps: the maps in it move to another layout one by one, and a new outer map holds the new ones.

Inner maps that the object itself declares are not among them: they have pins and outcomes of their own, and a load
puts their successors into the new outer map. Programs only look outer maps up, so there is no bridge: inner maps are
made and copied ahead, put into the new outer map in batches, and after the swap each old one is drained into its
successor. Until the commit nobody but this side writes to the new outer map; what user space puts into the old one, or
takes out of it, meanwhile is followed.
Called by engine/execute.py for ops on maps of maps.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from reloader.convert import migrate, texts, tries
from reloader.errors import StepFailed
from reloader.kernel import Fd, Kernel, MapInfo, MapType
from reloader.layouts.nesting import Nesting
from reloader.layouts.rules import Conversion

ENTRIES = 256  # of the outer map in one batch, as many descriptors are open at once


@dataclass(slots=True, kw_only=True)
class Succession:
    """Which inner map came of which, by kernel ids; what a transaction knows and a later one does not."""

    of: dict[int, int] = field(default_factory=dict)  # old inner map -> new one
    slots: set[bytes] = field(default_factory=set)  # of the outer map, filled by us


@dataclass(slots=True, kw_only=True)
class Outer:
    """The two outer maps, the rules for what they hold, and what new inner maps look like."""

    kernel: Kernel
    source: Fd
    target: Fd
    rules: Conversion
    nesting: Nesting
    lossy: bool = False  # as for ops.Drain

    def check(self) -> None:
        """Whether all values fit, and the kernel takes the program that moves them; changes nothing."""
        olds = list(dict.fromkeys(self._held().values()))
        with ExitStack() as stack:
            trial = None
            for old in olds if migrate.selective(self.rules) and not self.lossy else olds[:1]:
                with self.kernel.maps.by_id(old) as fd:
                    trial = trial or stack.enter_context(self._made(fd))
                    migrate.check(self.kernel, fd, trial, self.rules, lossy=self.lossy)
                    tries.check(self.kernel, fd, trial, self.rules)

    def copy_over(self, known: Succession) -> None:
        """A successor for every inner map, with its entries, counters at zero; each where its predecessor is."""
        held = list(self._held().items())
        self._require_own()
        for at in range(0, len(held), ENTRIES):
            self._succeed(held[at : at + ENTRIES], known)

    def drain(self, known: Succession, *, late: bool) -> int:
        """Move what the old inner maps hold into their successors; how many were left out. See migrate.drain."""
        left_out = 0
        held, there = self._held(), slots(self.kernel, self.target)
        self._follow(held, there, known, late=late)
        there = slots(self.kernel, self.target)
        for old, new in dict.fromkeys((old, there.get(key, 0)) for key, old in held.items()):
            if new and new not in self.nesting.own:
                with self.kernel.maps.by_id(old) as source, self.kernel.maps.by_id(new) as target:
                    moved = migrate.drain(self.kernel, source, target, self.rules, late=late, lossy=self.lossy)
                    left_out += moved.left_out
        return left_out

    def _follow(self, held: dict[bytes, int], there: dict[bytes, int], known: Succession, *, late: bool) -> None:
        """What user space changed in the old outer map since the copy. `late`: the new one has writers of its own."""
        gone = known.slots - held.keys() if not late else set()
        if gone:
            self.kernel.maps.delete_many(self.target, sorted(gone & there.keys()))
            known.slots -= gone
        fresh = {k: old for k, old in held.items() if not _succeeded(old, there.get(k, 0), known, late=late)}
        todo = list(fresh.items()) if self.nesting.inner is not None else []
        for at in range(0, len(todo), ENTRIES):
            self._succeed(todo[at : at + ENTRIES], known)

    def _succeed(self, held: Iterable[tuple[bytes, int]], known: Succession) -> None:
        """Put successors of these inner maps into the new outer map; those that are not there yet are made."""
        with ExitStack() as stack:
            fds: dict[int, Fd] = {}
            for _, old in held:
                if old not in fds:
                    fds[old] = stack.enter_context(self._successor(old, known))
            keys = [key for key, _ in held]
            numbers = [fds[old].fileno().to_bytes(4, "little") for _, old in held]
            self.kernel.maps.update_many(self.target, keys, numbers)
            known.slots |= set(keys)

    @contextmanager
    def _successor(self, old: int, known: Succession) -> Iterator[Fd]:
        if old in known.of:
            with self.kernel.maps.by_id(known.of[old]) as fd:
                yield fd
            return
        with self.kernel.maps.by_id(old) as source, self._made(source) as target:
            migrate.copy_over(self.kernel, source, target, self.rules, lossy=self.lossy)
            known.of[old] = self.kernel.maps.info(target).id
            yield target

    def _made(self, source: Fd) -> Fd:
        live, inner = self.kernel.maps.info(source), self.nesting.inner
        assert inner is not None
        room = inner.room(live.max_entries, self.nesting.template)
        shape = MapInfo(
            id=0, type=inner.type, name=live.name, key_size=inner.key_size, value_size=inner.value_size,
            max_entries=room, map_flags=inner.map_flags,
        )  # fmt: skip
        return self.kernel.maps.create(shape)

    def _held(self) -> dict[bytes, int]:
        """What is to have a successor: not the maps of the pipeline itself, which have one by their own op."""
        filled = slots(self.kernel, self.source).items()
        return {key: inner for key, inner in filled if inner not in self.nesting.own}

    def _require_own(self) -> None:
        """Where the old outer map holds a map of the pipeline itself, its successor must be in the new one already."""
        there = slots(self.kernel, self.target)
        for key, inner in slots(self.kernel, self.source).items():
            if inner in self.nesting.own and key not in there:
                name = self.kernel.maps.info(self.target).name
                raise StepFailed("convert", errno.EINVAL, texts.INNER_MAP_NOT_PUT(map=name, key=key.hex()))


def _succeeded(old: int, new: int, known: Succession, *, late: bool) -> bool:
    """Whether an inner map's successor is where it belongs; by the slot alone where nothing else is known."""
    if old in known.of:
        return late or known.of[old] == new
    return bool(new) and not known.of


def slots(kernel: Kernel, outer: Fd) -> dict[bytes, int]:
    """Key → id of the inner map there."""
    info = kernel.maps.info(outer)
    if info.type == MapType.HASH_OF_MAPS:
        return {key: int.from_bytes(value, "little") for key, value in kernel.maps.items(outer).items()}
    keys = (slot.to_bytes(4, "little") for slot in range(info.max_entries))  # batches stop at an empty slot
    found = ((key, kernel.maps.lookup(outer, key)) for key in keys)
    return {key: int.from_bytes(value, "little") for key, value in found if value is not None}


def inner_maps(kernel: Kernel, outer: Fd, own: Collection[int] = ()) -> Iterator[Fd]:
    """A descriptor of each map in it, one after the other, but of those in `own`."""
    for inner in dict.fromkeys(i for i in slots(kernel, outer).values() if i not in own):
        with kernel.maps.by_id(inner) as fd:
            yield fd
