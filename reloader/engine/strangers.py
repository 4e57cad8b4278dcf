"""Entries that reloader did not write: found in the live maps before a plan, looked for again before a swap, carried
over after the commit.

Called by lifecycle/planning.py and by engine/execute.py's match. Reads maps and stored blobs.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain, filterfalse

from reloader.config_maps.entry_changes import (
    EntryDiff,
    digest_of,
    entry_diff,
    live_entries,
    owned,
    split_records,
    uneven,
)
from reloader.engine import texts
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError, NeedsHuman, RefusedChange
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, Fd, Kernel
from reloader.kernel.host import Host
from reloader.observe.handles import handles
from reloader.observe.pipeline import Observed, SeenMap, opened, serving_map
from reloader.paths import Paths
from reloader.pipeline.enums import Role
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan import ops
from reloader.plan.config import foreign
from reloader.plan.config.foreign import Foreign, held, same_keys
from reloader.plan.planner import foreign_values
from reloader.plan.state.compat import map_differences, seen_shape, wished_shape
from reloader.store import records
from reloader.store.records import Generation

PIECE = 1 << 16  # keys that are read at once


Listings = Mapping[str, dict[bytes, bytes]]
"""Wished config map → its listed entries."""


@frozen
class Entries:
    """What live config maps hold, against what the wish lists. By map."""

    diffs: dict[str, EntryDiff]  # what they lack; a way back leaves alone what it can keep of others
    foreign: dict[str, Foreign]  # what they hold that reloader did not write
    overwritten: dict[str, Foreign]  # what a change gives another value, although another process wrote it


def look(host: Host, intake: ApplyRequest, seen: Observed) -> Entries:
    """Return what the config maps of the live load hold. Reads the maps and stored listings."""
    listings = _listings(host.paths, intake, seen)
    found = dict[str, Foreign]()
    for was, live in _serving(host.kernel, seen):
        if was.role is Role.CONFIG:
            found |= _entries(host, intake, was, live, listings, seen.cpus)
    diffs = _diffs(intake.wish, seen, listings, found)
    return Entries(diffs=diffs, foreign=found, overwritten=_overwritten(host, seen, diffs, found))


def _diffs(wish: Wish, seen: Observed, listings: Listings, found: Mapping[str, Foreign]) -> dict[str, EntryDiff]:
    diffs = {}
    for name, target in listings.items():
        live, one = seen.maps.get(name), wish.map(name)
        if live is None or live.entries is None:
            continue
        if (live.info.key_size, live.info.value_size) != (one.key_size, one.value_size):
            continue
        spare = frozenset(found[name].spare) if name in found else ()
        diffs[name] = entry_diff(one, live.entries, target, spare=spare)
    return diffs


def in_load(host: Host, intake: ApplyRequest, seen: Observed) -> dict[str, Foreign]:
    """Return the same of maps that only a new load touches: of handles, and what programs cannot write."""
    generation, found = seen.generation, dict[str, Foreign]()
    for was, live in _serving(host.kernel, seen):
        if generation is not None and foreign.holds_handles(was):
            found |= _handles(host, generation, was, live)
        elif was.role is not Role.CONFIG:
            found |= _entries(host, intake, was, live, {}, seen.cpus)
    return found


def _serving(kernel: Kernel, seen: Observed) -> Iterator[tuple[WishMap, SeenMap]]:
    """The maps of the serving load that matter here, as recorded and as they are."""
    generation = seen.generation
    if generation is None or seen.rebooted:
        return
    for name in generation.maps:
        was = generation.wish.map(name)
        live = _of_load(kernel, seen, generation, name) if foreign.is_watched(was) else None
        if live is not None:
            yield was, live


def _of_load(kernel: Kernel, seen: Observed, generation: Generation, name: str) -> SeenMap | None:
    """The map of the serving load; a plan may look at another one of that name: an external one, or parked state."""
    live = seen.maps.get(name)
    same = live is not None and live.pin == generation.maps[name].pin
    return live if same else serving_map(kernel, generation, name)


# entries of config maps


def _entries(
    host: Host, intake: ApplyRequest, was: WishMap, live: SeenMap, listings: Listings, cpus: int
) -> dict[str, Foreign]:
    wanted = next((m for m in intake.wish.maps if m.name == was.name), None)
    listing = wanted if wanted and wanted.name in listings and same_keys(live, wanted) else None
    target = listings[was.name] if listing else {}
    keys = _others(held(_meant(was, live, wanted), _contents(host.kernel, live)), target)
    keys = _others(keys, _recorded(host.paths, was, live)) if keys else keys
    if not keys:
        return {}
    spare: tuple[bytes, ...] = ()
    stays = listing and listing.prune and not listing.may_prune and intake.way_back
    if listing and stays and not map_differences(seen_shape(live), wished_shape(listing), cpus=cpus):
        spare = foreign.room_for(listing, keys, len(target))
    shown = foreign.shown_keys(live.key, keys, was.orders("key"))
    return {was.name: Foreign(map=was.name, count=len(keys), shown=shown, keys=keys, spare=spare)}


def _overwritten(
    host: Host, seen: Observed, diffs: Mapping[str, EntryDiff], found: Mapping[str, Foreign]
) -> dict[str, Foreign]:
    """Config map → entries that a change gives another value, although another process wrote the one they have.

    `found`: entries that the wish does not list, which are judged by themselves.
    """
    told = dict[str, Foreign]()
    for was, live in _serving(host.kernel, seen):
        diff = diffs.get(was.name)
        if diff is None or live is not seen.maps.get(was.name) or was.value_size != live.info.value_size:
            continue
        apart = frozenset(found[was.name].keys) if was.name in found else ()
        held = live.entries or {}
        changed = {k: held[k] for k in (*diff.put, *diff.delete) if k in held and k not in apart}
        keys = _not_as_written(host.paths, was, changed)
        if keys:
            shown = foreign.shown_keys(live.key, keys, was.orders("key"))
            told[was.name] = Foreign(map=was.name, count=len(keys), shown=shown, keys=keys)
    return told


def _not_as_written(paths: Paths, was: WishMap, changed: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """Keys of live entries whose value is not the recorded one. A listing that cannot be read any more explains
    nothing, so none of them is known to be another's."""
    uneven_keys = uneven(was.type, was.value_size, changed)
    now = live_entries(was.type, was.value_size, dict(owned(was.keep, changed)))
    if not now or was.entries is None:
        return tuple(sorted(now))
    try:
        data = records.read_blob(paths, "entries", was.entries.digest)
    except (OSError, NeedsHuman):
        return ()
    for key, value in struct.iter_unpack(f"{was.key_size}s{was.value_size}s", data):
        if now.get(key) == value and key not in uneven_keys:
            del now[key]
    return tuple(sorted(now))


