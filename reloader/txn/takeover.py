"""Somebody else's program, attached by netlink, gives way to our link; and comes back if the transaction fails.

The kernel swaps link for link and netlink for netlink, never one for the other: between their XDP program's detach
and our link the hook is bare for microseconds, which the plan calls `drops`. A classic filter is removed after our
link was made on tcx, and made again before that link goes, so there is no gap. Called by apply.py. Imports kernel,
plan.ops.
"""

from __future__ import annotations

import errno
import os

from reloader.errors import KernelError, MissingFeature
from reloader.kernel import Interface, Kernel, XdpMode
from reloader.plan import ops
from reloader.txn import attaching


def take(kernel: Kernel, op: ops.TakeOver, interface: Interface) -> None:
    target = op.attachment.target
    kernel.pins.mkdir(os.path.dirname(op.path))
    kernel.pins.unpin(op.path)  # of an interface that is gone: the plan saw no living link of ours
    with (
        kernel.pins.get(op.theirs) as theirs,
        kernel.pins.get(op.program) as prog,
        attaching.explained(op.attachment, interface),
    ):
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


def remove_filter(kernel: Kernel, op: ops.RemoveFilter, interface: Interface) -> None:
    """KernelError EEXIST when another program has come to its place. One that is missing already was to go."""
    target = op.attachment.target
    try:
        kernel.links.remove_filter(
            op.filter, ifindex=interface.ifindex, direction=target["direction"], netns=target.get("netns")
        )
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def restore_filter(kernel: Kernel, op: ops.RemoveFilter) -> None:
    """Whether or not it was removed. What has come to its place since stays."""
    target = op.attachment.target
    try:
        interface = kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:
        interface = None
    if interface is None or not kernel.pins.exists(op.theirs):
        return
    with kernel.pins.get(op.theirs) as theirs:
        try:
            kernel.links.restore_filter(
                op.filter, theirs, ifindex=interface.ifindex, direction=target["direction"], netns=target.get("netns")
            )
        except KernelError as error:
            if error.errno != errno.EEXIST:  # it is there, or another is
                raise
