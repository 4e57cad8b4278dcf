"""Links on hooks: made, swapped by compare-and-swap, and what later hooks find of the version before.

Takes values, and knows neither plan nor transaction. Called by attach_ops.py.
"""

from __future__ import annotations

import errno
import os
import sys
import time

from reloader.engine import texts
from reloader.errors import AttachRefused, KernelError, StepFailed
from reloader.frozen import frozen
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of


def made(kernel: Kernel, attachment: WishAttachment, *, program: str, path: str) -> bool:
    """Whether the link pinned at `path` runs the program pinned at `program`, at the wished place or at none any more.
    Another one stays."""
    pins = kernel.pins
    if not pins.exists(path) or not pins.exists(program):
        return False
    with pins.get(path) as link, pins.get(program) as wanted:
        info = kernel.links.info(link)
        if info.prog_id != kernel.progs.info(wanted).id:
            return False
    return not info.attached or place_of(attachment.type, attachment.target).holds(kernel, info)


def alive(kernel: Kernel, path: str) -> bool:
    """Whether the link pinned there still has its place."""
    if not kernel.pins.exists(path):
        return False
    with kernel.pins.get(path) as link:
        return kernel.links.info(link).attached


def create(kernel: Kernel, attachment: WishAttachment, *, program: str, path: str) -> None:
    """A link at the wished place, pinned; one of ours that serves elsewhere stays."""
    kernel.pins.mkdir(os.path.dirname(path))
    if kernel.pins.exists(path):
        if alive(kernel, path):  # its only pin: without it, packets would meet nothing
            raise StepFailed("link create", errno.EBUSY, texts.LINK_ELSEWHERE(path=path))
        kernel.pins.unpin(path)  # of a place that is missing
    with kernel.pins.get(program) as prog:
        link = place_of(attachment.type, attachment.target).attach(kernel, prog, attachment.program)
    with link:
        kernel.pins.pin(link, path)


@frozen
class Swap:
    """What to swap; pins, but for the attachment's name."""

    name: str
    path: str  # of the link
    new: str
    old: str  # what must be running there
    waits: float = 0.0  # seconds before it, after a barrier
    back: bool = False  # a program that is neither the old nor the new one stays


def swap(kernel: Kernel, wanted: Swap, attachment: WishAttachment | None) -> None:
    """Swap, unless it is swapped already; a third program there is somebody else's doing, or a panic's.

    `attachment` is what the wish says of it; None: another process planned this, and its wish is not known.
    """
    with kernel.pins.get(wanted.path) as link, kernel.pins.get(wanted.new) as new:
        running = kernel.links.info(link).prog_id
        if running == kernel.progs.info(new).id:
            return
        if wanted.waits:
            wait(kernel, wanted.waits)
        with kernel.pins.get(wanted.old) as old:
            if wanted.back and running != kernel.progs.info(old).id:
                return
            try:
                kernel.links.update(link, new=new, old=old)
            except AttachRefused as error:
                raise _explained(kernel, error, wanted.name, attachment) from error
            except KernelError as error:  # it knows the link by its descriptor only
                raise KernelError(error.call, error.errno or errno.EIO, wanted.name) from error


def _explained(kernel: Kernel, error: AttachRefused, name: str, attachment: WishAttachment | None) -> AttachRefused:
    if attachment is None:
        return AttachRefused(error.call, error.errno or 0, name, said=error.said)
    return place_of(attachment.type, attachment.target).refused(kernel, error, attachment.program)


def wait(kernel: Kernel, grace: float) -> None:
    """Until nobody runs what was replaced, and `grace` seconds for packets that it handed on."""
    kernel.barrier()
    time.sleep(grace)


def set_gate(kernel: Kernel, path: str, program: str) -> None:
    """The one slot of a later program's array."""
    with kernel.pins.get(path) as gate, kernel.pins.get(program) as before:
        kernel.maps.update_many(gate, [bytes(4)], [before.fileno().to_bytes(4, sys.byteorder)])


def clear_gate(kernel: Kernel, path: str) -> None:
    """Once more is no harm, and neither is a pin that somebody took away: the array goes with its load."""
    if not kernel.pins.exists(path):
        return
    with kernel.pins.get(path) as gate:
        kernel.maps.delete_many(gate, [bytes(4)])


def end_panic(host: Host, pipeline: str) -> None:
    """A panic takes no lock, so one may have come after the swap: what it runs must stay to be known by."""
    pins, folder, links = host.kernel.pins, host.paths.panic_pins(pipeline), host.paths.link_pins(pipeline)
    running = set()
    for name in pins.listdir(links):
        with pins.get(f"{links}/{name}") as link:
            running.add(host.kernel.links.info(link).prog_id)
    for name in pins.listdir(folder):
        with pins.get(f"{folder}/{name}") as program:
            needed = host.kernel.progs.info(program).id in running
        if not needed:
            pins.unpin(f"{folder}/{name}")
    if not pins.listdir(folder):
        pins.rmdir(folder)
