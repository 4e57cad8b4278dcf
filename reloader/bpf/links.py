"""Links: a program on a hook. Implements kernel.Links."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeVar

from reloader.bpf import extack, netlink, syscall, tc
from reloader.bpf import netns as namespaces
from reloader.bpf.syscall import Command
from reloader.errors import AttachRefused, KernelError
from reloader.fault_points import lasting
from reloader.kernel import Fd, LinkInfo, XdpMode
from reloader.kernel.traffic_control import Filter, TcxEntry

T = TypeVar("T")
BY_DRIVER = frozenset(
    {errno.ERANGE, errno.EOPNOTSUPP, errno.EINVAL}
)  # of an update: other programs are no matter of it
_TCX = {"ingress": syscall.BPF_TCX_INGRESS, "egress": syscall.BPF_TCX_EGRESS}
_MODE_FLAGS = {XdpMode.SKB: 1 << 1, XdpMode.NATIVE: 1 << 2, XdpMode.HW: 1 << 3}  # XDP_FLAGS_*_MODE


class LiveLinks:
    """See kernel.Links."""

    def create_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> Fd:
        # Held by this descriptor only, it dies with us until it is pinned; but packets meet it from here on.
        create = functools.partial(_create_xdp, prog, ifindex, mode)
        return Fd(lasting(f"link.create xdp {ifindex}", lambda: _or_refused(lambda: namespaces.inside(netns, create))))

    def create_tcx(self, prog: Fd, *, ifindex: int, direction: str, netns: str | None) -> Fd:
        create = functools.partial(_create_tcx, prog, ifindex, _TCX[direction])
        return Fd(lasting(f"link.create tcx {ifindex}", lambda: _or_refused(lambda: namespaces.inside(netns, create))))

    def has_tcx(self) -> bool:
        from reloader.bpf import rawprog

        prog = rawprog.load(rawprog.ProgType.SCHED_CLS, rawprog.returns(-1))
        try:  # no interface has this index, which a kernel looks up only for attach types that it knows
            syscall.link_create(prog, 0, syscall.BPF_TCX_INGRESS)
        except KernelError as error:
            return error.errno != errno.EINVAL
        finally:
            os.close(prog)
        return True

    def update(self, link: Fd, *, new: Fd, old: Fd) -> None:
        update = functools.partial(syscall.link_update, link.fileno(), new.fileno(), old.fileno())
        lasting("link.update", lambda: _or_refused(update, BY_DRIVER))

    def take_over_xdp(
        self, prog: Fd, *, theirs: Fd, theirs_mode: XdpMode, ifindex: int, mode: XdpMode, netns: str | None
    ) -> Fd:
        their_place = _Place(ifindex, theirs, _MODE_FLAGS[theirs_mode])
        take = functools.partial(_take_over, prog, mode, their_place)
        return Fd(lasting(f"link.take_over xdp {ifindex}", lambda: _or_refused(lambda: namespaces.inside(netns, take))))

    def give_back_xdp(self, theirs: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> None:
        flags = _MODE_FLAGS[mode] | netlink.XDP_FLAGS_UPDATE_IF_NOEXIST
        attach = functools.partial(netlink.set_xdp, ifindex=ifindex, fd=theirs.fileno(), flags=flags)
        lasting(f"xdp.give_back {ifindex}", lambda: _by_netlink(netns, attach))

    def take_off_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> None:
        flags = _MODE_FLAGS[mode] | netlink.XDP_FLAGS_REPLACE
        detach = functools.partial(netlink.set_xdp, ifindex=ifindex, fd=-1, flags=flags, expected=prog.fileno())
        lasting(f"xdp.take_off {ifindex}", lambda: _by_netlink(netns, detach))

    def take_off_filter(self, programs: Collection[int], *, ifindex: int, direction: str, netns: str | None) -> None:
        drop = functools.partial(netlink.drop_filter, ifindex=ifindex, direction=direction, programs=programs)
        lasting(f"tc.take_off {ifindex}", lambda: _by_netlink(netns, drop))

    def tcx_entries(self, *, ifindex: int, direction: str, netns: str | None) -> tuple[TcxEntry, ...]:
        with contextlib.suppress(KernelError):  # no such hook, or no permission to look
            asked = namespaces.ask(netns, lambda: syscall.prog_query(ifindex, _TCX[direction]))
            return tuple(TcxEntry(prog_id=prog, link_id=link) for prog, link in asked)
        return ()

    def filters(self, *, ifindex: int, direction: str, netns: str | None) -> tuple[Filter, ...]:
        found: list[Filter] = []
        _by_netlink(netns, lambda channel: found.extend(tc.filters(channel, ifindex, direction)))
        return tuple(found)

    def remove_filter(self, found: Filter, *, ifindex: int, direction: str, netns: str | None) -> None:
        remove = functools.partial(tc.remove, ifindex=ifindex, direction=direction, found=found)
        lasting(f"tc.remove {ifindex}", lambda: _by_netlink(netns, remove))

    def restore_filter(self, found: Filter, prog: Fd, *, ifindex: int, direction: str, netns: str | None) -> None:
        fd = prog.fileno()
        restore = functools.partial(tc.restore, ifindex=ifindex, direction=direction, found=found, prog=fd)
        lasting(f"tc.restore {ifindex}", lambda: _by_netlink(netns, restore))

    def detach(self, link: Fd) -> None:
        lasting("link.detach", lambda: syscall.link_detach(link.fileno()))

    def all(self) -> Iterator[LinkInfo]:
        number = 0
        while found := syscall.next_id(Command.BPF_LINK_GET_NEXT_ID, number):
            number = found
            with contextlib.suppress(KernelError), Fd(syscall.fd_by_id(Command.BPF_LINK_GET_FD_BY_ID, number)) as fd:
                yield self.info(fd)

    def info(self, fd: Fd) -> LinkInfo:
        return syscall.link_info(fd.fileno())


def _or_refused(attempt: Callable[[], T], errnos: Collection[int] = ()) -> T:
    """AttachRefused where the kernel refuses the link; with `errnos` for these alone."""
    try:
        return attempt()
    except KernelError as error:
        if error.call not in ("BPF_LINK_CREATE", "BPF_LINK_UPDATE") or (errnos and error.errno not in errnos):
            raise
        raise AttachRefused(error.call, error.errno or 0, error.subject, said=error.said) from error


def _by_netlink(netns: str | None, request: Callable[[socket.socket], None]) -> None:
    """On a socket of that namespace: whose it is, is decided where it is made."""

    def channel() -> int:
        return netlink.open_socket().detach()

    with socket.socket(fileno=namespaces.inside(netns, channel)) as opened:
        request(opened)


class _Place(NamedTuple):
    """Somebody else's program on a hook, attached by netlink."""

    ifindex: int
    prog: Fd
    mode: int  # XDP_FLAGS_*_MODE


