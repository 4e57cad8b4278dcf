"""What the links of a pipeline run, asked of the kernel: an outcome is told from it, not from what was meant to be.

A panic takes no lock and may come at any moment of a transaction. Called by transaction.py and commands/aftermath.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from reloader.break_glass.panic import panicking
from reloader.errors import ReloaderError
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.pins.own_folders import pinned
from reloader.store.records import Current, Generation

__all__ = ["DISPLACED", "PANICKED", "displaced", "panicking", "reason_of", "require_own"]

PANICKED, DISPLACED = "panicked", "displaced"


def displaced(kernel: Kernel, current: Current, programs: Mapping[str, int] | None = None) -> dict[str, int]:
    """Attachment → id of the program that its link runs, where that is not the recorded one (0: the link is missing).

    `programs`: attachment → the id that must run there; the record's own when None."""
    found = {}
    for attachment, link in current.links.items():
        wanted = link.prog if programs is None else programs.get(attachment, 0)
        fd = pinned(kernel, link.pin)
        if fd is None:
            found[attachment] = 0
            continue
        with fd:
            info = kernel.links.info(fd)
        if wanted and info.attached and info.prog_id != wanted:  # without a place, no program runs anywhere
            found[attachment] = info.prog_id
    return found


def require_own(host: Host, generation: Generation, current: Current) -> None:
    """ReloaderError when a link does not run this generation's program, though the plan's swaps are done."""
    wanted = {a.id: generation.progs.get(a.program, 0) for a in generation.wish.attachments}
    other = displaced(host.kernel, current, wanted)
    if other:
        reason, why = reason_of(host, current.pipeline, other)
        places = ", ".join(sorted(other))
        raise ReloaderError(f"{why} at {places}", reason=reason, values={"attachments": other})


def reason_of(host: Host, pipeline: str, other: Mapping[str, int]) -> tuple[str, str]:
    """Why a link runs another program: a stable word, and a sentence. `other`: as `displaced` returns it."""
    if panicking(host, pipeline):
        return PANICKED, "a panic program is attached"
    if not any(other.values()):
        return DISPLACED, "a link is missing"
    return DISPLACED, "another program is attached"
