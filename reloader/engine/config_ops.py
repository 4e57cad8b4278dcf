"""Ops on config maps: what each writes, taken from the wish and the stored entries. config_maps/write.py does the
writing.

Called by engine/execute.py's match.
"""

from __future__ import annotations

from reloader.config_maps import write
from reloader.config_maps.entry_changes import split_records
from reloader.engine.workspace import Workspace
from reloader.kernel import Fd
from reloader.pipeline.wish import WishMap
from reloader.plan import ops


def set_entries(bench: Workspace, op: ops.SetEntries) -> None:
    """Write the difference into the live map: as planned, otherwise as it is found now."""
    wanted = _wanted(bench, op.map)
    planned = None if op.back else bench.diffs.get((op.map, op.entries))
    if planned is not None:
        write.write_diff(bench.kernel, op.path, wanted, planned)
        return
    target = _stored(bench, wanted, op.entries)
    if op.back:
        write.take_back(bench.kernel, op.path, wanted, target, _stored(bench, wanted, op.before))
    else:
        write.set_entries(bench.kernel, op.path, wanted, target, prune=op.prune)


def make_inner(bench: Workspace, op: ops.CreateSpareMap) -> None:
    """A new map beside the live one, with the entries of a stored file."""
    wanted = _wanted(bench, op.map)
    write.make_inner(bench.kernel, wanted, _stored(bench, wanted, op.entries), like=op.like, path=op.path)


def put_slot(bench: Workspace, op: ops.PutSlot) -> None:
    write.put_slot(bench.kernel, op.path, op.side, op.inner)


def flip_side(bench: Workspace, op: ops.FlipSide) -> None:
    write.flip_side(bench.kernel, op.path, op.side)


def carry(bench: Workspace, op: ops.CheckFit | ops.Drain, source: Fd, target: Fd) -> int:
    """Move the counters of entries that both maps hold, or look whether that can be done; how many did not fit."""
    if isinstance(op, ops.Drain):
        return write.carry(bench.kernel, source, target, op.rules, lossy=op.lossy)
    from reloader.convert import migrate

    migrate.check_carry(bench.kernel, source, target, op.rules)
    return 0


def _wanted(bench: Workspace, name: str) -> WishMap:
    assert bench.wish is not None
    return bench.wish.map(name)


def _stored(bench: Workspace, wanted: WishMap, digest: str) -> dict[bytes, bytes]:
    return split_records(bench.blob("entries", digest), wanted.key_size, wanted.value_size)
