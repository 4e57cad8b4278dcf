"""Links and programs on network interfaces: XDP, and traffic control by link.

Beside traffic_control.py, which is about what others have there. Both are parts of kernel.Links.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from reloader.kernel import Fd, XdpMode


class InterfaceLinks(Protocol):
    """What kernel.Links may be asked of an interface. All but has_tcx are lasting effects."""

    def create_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> Fd:
        """bpf_link on an interface's XDP hook; EBUSY when something is attached already."""

    def create_tcx(self, prog: Fd, *, ifindex: int, direction: str, netns: str | None) -> Fd:
        """bpf_link on an interface's traffic control, "ingress" or "egress", behind those that are there already."""

    def has_tcx(self) -> bool:
        """Whether this kernel has such links: since Linux 6.6. Attaches nothing."""

    def take_over_xdp(
        self, prog: Fd, *, theirs: Fd, theirs_mode: XdpMode, ifindex: int, mode: XdpMode, netns: str | None
    ) -> Fd:
        """Take `theirs`, attached by netlink, off the hook (EEXIST unless that very program sits there) and link
        `prog` to it at once. Between the two the hook is bare, for microseconds: the kernel has no swap for this.
        When the link cannot be made, theirs is put back."""

    def give_back_xdp(self, theirs: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> None:
        """Attach by netlink; EBUSY when something is attached."""

    def take_off_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> None:
        """Detach what netlink attached: EEXIST unless that very program sits there."""

    def take_off_filter(self, programs: Collection[int], *, ifindex: int, direction: str, netns: str | None) -> None:
        """Delete the classic bpf filter of preference 1 and handle 1, if it runs one of these programs (ids)."""
