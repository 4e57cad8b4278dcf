"""Configuration on the kernel: entries into the live map, whole new maps beside it, and the store that flips to them.

Called by apply.py's match; the counters of `keep:` go by migrate.py. Imports plan.{ops,entries,flips}, kernel.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reloader.errors import KernelError
from reloader.kernel import ARRAY_TYPES, Fd, Kernel, MapType
from reloader.plan import ops
from reloader.plan.entries import EntryDiff, entry_diff, live_entries, split_records, way_back
from reloader.plan.flips import in_place
from reloader.spec.wish import WishMap

if TYPE_CHECKING:
    from reloader.txn.apply import Bench


def set_entries(bench: Bench, op: ops.SetEntries) -> None:
    """Write the difference into the live map."""
    assert bench.wish is not None
    maps, wanted = bench.kernel.maps, bench.wish.map(op.map)
    with bench.kernel.pins.get(op.path) as fd:
        planned = None if op.back else bench.diffs.get((op.map, op.entries))
        diff = _fresh_diff(bench, op, fd) if planned is None else planned
        if diff.tight and diff.delete:
            maps.delete_many(fd, diff.delete)
        if diff.put:
            _put(bench.kernel, fd, wanted, diff.put)
        if diff.delete and not diff.tight:
            maps.delete_many(fd, diff.delete)


def _fresh_diff(bench: Bench, op: ops.SetEntries, fd: Fd) -> EntryDiff:
    """On the way back: nobody knows how much was written."""
    assert bench.wish is not None
    wanted = bench.wish.map(op.map)
    target = split_records(bench.blob("entries", op.entries), wanted.key_size, wanted.value_size)
    if op.back:
        written = split_records(bench.blob("entries", op.before), wanted.key_size, wanted.value_size)
        return way_back(wanted, target, written, live=bench.kernel.maps.count(fd))
    return entry_diff(wanted, bench.kernel.maps.items(fd), target, prune=op.prune)


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
    from reloader.txn import migrate

    shape = replace(kernel.maps.info(fd), type=MapType.HASH, map_flags=0, btf_id=0, max_entries=len(entries))
    with kernel.maps.create(shape) as staged:
        kernel.maps.update_many(staged, list(entries), list(entries.values()))
        migrate.carry(kernel, staged, fd, in_place(wanted), b"".join(entries))


def make_inner(bench: Bench, op: ops.CreateSpareMap) -> None:
    """A map that nobody sees, with exactly these entries; it lives by its pin from here on."""
    assert bench.wish is not None
    wanted, maps = bench.wish.map(op.map), bench.kernel.maps
    entries = split_records(bench.blob("entries", op.entries), wanted.key_size, wanted.value_size)
    with bench.kernel.pins.get(op.like) as live:
        shape = maps.info(live)
    with maps.create(shape) as fresh:
        if entries:
            maps.update_many(fresh, list(entries), list(entries.values()))
        held = live_entries(wanted.type, wanted.value_size, maps.items(fresh))
        if held != live_entries(wanted.type, wanted.value_size, entries):
            raise KernelError("map check", errno.EIO, f"{op.map}: it does not hold what was written to it")
        bench.kernel.pins.mkdir(os.path.dirname(op.path))
        bench.kernel.pins.pin(fresh, op.path)


def put_slot(bench: Bench, op: ops.PutSlot) -> None:
    """Into a slot that no packet looks at; the kernel waits there for a grace period, so not twice for the same."""
    kernel, slot = bench.kernel, op.side.to_bytes(4, sys.byteorder)
    with kernel.pins.get(op.path) as slots, kernel.pins.get(op.inner) as inner:
        there = kernel.maps.lookup(slots, slot)
        if there is None or int.from_bytes(there, sys.byteorder) != kernel.maps.info(inner).id:
            kernel.maps.update_many(slots, [slot], [inner.fileno().to_bytes(4, sys.byteorder)])


def flip_side(bench: Bench, op: ops.FlipSide) -> None:
    """One byte changes. Then wait for those that looked at the other side: their slots are written to next."""
    with bench.kernel.pins.get(op.path) as fd:
        bench.kernel.maps.update_many(fd, [bytes(4)], [op.side.to_bytes(4, sys.byteorder)])
    bench.kernel.barrier()


def carry(bench: Bench, op: ops.CheckFit | ops.Drain, source: Fd, target: Fd) -> int:
    """Move the counters of entries that both maps hold, once nobody counts in `source`; how many did not fit."""
    from reloader.txn import migrate

    kernel = bench.kernel
    if isinstance(op, ops.CheckFit):
        migrate.check_carry(kernel, source, target, op.rules)
        return 0
    kernel.barrier()
    listed = list(kernel.maps.items(target)) if kernel.maps.info(target).type in ARRAY_TYPES else []
    both = set(_keys(kernel, source, listed)) & set(_keys(kernel, target, listed))
    return migrate.carry(kernel, source, target, op.rules, b"".join(both), lossy=op.lossy).left_out
