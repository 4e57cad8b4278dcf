"""`reloader panic`: every attachment of a pipeline lets all packets pass, or none, at once.

Takes no writer lock and writes no journal, since whoever holds the lock may be what hangs. That is safe because each
link is swapped by compare-and-swap: a transaction under way finds a program that it did not expect and goes back. The
pins below panic/ and the links themselves are the only record of it. The next `apply` ends it; watch and guards, which
act by themselves, leave it. Run again, it goes on where it was killed. Imports kernel, layout, records, errors.
"""

from __future__ import annotations

import errno
import os

from reloader import records
from reloader.errors import KernelError, NeedsHuman, NotFoundError, RefusedChange
from reloader.frozen import frozen
from reloader.kernel import Fd, Kernel, LoadRequest
from reloader.layout import Layout, shipped_object
from reloader.records import LinkRecord
from reloader.spec.wish import Wish
from reloader.spec.words import Panic
from reloader.standing import pinned

TRIES = 20  # of one swap, where a transaction swaps the same link at the same time


@frozen
class Panicked:
    """What became of each attachment: empty text when it panics now, else why it does not."""

    pipeline: str
    stance: Panic
    attachments: dict[str, str]


def panic(kernel: Kernel, layout: Layout, pipeline: str, stance: Panic | None) -> Panicked:
    """Swap every link of the pipeline to the program of its stance; NeedsHuman (4) when one could not be."""
    current = records.read_current(layout, pipeline)
    if current is None or not current.links:
        known = ", ".join(records.pipelines(layout)) or "none"
        raise NotFoundError(f"nothing of a pipeline {pipeline} is attached", hint=f"known pipelines: {known}")
    wish = records.read_generation(layout, pipeline, current.generation).wish
    stance = stance or _declared(wish)
    done = {}
    for attachment in (a for a in wish.attachments if a.id in current.links):
        with _program(kernel, layout, pipeline, f"{attachment.type}_{stance}") as program:
            done[attachment.id] = _swap(kernel, current.links[attachment.id], program)
    if any(done.values()):
        told = "\n".join(f"{a}: {why}" for a, why in done.items() if why)
        what = f"{pipeline}: {sum(map(bool, done.values()))} of {len(done)} attachments could not be made to panic"
        raise NeedsHuman(what, detail=told, hint="by hand: `ip link set dev DEV xdp off` lets everything pass")
    return Panicked(pipeline=pipeline, stance=stance, attachments=done)


def panicking(kernel: Kernel, layout: Layout, pipeline: str) -> bool:
    """Whether an attachment of the pipeline runs a panic's program: what acts by itself leaves it so."""
    folder, links = layout.panic_pins(pipeline), layout.link_pins(pipeline)
    serving = set()
    for name in kernel.pins.listdir(folder):
        with kernel.pins.get(f"{folder}/{name}") as program:
            serving.add(kernel.progs.info(program).id)
    for name in kernel.pins.listdir(links) if serving else ():
        with kernel.pins.get(f"{links}/{name}") as link:
            if kernel.links.info(link).prog_id in serving:
                return True
    return False


def _declared(wish: Wish) -> Panic:
    if wish.panic is None:
        raise RefusedChange(
            f"{wish.pipeline} declares neither `panic: open` nor `panic: closed`",
            hint="say it here: --open lets everything pass, --closed nothing",
        )
    return wish.panic


def _program(kernel: Kernel, layout: Layout, pipeline: str, which: str) -> Fd:
    """Loaded once and pinned: a second panic, or one cut short, finds it there."""
    pin, name = layout.panic_pin(pipeline, which), f"panic_{which}"
    if (found := pinned(kernel, pin)) is not None:
        return found
    request = LoadRequest(
        objects=(shipped_object("panic").read_bytes(),),
        name="panic",
        programs=(name,),
        metadata={"pipeline": pipeline, "panic": which},
    )
    loaded = kernel.progs.load(request)
    try:
        kernel.pins.mkdir(os.path.dirname(pin))
        kernel.pins.pin(loaded.progs[name], pin)
    except KernelError as error:
        if error.errno != errno.EEXIST:  # another panic was faster
            raise
    finally:
        loaded.close()
    return kernel.pins.get(pin)


def _swap(kernel: Kernel, link: LinkRecord, program: Fd) -> str:
    """Whatever the link runs now gives way; why it could not, empty when it did."""
    fd = pinned(kernel, link.pin)
    if fd is None:
        return f"its link's pin {link.pin} is gone"
    with fd:
        for _ in range(TRIES):
            try:
                return _swap_once(kernel, fd, program)
            except KernelError as error:
                if error.errno not in (errno.EPERM, errno.ENOENT):  # not what it ran a moment ago
                    return str(error)
                why = str(error)
    return why


def _swap_once(kernel: Kernel, link: Fd, program: Fd) -> str:
    info = kernel.links.info(link)
    if not info.ifindex:
        return "its interface is gone"
    if info.prog_id != kernel.progs.info(program).id:
        with kernel.progs.by_id(info.prog_id) as old:
            kernel.links.update(link, new=program, old=old)
    return ""
