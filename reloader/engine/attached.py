"""What the links of a pipeline run, asked of the kernel: an outcome is told from it, not from what was meant to be.

A panic takes no lock and may come at any moment of a transaction. Called by transaction.py and commands/aftermath.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from reloader.break_glass.panic import panicking
from reloader.engine import texts
from reloader.errors import ReloaderError
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.pins.own_folders import pinned
from reloader.store.records import Current, Generation

__all__ = ["PANICKED", "displaced", "panicking", "require_own"]

PANICKED = texts.PANIC_ATTACHED.code


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
        if panicking(host, current.pipeline):
            text = texts.PANIC_ATTACHED
        else:
            text = texts.OTHER_ATTACHED if any(other.values()) else texts.LINKS_MISSING
        raise ReloaderError(text(places=sorted(other)), values={"attachments": other})
