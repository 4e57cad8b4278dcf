"""Somebody else's program, attached by netlink, gives way to our link; and comes back if the transaction fails.

The kernel swaps link for link and netlink for netlink, never one for the other: between their XDP program's detach
and our link the hook is bare for microseconds, which the plan calls `drops`. A classic filter is removed after our
link was made on tcx, and made again before that link goes, so there is no gap. Takes values. Called by
attach_ops.py.
"""

from __future__ import annotations

import errno
import os

from reloader.engine import attach_refused
from reloader.errors import KernelError, MissingFeature
from reloader.frozen import frozen
from reloader.kernel import Interface, Kernel, XdpMode
from reloader.kernel.traffic_control import Filter
from reloader.pipeline.wish import WishAttachment


@frozen
class Replacement:
    """Where their program sits and our link comes."""

    attachment: WishAttachment
    program: str  # pin of ours
    path: str  # our link's pin
    theirs: str  # pin of their program
    mode: XdpMode  # theirs


def take(kernel: Kernel, given: Replacement, interface: Interface) -> None:
    """Put our link in the given of their program."""
    target = given.attachment.target
    kernel.pins.mkdir(os.path.dirname(given.path))
    kernel.pins.unpin(given.path)  # of an interface that is gone: the plan saw no living link of ours
    with (
        kernel.pins.get(given.theirs) as theirs,
        kernel.pins.get(given.program) as prog,
        attach_refused.explained(given.attachment, interface),
    ):
        link = kernel.links.take_over_xdp(
            prog, theirs=theirs, theirs_mode=given.mode, ifindex=interface.ifindex,
            mode=XdpMode(target["mode"]), netns=target.get("netns"),
        )  # fmt: skip
    with link:
        kernel.pins.pin(link, given.path)


def give_back(kernel: Kernel, given: Replacement) -> None:
    """Whether or not it was taken: our link goes if it runs our program, theirs comes unless it sits there."""
    target = given.attachment.target
    _let_go(kernel, given)
    try:
        interface = kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:
        interface = None
    if interface is None or interface.xdp_prog_id or not kernel.pins.exists(given.theirs):
        return
    with kernel.pins.get(given.theirs) as theirs:
        try:
            kernel.links.give_back_xdp(theirs, ifindex=interface.ifindex, mode=given.mode, netns=target.get("netns"))
        except KernelError as error:
            if error.errno != errno.EBUSY:  # a third program came in between: it stays
                raise


def _let_go(kernel: Kernel, given: Replacement) -> None:
    pins = kernel.pins
    if not pins.exists(given.path) or not pins.exists(given.program):
        return
    with pins.get(given.path) as link, pins.get(given.program) as program:
        if kernel.links.info(link).prog_id == kernel.progs.info(program).id:
            kernel.links.detach(link)
            pins.unpin(given.path)


def remove_filter(kernel: Kernel, found: Filter, target: dict[str, str], interface: Interface) -> None:
    """KernelError EEXIST when another program has come to its given. One that is missing already was to go."""
    try:
        kernel.links.remove_filter(
            found, ifindex=interface.ifindex, direction=target["direction"], netns=target.get("netns")
        )
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def restore_filter(kernel: Kernel, found: Filter, target: dict[str, str], program_pin: str) -> None:
    """Whether or not it was removed. What has come to its given since stays."""
    try:
        interface = kernel.net.interface(target["interface"], target.get("netns"))
    except MissingFeature:
        interface = None
    if interface is None or not kernel.pins.exists(program_pin):
        return
    with kernel.pins.get(program_pin) as theirs:
        try:
            kernel.links.restore_filter(
                found, theirs, ifindex=interface.ifindex, direction=target["direction"], netns=target.get("netns")
            )
        except KernelError as error:
            if error.errno != errno.EEXIST:  # it is there, or another is
                raise
