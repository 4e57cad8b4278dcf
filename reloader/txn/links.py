"""Links on hooks: made, swapped by compare-and-swap, and what later hooks find of the version before.

Called by apply.py's match. Imports plan.ops, hooks, kernel.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING

from reloader.errors import AttachRefused, KernelError, MissingFeature
from reloader.hooks import HOOKS
from reloader.kernel import Interface
from reloader.plan import ops
from reloader.txn import attaching

if TYPE_CHECKING:
    from reloader.txn.apply import Bench


def made(bench: Bench, op: ops.CreateLink) -> bool:
    """Whether the link pinned there is this op's: it runs its program, on its interface. Another one stays."""
    pins, target = bench.kernel.pins, op.attachment.target
    if not pins.exists(op.path) or not pins.exists(op.program):
        return False
    with pins.get(op.path) as link, pins.get(op.program) as program:
        info = bench.kernel.links.info(link)
        if info.prog_id != bench.kernel.progs.info(program).id:
            return False
    try:
        interface = bench.kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:
        interface = None
    return info.ifindex in (0, interface.ifindex if interface else 0)


def alive(bench: Bench, path: str) -> bool:
    """Whether the link pinned there still has its interface."""
    if not bench.kernel.pins.exists(path):
        return False
    with bench.kernel.pins.get(path) as link:
        return bench.kernel.links.info(link).ifindex != 0


def interface_of(bench: Bench, target: dict[str, str]) -> Interface:
    """AttachRefused (ENODEV) when it is missing."""
    try:
        interface = bench.kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:  # its namespace is missing
        interface = None
    if interface is None:
        raise attaching.missing(target)
    return interface


def create(bench: Bench, op: ops.CreateLink) -> None:
    """A link at the wished place, pinned; one of ours that serves elsewhere stays."""
    kernel, target = bench.kernel, op.attachment.target
    kernel.pins.mkdir(os.path.dirname(op.path))
    interface = interface_of(bench, target)
    if kernel.pins.exists(op.path):
        if alive(bench, op.path):  # its only pin: without it, packets would meet nothing
            raise KernelError("link create", errno.EBUSY, f"{op.path}: our link serves on another interface")
        kernel.pins.unpin(op.path)  # of an interface that is gone
    with kernel.pins.get(op.program) as prog, attaching.explained(op.attachment, interface):
        link = HOOKS[op.attachment.type].attach(kernel.links, prog, target, interface.ifindex)
    with link:
        kernel.pins.pin(link, op.path)


def swap(bench: Bench, op: ops.SwapLink) -> None:
    """Swap, unless it is swapped already; a third program there is somebody else's doing, or a panic's."""
    kernel = bench.kernel
    with kernel.pins.get(op.path) as link, kernel.pins.get(op.new) as new:
        running = kernel.links.info(link).prog_id
        if running == kernel.progs.info(new).id:
            return
        if op.waits:
            wait(bench, op.waits)
        with kernel.pins.get(op.old) as old:
            if op.back and running != kernel.progs.info(old).id:
                return
            try:
                kernel.links.update(link, new=new, old=old)
            except AttachRefused as error:
                raise attaching.refused_update(bench, op, error) from error
            except KernelError as error:  # it knows the link by its descriptor only
                raise KernelError(error.call, error.errno or errno.EIO, op.attachment) from error


def wait(bench: Bench, grace: float) -> None:
    """Until nobody runs what was replaced, and `grace` seconds for packets that it handed on."""
    bench.kernel.barrier()
    time.sleep(grace)


def set_gate(bench: Bench, op: ops.SetGate) -> None:
    """The one slot of a later program's array."""
    with bench.kernel.pins.get(op.path) as gate, bench.kernel.pins.get(op.program) as program:
        bench.kernel.maps.update_many(gate, [bytes(4)], [program.fileno().to_bytes(4, sys.byteorder)])


def clear_gate(bench: Bench, op: ops.ClearGate) -> None:
    """Once more is no harm, and neither is a pin that somebody took away: the array goes with its load."""
    if not bench.kernel.pins.exists(op.path):
        return
    with bench.kernel.pins.get(op.path) as gate:
        bench.kernel.maps.delete_many(gate, [bytes(4)])


def end_panic(bench: Bench) -> None:
    """A panic takes no lock, so one may have come after the swap: what it runs must stay to be known by."""
    layout, pins = bench.layout, bench.kernel.pins
    folder, links = layout.panic_pins(bench.pipeline), layout.link_pins(bench.pipeline)
    running = set()
    for name in pins.listdir(links):
        with pins.get(f"{links}/{name}") as link:
            running.add(bench.kernel.links.info(link).prog_id)
    for name in pins.listdir(folder):
        with pins.get(f"{folder}/{name}") as program:
            needed = bench.kernel.progs.info(program).id in running
        if not needed:
            pins.unpin(f"{folder}/{name}")
    if not pins.listdir(folder):
        pins.rmdir(folder)
