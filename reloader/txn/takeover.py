"""Somebody else's XDP program, attached by netlink, gives way to our link; and comes back if the transaction fails.

The kernel swaps link for link and netlink for netlink, never one for the other: between their detach and our link
the hook is bare for microseconds, which the plan calls `drops`. Called by apply.py. Imports kernel, plan.ops.
"""

from __future__ import annotations

import errno
import os

from reloader.errors import KernelError, MissingFeature
from reloader.kernel import Interface, Kernel, XdpMode
from reloader.plan import ops


def take(kernel: Kernel, op: ops.TakeOver, interface: Interface) -> None:
    target = op.attachment.target
    kernel.pins.mkdir(os.path.dirname(op.path))
    kernel.pins.unpin(op.path)  # of an interface that is gone: the plan saw no living link of ours
    with kernel.pins.get(op.theirs) as theirs, kernel.pins.get(op.program) as prog:
        link = kernel.links.take_over_xdp(
            prog, theirs=theirs, theirs_mode=XdpMode(op.mode), ifindex=interface.ifindex,
            mode=XdpMode(target["mode"]), netns=target.get("netns"),
        )  # fmt: skip
    with link:
        kernel.pins.pin(link, op.path)


def give_back(kernel: Kernel, op: ops.GiveBack) -> None:
    """Whether or not it was taken: our link goes if it runs our program, theirs comes unless it sits there."""
    target = op.attachment.target
    _let_go(kernel, op)
    try:
        interface = kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:
        interface = None
    if interface is None or interface.xdp_prog_id or not kernel.pins.exists(op.theirs):
        return
    with kernel.pins.get(op.theirs) as theirs:
        try:
            kernel.links.give_back_xdp(
                theirs, ifindex=interface.ifindex, mode=XdpMode(op.mode), netns=target.get("netns")
            )
        except KernelError as error:
            if error.errno != errno.EBUSY:  # a third program came in between: it stays
                raise


def _let_go(kernel: Kernel, op: ops.GiveBack) -> None:
    pins = kernel.pins
    if not pins.exists(op.path) or not pins.exists(op.program):
        return
    with pins.get(op.path) as link, pins.get(op.program) as program:
        if kernel.links.info(link).prog_id == kernel.progs.info(program).id:
            kernel.links.detach(link)
            pins.unpin(op.path)
