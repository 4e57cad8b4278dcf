"""Whether a pipeline stands as its records say: the check that answers "nothing to do" before anything is planned.

Reads only, and imports little: this is the whole work of most commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.config_maps.entry_changes import digest_of, join_records, live_entries, owned, uneven
from reloader.pins.own_folders import pinned, weak_folders
from reloader.places import first_moved
from reloader.store import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reloader.kernel import Kernel, LinkInfo
    from reloader.kernel.host import Host
    from reloader.paths import Paths
    from reloader.pipeline.wish import Kept
    from reloader.store.records import Current, LinkRecord


def in_force(host: Host, pipeline: str, wish_digest: str) -> int:
    """The generation that serves this very wish, by records, links and config contents; 0 when there is none,
    or something is left to be done about it."""
    return all_in_force(host, {pipeline: wish_digest}).get(pipeline, 0)


def all_in_force(host: Host, wishes: Mapping[str, str]) -> dict[str, int]:
    """Pipeline → generation, when for each pipeline the wish of that digest is in force; empty when one is not."""
    found: list[Current] = []
    for pipeline, digest in wishes.items():
        current = _recorded(host.paths, pipeline, digest)
        if current is None:
            return {}
        found.append(current)
    links = [one for current in found for one in current.links.items()]
    stands = (
        not weak_folders(host, *wishes)
        and all(host.kernel.pins.exists(pin) for current in found for pin in current.pins)
        and _links_hold(host.kernel, links)
        and all(
            _entries_hold(host.kernel, pin, digest, current.kept.get(pin, ()))
            for current in found
            for pin, digest in current.entries.items()
        )
    )
    return {current.pipeline: current.generation for current in found} if stands else {}


def _recorded(paths: Paths, pipeline: str, wish_digest: str) -> Current | None:
    """The pipeline's record, if it says that this wish serves and that nothing is left to be done."""
    current = records.read_current(paths, pipeline)
    if current is None or not current.generation or current.wish != wish_digest:
        return None
    if current.orphaned or current.last_error or current.trial:  # all are to be cleared, or to be waited for
        return None
    return None if records.open_journals(paths, pipeline) else current


def _links_hold(kernel: Kernel, links: Iterable[tuple[str, LinkRecord]]) -> bool:
    """Whether each attachment's link runs what was recorded, at the place that has the recorded name now."""
    found = []
    for attachment, wanted in links:
        info = link_at(kernel, wanted.pin)
        if info is None or not info.attached or (info.id, info.prog_id) != (wanted.id, wanted.prog):
            return False
        found.append((attachment, wanted.place, info))
    return first_moved(kernel, found) is None


def link_at(kernel: Kernel, pin: str) -> LinkInfo | None:
    """The link behind a pin; None when there is no such pin."""
    fd = pinned(kernel, pin)
    if fd is None:
        return None
    with fd:
        return kernel.links.info(fd)


def _entries_hold(kernel: Kernel, pin: str, digest: str, kept: Sequence[Kept]) -> bool:
    fd = pinned(kernel, pin)
    if fd is None:
        return False
    with fd:
        info = kernel.maps.info(fd)
        entries = kernel.maps.items(fd)
    if uneven(info.type, info.value_size, entries):
        return False
    entries = dict(owned(kept, entries))
    return digest_of(join_records(live_entries(info.type, info.value_size, entries))) == digest
