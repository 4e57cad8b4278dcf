"""What of a pipeline the kernel shows otherwise than its record says.

Reads records and the kernel, changes nothing. Called by commands/diff.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed
from reloader.paths import Paths, public_name
from reloader.pins.own_folders import pinned
from reloader.pipeline.enums import Role
from reloader.pipeline.wish import WishMap
from reloader.report import texts
from reloader.report.attachment_faults import faults
from reloader.report.contents import EXTRA, SAME, compared, handle_rows, in_service, listed_entries, words
from reloader.store.records import Generation
from reloader.wording.message import Message

MOST = 20  # entries of one map that diff names


@frozen
class Drift:
    """One thing that the kernel shows otherwise than the record says."""

    kind: str  # "pipeline", "program", "attachment" or "map"
    name: str
    what: Message
    is_missing: bool = False

    def text(self) -> str:
        """One line that begins with - for what is missing, otherwise with ~."""
        return f"{'-' if self.is_missing else '~'} {self.kind} {self.name}: {self.what}"


def find_drift(host: Host, pipeline: str) -> tuple[int, tuple[Drift, ...]]:
    """Return the current generation, and what the kernel shows otherwise."""
    generation, seen = in_service(host, pipeline)
    if seen.rebooted:
        restarted = Drift(kind="pipeline", name=pipeline, what=texts.KERNEL_RESTARTED(), is_missing=True)
        return generation.number, (restarted,)
    return generation.number, (
        *_programs(generation, seen),
        *(Drift(kind="attachment", name=a, what=fault) for a, fault in faults(seen).items()),
        *_maps(host, generation, seen),
        *_entries(host.paths, generation, seen),
        *_handles(host, generation, seen),
    )


def _programs(generation: Generation, seen: Observed) -> Iterator[Drift]:
    for name, number in generation.progs.items():
        if name not in seen.progs:
            yield Drift(kind="program", name=name, what=texts.PROGRAM_MISSING(), is_missing=True)
        elif seen.progs[name] != number:
            what = texts.OTHER_PROGRAM(old=number, new=seen.progs[name])
            yield Drift(kind="program", name=name, what=what)
    yield from (Drift(kind="program", name=name, what=texts.PROGRAM_IN_USE()) for name in seen.unpinned_progs)


def _maps(host: Host, generation: Generation, seen: Observed) -> Iterator[Drift]:
    for name, known in generation.maps.items():
        there = seen.maps.get(name)
        if there is None:
            yield Drift(kind="map", name=name, what=texts.MAP_MISSING(), is_missing=True)
            continue
        if there.unpinned:
            yield Drift(kind="map", name=name, what=texts.MAP_IN_USE())
        if there.info.id != known.id:
            yield Drift(kind="map", name=name, what=texts.OTHER_MAP(old=known.id, new=there.info.id))
        if (public := _public(host, generation, name)) not in (there.info.id, None):
            yield Drift(kind="map", name=name, what=texts.PUBLISHED_OTHER(pin=public_name(name), id=public))
    missing = [(name, texts.PUBLISHED_MISSING(pin=public_name(name))) for name in seen.unpublished]
    yield from (Drift(kind="map", name=name, what=what) for name, what in missing)


def _public(host: Host, generation: Generation, name: str) -> int | None:
    fd = pinned(host.kernel, host.paths.pub_pin(generation.wish.pipeline, name))
    if fd is None:
        return None
    with fd:
        return host.kernel.maps.info(fd).id


def _entries(paths: Paths, generation: Generation, seen: Observed) -> Iterator[Drift]:
    for wanted in generation.wish.maps:
        there = seen.maps.get(wanted.name)
        if wanted.entries is None or there is None or there.entries is None:
            continue
        rows = [r for r in compared(wanted, there, there.entries, listed_entries(paths, wanted)) if _drifted(wanted, r)]
        yield from _rows(wanted.name, rows)


def _handles(host: Host, generation: Generation, seen: Observed) -> Iterator[Drift]:
    """Entries of program arrays that the object does not declare, or whose declared program is missing."""
    for wanted in generation.wish.maps:
        there = seen.maps.get(wanted.name)
        if wanted.type != MapType.PROG_ARRAY or there is None or wanted.role is Role.EXTERNAL:
            continue
        rows = [r for r in handle_rows(host, generation, wanted, there) if r["state"] != SAME]
        yield from _rows(wanted.name, rows)


def _rows(name: str, rows: list[dict[str, Any]]) -> Iterator[Drift]:
    """The first of the entries of a map, and how many more there are."""
    yield from (Drift(kind="map", name=name, what=words(row)) for row in rows[:MOST])
    if len(rows) > MOST:
        yield Drift(kind="map", name=name, what=texts.MORE_ENTRIES(count=len(rows) - MOST))


def _drifted(wanted: WishMap, row: Mapping[str, Any]) -> bool:
    """Without `prune`, what else the map holds is nobody's fault."""
    return row["state"] != SAME and (wanted.prune or row["state"] != EXTRA)
