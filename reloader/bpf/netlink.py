"""rtnetlink over a socket: one interface by name, and a stream of link changes.

A socket belongs to the namespace it was made in, wherever it is used. Used by net.py and by the
follower of interfaces.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from reloader.errors import KernelError
from reloader.kernel import XdpMode

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
NLM_F_DUMP = 0x300
NETLINK_SOCK_DIAG, SOCK_DESTROY = 4, 21
RTMGRP_LINK = 1
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_STATS64, IFLA_EXT_MASK, IFLA_XDP = 3, 4, 18, 23, 29, 43
IFLA_INFO_KIND = 1
IFLA_XDP_ATTACHED, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID, IFLA_XDP_HW_PROG_ID = 2, 5, 6, 7
IFLA_XDP_FD, IFLA_XDP_FLAGS, IFLA_XDP_EXPECTED_FD = 1, 3, 8
XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_FLAGS_REPLACE = 1 << 0, 1 << 4
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
TCA_KIND, TCA_OPTIONS, TCA_BPF_ID = 1, 2, 11
CLSACT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # TC_H_CLSACT and where: the parent of a filter there
FILTER_PREF, FILTER_HANDLE, ETH_P_ALL = 1, 1, 3  # as places/interface/tcx.py's script makes it
NLA_F_NESTED = 1 << 15
RTEXT_FILTER_SKIP_STATS = 1 << 3
IFNAMSIZ = 16
SIOCGIFINDEX = 0x8933  # include/uapi/linux/sockios.h; of struct ifreq, 40 bytes
NLA_TYPE_MASK = 0x3FFF
BUFFER = 1 << 16

STATISTICS = (  # struct rtnl_link_stats64, in its order; newer kernels have more behind
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
    "multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors",
    "rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors",
    "tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler",
    "rx_otherhost_dropped",
)  # fmt: skip

_MODES = (  # the kernel takes one of the first two, and one in hardware beside it; ours is never that one
    (IFLA_XDP_DRV_PROG_ID, XdpMode.NATIVE),
    (IFLA_XDP_SKB_PROG_ID, XdpMode.SKB),
    (IFLA_XDP_HW_PROG_ID, XdpMode.HW),
)


class Link(NamedTuple):
    """What RTM_NEWLINK says of an interface."""

    name: str
    ifindex: int
    mtu: int
    xdp_prog_id: int
    xdp_mode: XdpMode | None
    xdp_beside: tuple[tuple[XdpMode, int], ...] = ()  # (mode, program id) of the others on that hook


class LinkEvent(NamedTuple):
    """An interface that appeared or changed, or went; `resync`: some were lost, look at everything again."""

    kind: Literal["new", "gone", "resync"]
    ifindex: int = 0
    name: str = ""


def open_socket(groups: int = 0) -> socket.socket:
    """A bound rtnetlink socket in the caller's network namespace."""
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    found.bind((0, groups))
    return found


def link_by_name(channel: socket.socket, name: str) -> Link | None:
    """The interface of that name in the socket's namespace."""
    found = _ask(channel, name, attr(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS)))
    return None if found is None else _link(found)


