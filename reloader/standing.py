"""Whether a pipeline stands as its records say: the check that answers "nothing to do" before anything is planned.

Reads only, and imports little: this is the whole work of most commands. Used by commands/, txn/ and observe.
Imports records, kernel, plan.entries, layout, errors.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from reloader import records
from reloader.errors import KernelError
from reloader.plan.entries import digest_of, join_records, live_entries, uneven

if TYPE_CHECKING:
    from reloader.kernel import Fd, Kernel
    from reloader.layout import Layout
    from reloader.records import LinkRecord


def in_force(kernel: Kernel, layout: Layout, pipeline: str, wish_digest: str) -> int:
    """The generation that serves this very wish, by records, links and config contents; 0 when there is none,
    or something is left to be done about it."""
    current = records.read_current(layout, pipeline)
    if current is None or current.wish != wish_digest:
        return 0
    if current.orphaned or current.last_error:  # both are to be cleared
        return 0
    if any(layout.journal_file(pipeline, "").parent.glob("*.jsonl")):
        return 0
    stands = all(_link_holds(kernel, link) for link in current.links.values()) and all(
        _entries_hold(kernel, pin, digest) for pin, digest in current.entries.items()
    )
    return current.generation if stands else 0


def pinned(kernel: Kernel, pin: str) -> Fd | None:
    """The object behind a pin, or None when there is no such pin."""
    try:
        return kernel.pins.get(pin)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def _link_holds(kernel: Kernel, wanted: LinkRecord) -> bool:
    fd = pinned(kernel, wanted.pin)
    if fd is None:
        return False
    with fd:
        info = kernel.links.info(fd)
    return info.id == wanted.id and info.prog_id == wanted.prog and info.ifindex != 0


def _entries_hold(kernel: Kernel, pin: str, digest: str) -> bool:
    fd = pinned(kernel, pin)
    if fd is None:
        return False
    with fd:
        info = kernel.maps.info(fd)
        entries = kernel.maps.items(fd)
    if uneven(info.type, info.value_size, entries):
        return False
    return digest_of(join_records(live_entries(info.type, info.value_size, entries))) == digest
