"""`state import` as a transaction: the file read whole and judged, then journal, ops and commit as for any other.

Called by commands/state_import.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reloader.convert import transfer as transfer_entries
from reloader.disk.lock import Writer
from reloader.disk.trust import Signature
from reloader.engine.transaction import Transaction, run
from reloader.engine.workspace import Workspace
from reloader.errors import NotFoundError, RefusedChange
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PLAIN_TYPES, Kernel, MapType
from reloader.layouts.archive import Exported
from reloader.lifecycle import state_export, texts
from reloader.lifecycle.ready import ready
from reloader.observe.pipeline import Observed, SeenMap, opened
from reloader.pipeline.model import Role
from reloader.plan.model import Plan
from reloader.plan.state.bring_in import ImportInputs, Incoming, make_import
from reloader.store.records import Current, Generation

HASHES = frozenset({MapType.HASH, MapType.PERCPU_HASH})


@frozen
class ImportRequest:
    """What `state import` is asked for."""

    pipeline: str
    file: Path
    only: str | None  # this map; None: every map of the file
    merge: str | None  # how to join with entries that are there; None: nothing may be there


@frozen
class Imported:
    plan: Plan
    told: tuple[str, ...]  # a line for each map
    recovered: tuple[str, ...]  # what was ended first


def bring_in(writer: Writer, order: ImportRequest, *, progress: Callable[[str], None]) -> Imported:
    """Bring the file's entries into the pipeline's live state maps."""
    progress(texts.READING(file=order.file.name))
    found, signature = transfer_entries.contents(order.file)
    held = _wanted(found, order)
    recovered = ready(writer, order.pipeline)
    seen = state_export.look(writer.host, order.pipeline)
    generation, current = _serving(seen, order.pipeline)
    incoming = [
        _incoming(writer.kernel, seen, generation, (order.file, signature), one, entries)
        for one, entries in held.values()
    ]
    asked = ImportInputs(
        file=str(order.file.absolute()), signature=signature, merge=order.merge, cpus=writer.kernel.possible_cpus()
    )
    made = make_import(incoming, asked, current, generation, writer.paths)
    bench = Workspace(host=writer.host, pipeline=order.pipeline, wish=generation.wish)
    left = {name: when for name, when in current.restarted.items() if name not in held}
    after = replace(current, restarted=left)
    run(Transaction(plan=made, bench=bench, finish=lambda _: (None, after), progress=progress), writer)
    return Imported(plan=made, told=tuple(bench.told), recovered=tuple(recovered))


def _wanted(found: dict[str, tuple[Exported, int]], order: ImportRequest) -> dict[str, tuple[Exported, int]]:
    if order.only is None:
        return found
    if order.only not in found:
        raise NotFoundError(texts.NO_MAP_IN_FILE(file=order.file, map=order.only, known=list(found) or "none"))
    return {order.only: found[order.only]}


def _serving(seen: Observed, pipeline: str) -> tuple[Generation, Current]:
    if seen.generation is None or seen.current is None:
        raise RefusedChange(texts.PIPELINE_REMOVED(pipeline=pipeline))
    if seen.rebooted:
        raise RefusedChange(texts.NOT_LOADED(pipeline=pipeline))
    return seen.generation, seen.current


def _incoming(
    kernel: Kernel, seen: Observed, generation: Generation, file: tuple[Path, Signature], one: Exported, entries: int
) -> Incoming:
    live = seen.maps.get(one.map)
    wanted = next((m for m in generation.wish.maps if m.name == one.map), None)
    if live is None or wanted is None or wanted.role is not Role.STATE:
        raise NotFoundError(texts.NOT_LIVE(pipeline=generation.wish.pipeline, map=one.map))
    there, fresh = _there(kernel, live), entries
    if there + entries > live.info.max_entries and live.info.type in HASHES and live.key == one.key:
        fresh = _fresh(kernel, live, one.map, file)
    return Incoming(exported=one, entries=entries, live=live, there=there, fresh=fresh, versions=wanted.versions)


def _fresh(kernel: Kernel, live: SeenMap, name: str, file: tuple[Path, Signature]) -> int:
    """How many of the file's keys the live map does not hold; asked only where it might be too full for them."""
    with opened(kernel, live) as fd:
        there = {
            key
            for keys in kernel.maps.keys(fd, transfer_entries.ENTRIES)
            for key in transfer_entries.split(keys, live.info.key_size)
        }
    return sum(key not in there for key in transfer_entries.keys_of(*file, name))


def _there(kernel: Kernel, live: SeenMap) -> int:
    """Entries that somebody made: of an array the slots that are not zero."""
    if live.info.type not in PLAIN_TYPES:
        return 0
    with opened(kernel, live) as fd:
        if live.info.type not in ARRAY_TYPES:
            return kernel.maps.count(fd)
        found, size = 0, live.info.key_size
        for keys, values in kernel.maps.pieces(fd, transfer_entries.ENTRIES):
            step = len(values) // (len(keys) // size)
            found += sum(any(values[at : at + step]) for at in range(0, len(values), step))
        return found