def statistics(channel: socket.socket, name: str) -> dict[str, int] | None:
    """What the kernel counts of an interface; None when there is none of that name."""
    found = _ask(channel, name, b"")
    if found is None:
        return None
    data = attrs(found[16:]).get(IFLA_STATS64, b"")
    numbers = struct.unpack(f"={len(data) // 8}Q", data[: len(data) // 8 * 8])
    return dict(zip(STATISTICS, numbers, strict=False))


def _ask(channel: socket.socket, name: str, more: bytes) -> bytes | None:
    """The payload of RTM_NEWLINK for a name."""
    if not 0 < len(os.fsencode(name)) < IFNAMSIZ:
        return None
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attr(IFLA_IFNAME, os.fsencode(name) + b"\0") + more
    channel.send(struct.pack("=IHHII", 16 + len(body), RTM_GETLINK, NLM_F_REQUEST, 1, 0) + body)
    for kind, payload in messages(channel.recv(BUFFER)):
        if kind == NLMSG_ERROR:
            code = -struct.unpack_from("=i", payload)[0]
            if code == errno.ENODEV:
                return None
            raise KernelError("RTM_GETLINK", code, name)
        if kind == RTM_NEWLINK:
            return payload
    raise KernelError("RTM_GETLINK", errno.EBADMSG, name)


def all_links(channel: socket.socket) -> Iterator[Link]:
    """Every interface of the socket's namespace."""
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attr(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
    channel.send(struct.pack("=IHHII", 16 + len(body), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    while True:
        for kind, payload in messages(channel.recv(BUFFER)):
            if kind == NLMSG_ERROR:
                raise KernelError("RTM_GETLINK", -struct.unpack_from("=i", payload)[0])
            if kind == NLMSG_DONE:
                return
            yield _link(payload)


def index_by_name(channel: socket.socket, name: str) -> int:
    """The ifindex alone, for a twentieth of what link_by_name costs; 0: no such interface."""
    wanted = os.fsencode(name)
    if not 0 < len(wanted) < IFNAMSIZ:
        return 0
    try:
        answer = fcntl.ioctl(channel, SIOCGIFINDEX, wanted.ljust(40, b"\0"))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise KernelError("SIOCGIFINDEX", error.errno or errno.EIO, name) from error
    return int(struct.unpack_from("=i", answer, IFNAMSIZ)[0])


def new_link(channel: socket.socket, kind: str) -> None:
    """An interface of that kind, named by the kernel, in the socket's namespace."""
    info = attr(IFLA_LINKINFO, attr(IFLA_INFO_KIND, kind.encode()))
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + info
    ask(channel, RTM_NEWLINK, body, f"RTM_NEWLINK {kind}", NLM_F_CREATE | NLM_F_EXCL)


def ask(channel: socket.socket, kind: int, body: bytes, subject: str, flags: int = 0) -> None:
    """Have one request carried out; KernelError with what the kernel answered."""
    flags |= NLM_F_REQUEST | NLM_F_ACK
    channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    for answer, payload in messages(channel.recv(BUFFER)):
        if answer == NLMSG_ERROR and (code := -struct.unpack_from("=i", payload)[0]):
            raise KernelError(subject, code)


def set_xdp(channel: socket.socket, ifindex: int, fd: int, flags: int, *, expected: int = -1) -> None:
    """RTM_SETLINK of the XDP program; fd -1 takes it off. With XDP_FLAGS_REPLACE only if `expected` sits there."""
    nested = attr(IFLA_XDP_FD, struct.pack("=i", fd)) + attr(IFLA_XDP_FLAGS, struct.pack("=I", flags))
    if expected >= 0:
        nested += attr(IFLA_XDP_EXPECTED_FD, struct.pack("=i", expected))
    body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + attr(IFLA_XDP | NLA_F_NESTED, nested)
    ask(channel, RTM_SETLINK, body, f"xdp on interface {ifindex}")


def drop_filter(channel: socket.socket, ifindex: int, direction: str, programs: Collection[int]) -> None:
    """The classic bpf filter of preference 1 and handle 1, if it runs one of these programs."""
    info = FILTER_PREF << 16 | socket.htons(ETH_P_ALL)
    body = struct.pack("=B3xiIII", 0, ifindex, FILTER_HANDLE, CLSACT[direction], info) + attr(TCA_KIND, b"bpf\0")
    if _filter_program(channel, body) in programs:
        ask(channel, RTM_DELTFILTER, body, f"tc filter on interface {ifindex}")


def _filter_program(channel: socket.socket, body: bytes) -> int:
    """The id of the program that a filter runs; 0: there is no such filter, or no place for one."""
    channel.send(struct.pack("=IHHII", 16 + len(body), RTM_GETTFILTER, NLM_F_REQUEST, 1, 0) + body)
    for kind, payload in messages(channel.recv(BUFFER)):
        if kind == RTM_NEWTFILTER:
            options = attrs(attrs(payload[20:]).get(TCA_OPTIONS, b""))
            return u32(options.get(TCA_BPF_ID, bytes(4)))
        code = -struct.unpack_from("=i", payload)[0] if kind == NLMSG_ERROR else 0
        if code not in (0, errno.ENOENT, errno.EINVAL):
            raise KernelError("RTM_GETTFILTER", code)
    return 0


class LinkEvents:
    """Link changes in the namespace of the caller, or of a given socket bound to RTMGRP_LINK."""

    def __init__(self, channel: socket.socket | None = None) -> None:
        self._channel = channel or open_socket(RTMGRP_LINK)
        self._channel.setblocking(False)

    def __enter__(self) -> LinkEvents:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def fileno(self) -> int:
        """For poll(2): readable when read() has something to say."""
        return self._channel.fileno()

    def read(self) -> list[LinkEvent]:
        """All that happened since the last call; does not wait."""
        found: list[LinkEvent] = []
        while True:
            try:
                found += _events(self._channel.recv(BUFFER))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("recv", error.errno or errno.EIO, "rtnetlink") from error
                found.append(LinkEvent(kind="resync"))


def _events(datagram: bytes) -> Iterator[LinkEvent]:
    for kind, payload in messages(datagram):
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            link = _link(payload)
            yield LinkEvent(kind="new" if kind == RTM_NEWLINK else "gone", ifindex=link.ifindex, name=link.name)


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, at)
        if length < 16:
            return
        yield kind, datagram[at + 16 : at + length]
        at += (length + 3) & ~3


def attrs(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attr(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _link(payload: bytes) -> Link:
    """struct ifinfomsg and its attributes."""
    found = attrs(payload[16:])
    programs = _xdp(attrs(found.get(IFLA_XDP, b"")))
    mode, prog_id = programs[0] if programs else (None, 0)
    return Link(
        name=os.fsdecode(found.get(IFLA_IFNAME, b"").rstrip(b"\0")),
        ifindex=struct.unpack_from("=i", payload, 4)[0],
        mtu=u32(found.get(IFLA_MTU, bytes(4))),
        xdp_prog_id=prog_id,
        xdp_mode=mode,
        xdp_beside=tuple(programs[1:]),
    )


def _xdp(found: dict[int, bytes]) -> list[tuple[XdpMode, int]]:
    """(mode, program id) of each program in a nested IFLA_XDP; the kernel lists the ids by mode in any case."""
    return [(mode, u32(found[key])) for key, mode in _MODES if key in found]


def u32(data: bytes) -> int:
    return int(struct.unpack_from("=I", data)[0])
