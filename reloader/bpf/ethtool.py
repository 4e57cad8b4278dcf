"""A driver's own counters, as `ethtool -S` shows them: SIOCETHTOOL on any socket of the interface's namespace.

Used by net.py.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterable

from reloader.errors import KernelError

SIOCETHTOOL = 0x8946  # include/uapi/linux/sockios.h
ETHTOOL_GSTRINGS, ETHTOOL_GSTATS, ETHTOOL_GSSET_INFO = 0x1B, 0x1D, 0x37  # include/uapi/linux/ethtool.h
ETH_SS_STATS = 1
NAME = 32  # bytes of a name
NONE_THERE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV})

_QUEUE = re.compile(r"(?:[rt]x|queue|ch)?_?(?:queue)?_?\d+_")  # rx_queue_0_xdp_drops, rx3_xdp_drop, queue_1_drops


def statistics(channel: socket.socket, interface: str) -> dict[str, int]:
    """By name, and what is kept for each queue also summed up under the rest of its name; empty: it counts nothing."""
    try:
        info = _ask(channel, interface, struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0))
        count = struct.unpack_from("=I", info, 16)[0] if struct.unpack_from("=Q", info, 8)[0] else 0
        if not count:
            return {}
        names = _ask(
            channel, interface, struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_STATS, count) + bytes(NAME * count)
        )
        values = _ask(channel, interface, struct.pack("=II", ETHTOOL_GSTATS, count) + bytes(8 * count))
    except KernelError as error:
        if error.errno in NONE_THERE:
            return {}
        raise
    texts = [
        names[12 + NAME * i : 12 + NAME * (i + 1)].partition(b"\0")[0].decode(errors="replace") for i in range(count)
    ]
    return _with_sums(zip(texts, struct.unpack_from(f"={count}Q", values, 8), strict=True))


def _with_sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found, sums = dict(pairs), dict[str, int]()
    for name, value in found.items():
        queue = _QUEUE.match(name)
        if queue:
            rest = name[queue.end() :]
            sums[rest] = sums.get(rest, 0) + value
    return {**sums, **found}


def _ask(channel: socket.socket, interface: str, command: bytes) -> bytes:
    """One command of struct ethtool_*, answered in place."""
    buffer = ctypes.create_string_buffer(command, len(command))
    request = struct.pack("=16sQ16x", os.fsencode(interface), ctypes.addressof(buffer))  # struct ifreq
    try:
        fcntl.ioctl(channel, SIOCETHTOOL, request)
    except OSError as error:
        raise KernelError("SIOCETHTOOL", error.errno or errno.EIO, interface) from error
    return buffer.raw
