"""Links: a program on a hook. Implements kernel.Links.

Imports syscall, netns, kernel, errors and effects.
"""

from __future__ import annotations

import errno
import functools
import socket

from reloader.bpf import netns as namespaces
from reloader.bpf import syscall
from reloader.effects import lasting
from reloader.errors import KernelError
from reloader.kernel import Fd, LinkInfo, XdpMode

_MODE_FLAGS = {XdpMode.SKB: 1 << 1, XdpMode.NATIVE: 1 << 2, XdpMode.HW: 1 << 3}  # XDP_FLAGS_*_MODE


class LiveLinks:
    """See kernel.Links."""

    def create_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> Fd:
        # Held by this descriptor only, it dies with us until it is pinned; but packets meet it from here on.
        create = functools.partial(_create_xdp, prog, ifindex, mode)
        return Fd(lasting(f"link.create xdp {ifindex}", lambda: namespaces.inside(netns, create)))

    def update(self, link: Fd, *, new: Fd, old: Fd) -> None:
        lasting("link.update", lambda: syscall.link_update(link.fileno(), new.fileno(), old.fileno()))

    def info(self, fd: Fd) -> LinkInfo:
        return syscall.link_info(fd.fileno())


def _create_xdp(prog: Fd, ifindex: int, mode: XdpMode) -> int:
    """In the interface's namespace: that of whoever asks is where the kernel looks the ifindex up."""
    subject = f"on interface {ifindex}"
    try:
        return syscall.link_create(prog.fileno(), ifindex, syscall.BPF_XDP, _MODE_FLAGS[mode], subject)
    except KernelError as error:
        # EINVAL has many causes; tell the one that a user can see
        if error.errno == errno.EINVAL and not _exists(ifindex):
            raise KernelError(error.call, errno.ENODEV, subject) from error
        raise


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True
