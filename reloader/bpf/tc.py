"""Classic traffic control filters over rtnetlink: listed, and one of them deleted or made again.

Used by links.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from reloader.bpf import netlink
from reloader.errors import KernelError
from reloader.kernel.traffic_control import Filter

RTM_NEWQDISC, RTM_GETQDISC = 36, 38
INGRESS = 0xFFFFFFF1  # TC_H_INGRESS, TC_H_CLSACT
TCA_CHAIN = 11
TCA_BPF_CLASSID = 3
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_FLAGS_GEN = 6, 7, 8, 9
DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT
SETTABLE = 1 << 0 | 1 << 1  # TCA_CLS_FLAGS_SKIP_HW, _SKIP_SW; others are what the kernel tells
KNOWN = frozenset({
    TCA_BPF_CLASSID, 4, 5, TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_FLAGS_GEN, 10, netlink.TCA_BPF_ID,
})  # fmt: skip
BLOCK = 0xFFFFFFFF  # TCM_IFINDEX_MAGIC_BLOCK: the filter belongs to a block that interfaces share


def filters(channel: socket.socket, ifindex: int, direction: str) -> Iterator[Filter]:
    """By preference. Without a qdisc for them there are none."""
    body = struct.pack("=B3xiIII", 0, ifindex, 0, netlink.CLSACT[direction], 0)
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    channel.send(struct.pack("=IHHII", 16 + len(body), netlink.RTM_GETTFILTER, flags, 1, 0) + body)
    while True:
        for kind, payload in netlink.messages(channel.recv(netlink.BUFFER)):
            if kind == netlink.NLMSG_DONE:
                return
            if kind == netlink.NLMSG_ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                if code in (errno.EINVAL, errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    return
                raise KernelError("RTM_GETTFILTER", code, f"on interface {ifindex}")
            found = _filter(payload) if kind == netlink.RTM_NEWTFILTER else None
            if found is not None:
                yield found


def _filter(payload: bytes) -> Filter | None:
    """struct tcmsg and its attributes; None for a line that stands for a preference, not for a filter."""
    _, ifindex, handle, _, info = struct.unpack_from("=B3xIIII", payload)
    attrs = netlink.attrs(payload[20:])
    kind = attrs.get(netlink.TCA_KIND, b"").rstrip(b"\0").decode("utf-8", "replace")
    options = netlink.attrs(attrs.get(netlink.TCA_OPTIONS, b""))
    table = kind == "u32" and not handle & 0xFFF  # of the filters, that the kernel lists among them
    if not handle or table or netlink.TCA_OPTIONS not in attrs:
        return None
    bpf = options if kind == "bpf" else {}
    number, flags = (netlink.u32(bpf.get(key, bytes(4))) for key in (netlink.TCA_BPF_ID, TCA_BPF_FLAGS))
    exact = bool(number) and flags == DIRECT_ACTION and ifindex != BLOCK and bpf.keys() <= KNOWN
    return Filter(
        kind=kind,
        pref=info >> 16,
        handle=handle,
        chain=netlink.u32(attrs.get(TCA_CHAIN, bytes(4))),
        protocol=socket.ntohs(info & 0xFFFF),
        prog_id=number,
        name=os.fsdecode(bpf.get(TCA_BPF_NAME, b"").rstrip(b"\0")),
        flags=flags,
        flags_gen=netlink.u32(bpf.get(TCA_BPF_FLAGS_GEN, bytes(4))),
        classid=netlink.u32(bpf.get(TCA_BPF_CLASSID, bytes(4))),
        exact=exact,
    )


def _body(ifindex: int, direction: str, found: Filter) -> bytes:
    info = found.pref << 16 | socket.htons(found.protocol)
    head = struct.pack("=B3xiIII", 0, ifindex, found.handle, netlink.CLSACT[direction], info)
    return head + netlink.attr(netlink.TCA_KIND, found.kind.encode() + b"\0") + _chain(found)


def _chain(found: Filter) -> bytes:
    return netlink.attr(TCA_CHAIN, struct.pack("=I", found.chain)) if found.chain else b""


def remove(channel: socket.socket, ifindex: int, direction: str, found: Filter) -> None:
    """Looked at first: the kernel deletes by the place alone, whoever sits there."""
    there = [f for f in filters(channel, ifindex, direction) if _place(f) == _place(found)]
    if not there:
        raise KernelError("RTM_DELTFILTER", errno.ENOENT, f"pref {found.pref} handle {found.handle:#x}")
    if there[0].prog_id != found.prog_id:
        raise KernelError("RTM_DELTFILTER", errno.EEXIST, f"pref {found.pref} handle {found.handle:#x}")
    subject = f"RTM_DELTFILTER pref {found.pref} handle {found.handle:#x}"
    netlink.ask(channel, netlink.RTM_DELTFILTER, _body(ifindex, direction, found), subject)


def restore(channel: socket.socket, ifindex: int, direction: str, found: Filter, prog: int) -> None:
    """With the preference, protocol, chain, handle, name and flags it had."""
    options = netlink.attr(TCA_BPF_FD, struct.pack("=I", prog))
    options += netlink.attr(TCA_BPF_NAME, os.fsencode(found.name) + b"\0")
    options += netlink.attr(TCA_BPF_FLAGS, struct.pack("=I", found.flags))
    options += netlink.attr(TCA_BPF_FLAGS_GEN, struct.pack("=I", found.flags_gen & SETTABLE))
    options += netlink.attr(TCA_BPF_CLASSID, struct.pack("=I", found.classid)) if found.classid else b""
    body = _body(ifindex, direction, found) + netlink.attr(netlink.TCA_OPTIONS | netlink.NLA_F_NESTED, options)
    subject = f"RTM_NEWTFILTER pref {found.pref} handle {found.handle:#x}"
    try:
        netlink.ask(channel, netlink.RTM_NEWTFILTER, body, subject, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)
    except KernelError as error:
        if error.errno != errno.EINVAL or _has_qdisc(channel, ifindex):
            raise  # otherwise its qdisc was deleted since, and the filter with it


def _has_qdisc(channel: socket.socket, ifindex: int) -> bool:
    """Whether the interface has clsact or ingress."""
    body = struct.pack("=B3xiIII", 0, ifindex, 0, INGRESS, 0)
    channel.send(struct.pack("=IHHII", 16 + len(body), RTM_GETQDISC, netlink.NLM_F_REQUEST, 1, 0) + body)
    return any(kind == RTM_NEWQDISC for kind, _ in netlink.messages(channel.recv(netlink.BUFFER)))


def _place(found: Filter) -> tuple[str, int, int, int, int]:
    return found.kind, found.pref, found.handle, found.chain, found.protocol
