"""Links: a program on a hook. Implements kernel.Links."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeVar

from reloader.bpf import attach_types, extack, netlink, syscall, tc
from reloader.bpf import netns as namespaces
from reloader.bpf.syscall import Command
from reloader.errors import AttachRefused, KernelError, LoadRejected
from reloader.fault_points import lasting
from reloader.kernel import Fd, LinkInfo, LoadHints, XdpMode
from reloader.kernel.traffic_control import Filter, TcxEntry

T = TypeVar("T")
BY_DRIVER = frozenset(
    {errno.ERANGE, errno.EOPNOTSUPP, errno.EINVAL}
)  # of an update: other programs are no matter of it
ON_INTERFACES = frozenset({"xdp", "tcx_ingress", "tcx_egress", "netkit_primary", "netkit_peer"})
NO_DESCRIPTOR = 0xFFFFFFFF  # -1
_MODE_FLAGS = {XdpMode.SKB: 1 << 1, XdpMode.NATIVE: 1 << 2, XdpMode.HW: 1 << 3}  # XDP_FLAGS_*_MODE


class LiveLinks:
    """See kernel.Links."""

    def create(self, prog: Fd, target: Fd | int, attach_type: str, *, flags: int = 0, netns: str | None = None) -> Fd:
        # Held by this descriptor only, it dies with us until it is pinned; but its program runs from here on.
        create = functools.partial(_create, prog, target, attach_type, flags)
        effect = f"link.create {attach_type.partition('_')[0]} {_number(target)}"
        return Fd(lasting(effect, lambda: _or_refused(lambda: namespaces.inside(netns, create))))

    def can_create(self, hints: LoadHints, attach_type: str) -> bool:
        from reloader.bpf import rawprog

        kind, attach = rawprog.ProgType[hints.program_type.upper()], attach_types.ATTACH_TYPES[attach_type]
        nowhere = 0 if attach_type in ON_INTERFACES else NO_DESCRIPTOR
        try:
            prog = rawprog.load(kind, rawprog.returns(1), attach=rawprog.expected(hints))
        except LoadRejected as error:
            if error.errno == errno.EINVAL:
                return False
            raise
        try:  # the target is missing, which a kernel finds only for attach types that it knows
            os.close(syscall.link_create(prog, nowhere, attach))
        except KernelError as error:
            return error.errno != errno.EINVAL
        finally:
            os.close(prog)
        return True

    def programs_at(self, target: Fd, attach_type: str) -> tuple[tuple[int, ...], bool]:
        number = attach_types.ATTACH_TYPES[attach_type]
        found, flags = syscall.prog_query_flags(target.fileno(), number, f"at {attach_type}")
        return tuple(prog for prog, _ in found), bool(flags & syscall.BPF_F_ALLOW_MULTI)

    def detach_program(self, prog: Fd, target: Fd, attach_type: str) -> None:
        number, place = attach_types.ATTACH_TYPES[attach_type], f"at {attach_type}"
        detach = functools.partial(syscall.prog_detach, prog.fileno(), target.fileno(), number, place)
        lasting(f"prog.detach {attach_type}", detach)

    def create_xdp(self, prog: Fd, *, ifindex: int, mode: XdpMode, netns: str | None) -> Fd:
        return self.create(prog, ifindex, "xdp", flags=_MODE_FLAGS[mode], netns=netns)

    def create_tcx(self, prog: Fd, *, ifindex: int, direction: str, netns: str | None) -> Fd:
        return self.create(prog, ifindex, f"tcx_{direction}", netns=netns)

    def has_tcx(self) -> bool:
        return self.can_create(LoadHints(program_type="sched_cls"), "tcx_ingress")

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
            hook = attach_types.ATTACH_TYPES[f"tcx_{direction}"]
            query = functools.partial(syscall.prog_query, ifindex, hook, subject=_on(ifindex), link_ids=True)
            asked = namespaces.ask(netns, query)
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
            return _create(prog, theirs.ifindex, "xdp", _MODE_FLAGS[mode])
        except BaseException:
            netlink.set_xdp(channel, theirs.ifindex, expected, theirs.mode | netlink.XDP_FLAGS_UPDATE_IF_NOEXIST)
            raise


def _create(prog: Fd, target: Fd | int, attach_type: str, flags: int) -> int:
    """In the interface's namespace: that of whoever asks is where the kernel looks an ifindex up."""
    number, place = _number(target), f"at {attach_type}" if isinstance(target, Fd) else _on(target)
    attach = attach_types.ATTACH_TYPES[attach_type]
    create = functools.partial(syscall.link_create, prog.fileno(), number, attach, flags, place)
    try:
        return create()
    except KernelError as error:
        if attach_type != "xdp":
            raise
        # EINVAL has many causes; tell the one that a user can see
        if error.errno == errno.EINVAL and not _exists(number):
            raise KernelError(error.call, errno.ENODEV, place) from error
        return extack.again(create, error)


def _number(target: Fd | int) -> int:
    return target.fileno() if isinstance(target, Fd) else target


def _on(ifindex: int) -> str:
    return f"on interface {ifindex}"


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True
