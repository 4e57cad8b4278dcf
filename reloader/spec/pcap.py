"""Frames of a capture file, one behind the other: classic pcap and pcapng, read as a stream, bounded.

Used by tests.py for `packet: {pcap: FILE}`. Imports nothing of the package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

ETHERNET = 1  # LINKTYPE_ETHERNET
MOST = 1 << 18  # bytes of a frame; more is damage
_CLASSIC = {  # the first four bytes -> byte order
    b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">",
}  # fmt: skip
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6  # pcapng blocks
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}


class PcapProblem(ValueError):
    """The file is no capture that can be used; the message says why."""


def frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Every whole frame; PcapProblem where the file is damaged, cut off, or not of Ethernet."""
    magic = _exactly(stream, 4, "its header")
    if magic in _CLASSIC:
        yield from _classic(stream, _CLASSIC[magic])
    elif magic == _SECTION.to_bytes(4, "big"):
        yield from _next_generation(stream)
    else:
        raise PcapProblem("is neither pcap nor pcapng")


def _exactly(stream: IO[bytes], size: int, what: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise PcapProblem(f"is cut off in {what}: {size} bytes are due, {len(data)} there")
    return data


def _ethernet(link: int) -> None:
    if link != ETHERNET:
        raise PcapProblem(f"holds frames of link type {link}, not Ethernet ({ETHERNET})")


def _whole(number: int, length: int, wire: int) -> None:
    if length > MOST:
        raise PcapProblem(f"frame {number} claims {length} bytes")
    if length < wire:
        raise PcapProblem(f"frame {number} was captured in part: {length} of {wire} bytes")


def _classic(stream: IO[bytes], order: str) -> Iterator[bytes]:
    head = _exactly(stream, 20, "its header")
    _ethernet(struct.unpack_from(f"{order}I", head, 16)[0] & 0xFFFF)
    number = 0
    while record := stream.read(16):
        number += 1
        if len(record) < 16:
            raise PcapProblem(f"is cut off in the header of frame {number}")
        _, _, length, wire = struct.unpack(f"{order}4I", record)
        _whole(number, length, wire)
        yield _exactly(stream, length, f"frame {number}")


def _next_generation(stream: IO[bytes]) -> Iterator[bytes]:
    order, number = "<", 0
    links: list[int] = []
    kind, head = _SECTION, _exactly(stream, 4, "its header")
    while True:
        if kind == _SECTION:
            magic = _exactly(stream, 4, "its header")
            if magic not in _ORDERS:
                raise PcapProblem("is no pcapng: its byte order is not marked")
            order, links = _ORDERS[magic], []
            _skip(stream, struct.unpack(f"{order}I", head)[0], 12)
        else:
            body = _block(stream, struct.unpack(f"{order}I", head)[0])
            if kind == _INTERFACE:
                links.append(struct.unpack_from(f"{order}H", body)[0])
            elif kind in (_SIMPLE, _ENHANCED):
                number += 1
                yield _packet(order, kind, body, number, links)
        following = stream.read(8)
        if not following:
            return
        if len(following) < 8:
            raise PcapProblem("is cut off between two blocks")
        kind, head = struct.unpack(f"{order}I", following[:4])[0], following[4:]


def _block(stream: IO[bytes], total: int) -> bytes:
    if not 12 <= total <= MOST or total % 4:
        raise PcapProblem(f"a block claims {total} bytes")
    return _exactly(stream, total - 8, "a block")[:-4]


def _skip(stream: IO[bytes], total: int, done: int) -> None:
    if not 28 <= total <= MOST or total % 4:
        raise PcapProblem(f"its first block claims {total} bytes")
    _exactly(stream, total - done, "its header")


def _packet(order: str, kind: int, body: bytes, number: int, links: list[int]) -> bytes:
    try:
        if kind == _SIMPLE:
            wire = struct.unpack_from(f"{order}I", body)[0]
            link, length, at = links[0], wire, 4
        else:
            interface, _, _, length, wire = struct.unpack_from(f"{order}5I", body)
            link, at = links[interface], 20
    except (struct.error, IndexError) as error:
        raise PcapProblem(f"frame {number} belongs to no interface, or its block is too short") from error
    _ethernet(link)
    _whole(number, length, wire)
    if len(body) < at + length:
        raise PcapProblem(f"frame {number} is longer than its block")
    return body[at : at + length]
