"""Links: a program on a hook. Implements kernel.Links.

Imports syscall, netns, kernel and effects.
"""

from __future__ import annotations

from reloader.bpf import netns as namespaces
from reloader.bpf import syscall
from reloader.effects import lasting
from reloader.kernel import Fd, LinkInfo, XdpMode

_MODE_FLAGS = {XdpMode.SKB: 1 << 1, XdpMode.NATIVE: 1 << 2, XdpMode.HW: 1 << 3}  # XDP_FLAGS_*_MODE


class LiveLinks:
    """See kernel.Links."""

    def create_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> Fd:
        def create() -> int:
            # The kernel looks the ifindex up in the namespace of whoever asks.
            subject = f"on interface {ifindex}"
            return syscall.link_create(prog.fileno(), ifindex, syscall.BPF_XDP, _MODE_FLAGS[mode], subject)

        # Held by this descriptor only, it dies with us until it is pinned; but packets meet it from here on.
        return Fd(lasting(f"link.create xdp {ifindex}", lambda: namespaces.inside(netns, create)))

    def update(self, link: Fd, *, new: Fd, old: Fd) -> None:
        lasting("link.update", lambda: syscall.link_update(link.fileno(), new.fileno(), old.fileno()))

    def info(self, fd: Fd) -> LinkInfo:
        return syscall.link_info(fd.fileno())