def _listings(paths: Paths, intake: ApplyRequest, seen: Observed) -> dict[str, dict[bytes, bytes]]:
    """What the wish lists for maps that are there: as it was read with the wish, otherwise the stored copy."""
    found = {}
    for wanted in intake.wish.maps:
        if wanted.entries is not None and wanted.name in seen.maps:
            data = intake.blobs.get(wanted.entries.digest)  # an emptied listing is b"", and not stored yet
            data = records.read_blob(paths, "entries", wanted.entries.digest) if data is None else data
            found[wanted.name] = listed(data, wanted)
    return found


def listed(data: bytes, wanted: WishMap) -> dict[bytes, bytes]:
    return split_records(data, wanted.key_size, wanted.value_size)


def _others(keys: Collection[bytes], ours: Collection[bytes]) -> tuple[bytes, ...]:
    return () if all(map(ours.__contains__, keys)) else tuple(k for k in keys if k not in ours)


def _meant(was: WishMap, live: SeenMap, wanted: WishMap | None) -> WishMap:
    """The recorded map with the counters that either version keeps; none where their places are another layout's."""
    if wanted and wanted.value_size == live.info.value_size and wanted.keep:
        return replace(was, keep=wanted.keep)
    return was if was.value_size == live.info.value_size else replace(was, keep=())


def _contents(kernel: Kernel, live: SeenMap) -> dict[bytes, bytes]:
    if live.entries is not None:
        return live.entries
    with opened(kernel, live) as fd:
        return kernel.maps.items(fd)


def _recorded(paths: Paths, was: WishMap, live: SeenMap) -> Collection[bytes]:
    """What reloader wrote to the map, by key. A listing that cannot be read any more explains nothing."""
    if was.entries is None or (live.info.key_size, live.info.value_size) != (was.key_size, was.value_size):
        return ()
    with suppress(OSError, NeedsHuman):
        return listed(records.read_blob(paths, "entries", was.entries.digest), was)
    return ()