def _take_over(prog: Fd, mode: XdpMode, theirs: _Place) -> int:
    with netlink.open_socket() as channel:
        expected = theirs.prog.fileno()
        netlink.set_xdp(channel, theirs.ifindex, -1, theirs.mode | netlink.XDP_FLAGS_REPLACE, expected=expected)
        try:
            return _create_xdp(prog, theirs.ifindex, mode)
        except BaseException:
            netlink.set_xdp(channel, theirs.ifindex, expected, theirs.mode | netlink.XDP_FLAGS_UPDATE_IF_NOEXIST)
            raise


def _create_xdp(prog: Fd, ifindex: int, mode: XdpMode) -> int:
    """In the interface's namespace: that of whoever asks is where the kernel looks the ifindex up."""
    subject = f"on interface {ifindex}"
    create = functools.partial(syscall.link_create, prog.fileno(), ifindex, syscall.BPF_XDP, _MODE_FLAGS[mode], subject)
    try:
        return create()
    except KernelError as error:
        # EINVAL has many causes; tell the one that a user can see
        if error.errno == errno.EINVAL and not _exists(ifindex):
            raise KernelError(error.call, errno.ENODEV, subject) from error
        return extack.again(create, error)


def _create_tcx(prog: Fd, ifindex: int, attach_type: int) -> int:
    return syscall.link_create(prog.fileno(), ifindex, attach_type, 0, f"on interface {ifindex}")


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True
