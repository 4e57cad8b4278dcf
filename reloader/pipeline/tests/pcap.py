"""Frames of a capture file, one behind the other: classic pcap and pcapng, read as a stream, bounded.

Used by pipeline/tests/cases_from_yaml.py for `packet: {pcap: FILE}`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from reloader.pipeline.tests import texts
from reloader.wording.message import Message

ETHERNET = 1  # LINKTYPE_ETHERNET
MOST = 1 << 18  # bytes of a frame; more is damage
_CLASSIC = {  # the first four bytes -> byte order
    b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">",
}  # fmt: skip
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6  # pcapng blocks
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}


class PcapProblem(ValueError):
    """The file is not a capture that can be used; the message says why."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Every whole frame; PcapProblem where the file is damaged, cut off, or not of Ethernet."""
    magic = _exactly(stream, 4, "the header of the file")
    if magic in _CLASSIC:
        yield from _classic(stream, _CLASSIC[magic])
    elif magic == _SECTION.to_bytes(4, "big"):
        yield from _next_generation(stream)
    else:
        raise PcapProblem(texts.NOT_A_CAPTURE())


def _exactly(stream: IO[bytes], size: int, part: str) -> bytes:
    """The next bytes, which are all of `part`, or all that is left of it."""
    return _whole_part(stream.read(size), size, part)


def _whole_part(data: bytes, size: int, part: str) -> bytes:
    if len(data) < size:
        raise PcapProblem(texts.CAPTURE_CUT_OFF(part=part, wanted=size, found=len(data)))
    return data


def _ethernet(link: int) -> None:
    if link != ETHERNET:
        raise PcapProblem(texts.LINK_TYPE(link=link, ethernet=ETHERNET))


def _whole(number: int, length: int, wire: int) -> None:
    if length > MOST:
        raise PcapProblem(texts.FRAME_TOO_LONG(frame=number, length=length, limit=MOST))
    if length < wire:
        raise PcapProblem(texts.FRAME_IN_PART(frame=number, length=length, wire=wire))


def _classic(stream: IO[bytes], order: str) -> Iterator[bytes]:
    head = _exactly(stream, 20, "the header of the file")
    _ethernet(struct.unpack_from(f"{order}I", head, 16)[0] & 0xFFFF)
    number = 0
    while record := stream.read(16):
        number += 1
        record = _whole_part(record, 16, f"the header of frame {number}")
        _, _, length, wire = struct.unpack(f"{order}4I", record)
        _whole(number, length, wire)
        yield _exactly(stream, length, f"frame {number}")


def _next_generation(stream: IO[bytes]) -> Iterator[bytes]:
    order, number = "<", 0
    links: list[int] = []
    kind, head = _SECTION, _exactly(stream, 4, "the header of the file")
    while True:
        if kind == _SECTION:
            magic = _exactly(stream, 4, "the header of the file")
            if magic not in _ORDERS:
                raise PcapProblem(texts.BYTE_ORDER_UNMARKED())
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
        _whole_part(following, 8, "the header of a block")
        kind, head = struct.unpack(f"{order}I", following[:4])[0], following[4:]


def _block(stream: IO[bytes], total: int) -> bytes:
    if not 12 <= total <= MOST or total % 4:
        raise PcapProblem(texts.BLOCK_LENGTH(length=total))
    return _exactly(stream, total - 8, "a block")[:-4]


def _skip(stream: IO[bytes], total: int, done: int) -> None:
    if not 28 <= total <= MOST or total % 4:
        raise PcapProblem(texts.BLOCK_LENGTH(length=total))
    _exactly(stream, total - done, "the header of the file")


def _packet(order: str, kind: int, body: bytes, number: int, links: list[int]) -> bytes:
    try:
        if kind == _SIMPLE:
            wire = struct.unpack_from(f"{order}I", body)[0]
            link, length, at = links[0], wire, 4
        else:
            interface, _, _, length, wire = struct.unpack_from(f"{order}5I", body)
            link, at = links[interface], 20
    except (struct.error, IndexError) as error:
        raise PcapProblem(texts.FRAME_WITHOUT_INTERFACE(frame=number)) from error
    _ethernet(link)
    _whole(number, length, wire)
    if len(body) < at + length:
        raise PcapProblem(texts.FRAME_BEYOND_BLOCK(frame=number))
    return body[at : at + length]