# handles


def _handles(host: Host, generation: Generation, was: WishMap, live: SeenMap) -> dict[str, Foreign]:
    rows = [row for row, ours in handles(host, generation, was, live) if not ours]
    shown = tuple(rows[: foreign.NAMED])
    return {was.name: Foreign(map=was.name, count=len(rows), shown=shown, handles=True)} if rows else {}


# once more


def check(bench: Workspace, op: ops.CheckEntries) -> None:
    """RefusedChange when the map holds what reloader did not put there, and the plan did not see."""
    seen = bench.seen
    generation = seen.generation if seen else None
    live = _of_load(bench.kernel, seen, generation, op.map) if seen and generation else None
    if generation is None or live is None:
        return
    was = generation.wish.map(op.map)
    if foreign.holds_handles(was):
        found = _handles(bench.host, generation, was, live).get(op.map)
    else:
        found = _newcomers(bench, op, was, live)
    if found is not None:
        raise RefusedChange(
            foreign.refusal(found),
            hint=texts.WRITTEN_NOW(),
            values=foreign_values([found]),
        )


def _newcomers(bench: Workspace, op: ops.CheckEntries, was: WishMap, live: SeenMap) -> Foreign | None:
    assert bench.wish is not None
    wanted = next((m for m in bench.wish.maps if m.name == op.map), None)
    with opened(bench.kernel, live) as fd:
        keys = _unknown(bench, fd, _meant(was, live, wanted), op, wanted, live)
    if not keys:
        return None
    shown = foreign.shown_keys(live.key, keys, was.orders("key"))
    return Foreign(map=op.map, count=len(keys), shown=shown, keys=keys)


def _unknown(
    bench: Workspace,
    fd: Fd,
    was: WishMap,
    op: ops.CheckEntries | ops.CarryEntries,
    wanted: WishMap | None,
    live: SeenMap | None,
) -> tuple[bytes, ...]:
    """Keys of a live map that neither listing names. `live`: as the plan saw it, and judged what it held."""
    known = (live.entries if live else None) or {}
    maps = bench.kernel.maps
    if was.type in ARRAY_TYPES:
        new = list(held(was, {k: v for k, v in maps.items(fd).items() if known.get(k) != v}))
    else:
        parts = list(maps.keys(fd, PIECE))
        if live is not None and digest_of(b"".join(parts)) == live.order:
            return ()  # the very keys that the plan judged
        cut = struct.Struct(f"{was.key_size}s")
        keys = map(cut.iter_unpack, parts)
        new = list(filterfalse(known.__contains__, chain.from_iterable(chain.from_iterable(keys))))
    for digest, shape in ((op.entries, wanted), (op.recorded, was)):
        if new and digest and shape is not None:
            ours = listed(bench.blob("entries", digest), shape)
            new = [k for k in new if k not in ours]
    return tuple(sorted(new))


def carry(bench: Workspace, op: ops.CarryEntries) -> None:
    """Copy what others wrote to a retired map last. What its successor has by now stays; so does what it has no room
    for, and that is told."""
    kernel, pins = bench.kernel, bench.kernel.pins
    assert bench.wish is not None
    wanted = bench.wish.map(op.map)
    if not pins.exists(op.source) or not pins.exists(op.target):
        return  # that happened before this was cut short
    before = bench.seen.maps.get(op.map) if bench.seen else None
    with pins.get(op.source) as source, pins.get(op.target) as target:
        keys: tuple[bytes, ...] = ()
        with suppress(FileNotFoundError, NeedsHuman):  # a lost listing tells nothing apart, and stops no clean-up
            keys = _unknown(bench, source, wanted, op, wanted, before)
        rows = [(k, v) for k in keys if not _has(kernel, target, wanted, k) and (v := kernel.maps.lookup(source, k))]
        for key, value in rows:
            try:
                kernel.maps.update_many(target, [key], [value])
            except KernelError as error:
                if error.errno not in (errno.E2BIG, errno.ENOMEM, errno.ENOSPC):
                    raise
                bench.left_out[op.map] = bench.left_out.get(op.map, 0) + 1


def _has(kernel: Kernel, target: Fd, wanted: WishMap, key: bytes) -> bool:
    there = kernel.maps.lookup(target, key)
    return there is not None and (wanted.type not in ARRAY_TYPES or any(there))
