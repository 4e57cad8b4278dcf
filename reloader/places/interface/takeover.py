"""Programs of others give way to ours, and come back if the transaction fails.

The kernel swaps link for link and netlink for netlink, never one for the other: between the detach of their XDP program
and our link the hook is bare for microseconds, which the plan calls `drops`. A classic filter is removed after our
link was made on tcx, and made again before that link goes, so there is no gap.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from reloader.errors import KernelError
from reloader.kernel import Fd, Interface, Kernel, XdpMode
from reloader.kernel.traffic_control import Filter
from reloader.places.interface.fields import At


def take(
    kernel: Kernel, at: At, interface: Interface, program: Fd, *, mode: XdpMode, theirs: Fd, their_mode: str
) -> Fd:
    """Put a link in the place of a program that netlink attached."""
    return kernel.links.take_over_xdp(
        program, theirs=theirs, theirs_mode=XdpMode(their_mode), ifindex=interface.ifindex, mode=mode, netns=at.netns
    )


def give_back(kernel: Kernel, at: At, theirs: Fd, their_mode: str) -> None:
    """Attach it again by netlink, unless a program is attached or the interface is missing."""
    interface = at.present(kernel)
    if interface is None or interface.xdp_prog_id:
        return
    try:
        kernel.links.give_back_xdp(theirs, ifindex=interface.ifindex, mode=XdpMode(their_mode), netns=at.netns)
    except KernelError as error:
        if error.errno != errno.EBUSY:  # a third program came in between: it stays
            raise


def remove_filter(kernel: Kernel, at: At, interface: Interface, direction: str, taken: Mapping[str, Any]) -> None:
    """Remove a classic filter. KernelError EEXIST when another program has come to its place; a missing one was to
    be removed."""
    try:
        kernel.links.remove_filter(Filter(**taken), ifindex=interface.ifindex, direction=direction, netns=at.netns)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def restore_filter(kernel: Kernel, at: At, direction: str, taken: Mapping[str, Any], theirs: Fd) -> None:
    """Make a classic filter again, whether or not it was removed. A filter that has come to its place since stays."""
    interface = at.present(kernel)
    if interface is None:
        return
    try:
        kernel.links.restore_filter(
            Filter(**taken), theirs, ifindex=interface.ifindex, direction=direction, netns=at.netns
        )
    except KernelError as error:
        if error.errno != errno.EEXIST:  # it is there, or another is
            raise
