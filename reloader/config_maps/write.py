"""Configuration on the kernel: entries into the live map, whole new maps beside it, and the store that flips to them.

Takes values, and knows neither plan nor transaction. The counters of `keep:` go by convert/migrate.py. Called by
engine/config_ops.py.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reloader.config_maps import texts
from reloader.config_maps.entry_changes import EntryDiff, entry_diff, live_entries, way_back
from reloader.config_maps.keep import in_place
from reloader.errors import StepFailed
from reloader.kernel import ARRAY_TYPES, Fd, Kernel, MapType
from reloader.layouts.rules import Conversion
from reloader.pipeline.wish import WishMap


def write_diff(kernel: Kernel, path: str, wanted: WishMap, diff: EntryDiff) -> None:
    """Write a difference that is known into the map pinned at `path`."""
    with kernel.pins.get(path) as fd:
        _write(kernel, fd, wanted, diff)


def set_entries(kernel: Kernel, path: str, wanted: WishMap, target: dict[bytes, bytes], *, prune: bool) -> None:
    """Make the live map hold `target`, exactly (`prune`) or at least, by the difference."""
    with kernel.pins.get(path) as fd:
        _write(kernel, fd, wanted, entry_diff(wanted, kernel.maps.items(fd), target, prune=prune))


def take_back(
    kernel: Kernel, path: str, wanted: WishMap, before: dict[bytes, bytes], written: dict[bytes, bytes]
) -> None:
    """Take back the writing of `written` over `before`, of which nobody knows how much was done."""
    with kernel.pins.get(path) as fd:
        _write(kernel, fd, wanted, way_back(wanted, before, written, live=kernel.maps.count(fd)))


def _write(kernel: Kernel, fd: Fd, wanted: WishMap, diff: EntryDiff) -> None:
    if diff.tight and diff.delete:
        kernel.maps.delete_many(fd, diff.delete)
    if diff.put:
        _put(kernel, fd, wanted, diff.put)
    if diff.delete and not diff.tight:
        kernel.maps.delete_many(fd, diff.delete)


def _put(kernel: Kernel, fd: Fd, wanted: WishMap, put: Mapping[bytes, bytes]) -> None:
    """New entries as they are; of those that are there, all but the counters that programs write."""
    if not wanted.keep:
        kernel.maps.update_many(fd, list(put), list(put.values()))
        return
    live = set(_keys(kernel, fd, put))
    whole = {k: v for k, v in put.items() if k not in live or (wanted.type in ARRAY_TYPES and not any(v))}
    if whole:
        kernel.maps.update_many(fd, list(whole), list(whole.values()))
    if len(whole) < len(put):
        _overwrite(kernel, fd, wanted, {k: v for k, v in put.items() if k not in whole})


def _keys(kernel: Kernel, fd: Fd, candidates: Iterable[bytes]) -> Iterable[bytes]:
    """The live keys; of an array, the candidates, for all of them are there."""
    info = kernel.maps.info(fd)
    if info.type in ARRAY_TYPES:
        return candidates
    size = info.key_size
    listed = kernel.maps.keys(fd, 1 << 16)
    return (part[at : at + size] for part in listed for at in range(0, len(part), size))


def _overwrite(kernel: Kernel, fd: Fd, wanted: WishMap, entries: Mapping[bytes, bytes]) -> None:
    """In the kernel, word by word: a program that counts meanwhile loses nothing."""
    from reloader.convert import migrate

    shape = replace(kernel.maps.info(fd), type=MapType.HASH, map_flags=0, btf_id=0, max_entries=len(entries))
    with kernel.maps.create(shape) as staged:
        kernel.maps.update_many(staged, list(entries), list(entries.values()))
        migrate.carry(kernel, staged, fd, in_place(wanted), b"".join(entries))


def make_inner(kernel: Kernel, wanted: WishMap, entries: dict[bytes, bytes], *, like: str, path: str) -> None:
    """A map that nobody sees, with exactly these entries; it lives by its pin at `path` from here on. `like`: pin of
    the live one."""
    maps = kernel.maps
    with kernel.pins.get(like) as live:
        shape = maps.info(live)
    with maps.create(shape) as fresh:
        if entries:
            maps.update_many(fresh, list(entries), list(entries.values()))
        held = live_entries(wanted.type, wanted.value_size, maps.items(fresh))
        if held != live_entries(wanted.type, wanted.value_size, entries):
            raise StepFailed("map check", errno.EIO, texts.ENTRIES_NOT_HELD(map=wanted.name))
        kernel.pins.mkdir(os.path.dirname(path))
        kernel.pins.pin(fresh, path)


def put_slot(kernel: Kernel, path: str, side: int, inner_pin: str) -> None:
    """Into a slot that no packet looks at; the kernel waits there for a grace period, so not twice for the same."""
    slot = side.to_bytes(4, sys.byteorder)
    with kernel.pins.get(path) as slots, kernel.pins.get(inner_pin) as inner:
        there = kernel.maps.lookup(slots, slot)
        if there is None or int.from_bytes(there, sys.byteorder) != kernel.maps.info(inner).id:
            kernel.maps.update_many(slots, [slot], [inner.fileno().to_bytes(4, sys.byteorder)])


def flip_side(kernel: Kernel, path: str, side: int) -> None:
    """One byte changes. Then wait for those that looked at the other side: their slots are written to next."""
    with kernel.pins.get(path) as fd:
        kernel.maps.update_many(fd, [bytes(4)], [side.to_bytes(4, sys.byteorder)])
    kernel.barrier()


def carry(kernel: Kernel, source: Fd, target: Fd, rules: Conversion, *, lossy: bool) -> int:
    """Move the counters of entries that both maps hold, once nobody counts in `source`; how many did not fit."""
    from reloader.convert import migrate

    kernel.barrier()
    listed = list(kernel.maps.items(target)) if kernel.maps.info(target).type in ARRAY_TYPES else []
    both = set(_keys(kernel, source, listed)) & set(_keys(kernel, target, listed))
    return migrate.carry(kernel, source, target, rules, b"".join(both), lossy=lossy).left_out
