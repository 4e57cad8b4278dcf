"""State out of the kernel into a file: `state export`.

Called by commands/state_export.py; lifecycle/state_import.py looks at the pipeline in the same way.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import IO

from reloader.convert.transfer import ENTRIES
from reloader.errors import NeedsHuman, NotFoundError
from reloader.frozen import frozen
from reloader.kernel import PERCPU_TYPES, PLAIN_TYPES, Kernel, MapType
from reloader.kernel.host import Host
from reloader.layouts import archive
from reloader.layouts.archive import Exported
from reloader.lifecycle import texts
from reloader.observe.pipeline import Observed, SeenMap, observe, opened
from reloader.store import records
from reloader.wording.message import Message


@frozen
class Copied:
    map: str
    entries: int


def chosen(seen: Observed, pipeline: str, only: str | None) -> dict[str, SeenMap]:
    """The state maps to export, by name; NotFoundError when the one that was named is none."""
    kept = seen.current.state if seen.current else {}
    found = {n: m for n, m in seen.maps.items() if n in kept and m.pin == kept[n].pin}
    if only is None:
        return found
    if only not in found:
        raise NotFoundError(texts.NO_STATE_MAP(pipeline=pipeline, map=only, known=sorted(found) or "none"))
    return {only: found[only]}


def export_error(seen: SeenMap) -> Message | None:
    """Why a map's entries cannot be exported; None when they can."""
    if seen.info.type in PLAIN_TYPES:
        return None
    kind = MapType(seen.info.type).name.lower() if seen.info.type in set(MapType) else seen.info.type
    return texts.CANNOT_BE_EXPORTED(type=kind)


def look(host: Host, pipeline: str) -> Observed:
    """The pipeline as it stands; NotFoundError and NeedsHuman when it does not."""
    seen = observe(host, None, pipeline)
    if seen.current is None:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(names=pipeline, hint=texts.SEE_STATUS()))
    if records.open_journals(host.paths, pipeline):
        raise NeedsHuman(texts.TRANSACTION_OPEN(pipeline=pipeline))
    return seen


def export(kernel: Kernel, seen: Observed, maps: dict[str, SeenMap], out: IO[bytes]) -> Iterator[Copied]:
    """Write the maps one after the other; memory for a piece at a time."""
    writer = archive.Writer(out)
    for name, one in maps.items():
        writer.begin(_header(kernel, seen, name, one))
        size = max(1, archive.PIECE // (one.info.key_size + one.info.value_size))
        with opened(kernel, one) as fd:
            for keys, values in kernel.maps.pieces(fd, min(size, ENTRIES)):
                writer.put(keys, values)
        yield Copied(map=name, entries=writer.end())
    writer.close()


def _header(kernel: Kernel, seen: Observed, name: str, one: SeenMap) -> Exported:
    info, generation = one.info, seen.generation
    serving = generation is not None and name in generation.maps and generation.maps[name].pin == one.pin
    return Exported(
        pipeline=seen.current.pipeline if seen.current else "",
        map=name,
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        map_flags=info.map_flags,
        cpus=kernel.possible_cpus() if info.type in PERCPU_TYPES else 1,
        key=one.key,
        value=one.value,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        generation=generation.number if generation else 0,
        versions=generation.wish.map(name).versions if generation and serving else (),
    )
