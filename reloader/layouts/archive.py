"""State in a file, between `state export` and `state import`: framed, checksummed, read and written piece by piece.

    reloader state 1\\n
    H {…}     a map: its shape, its layout, the versions known of it
    E …       entries: keys one behind the other, then values; of a per-CPU map every possible CPU's
    T {…}     how many there were
    Z {…}     the end, and how many maps there were

A frame is its letter, a length and a CRC-32 (both u32, little endian), and so many bytes. A file that was cut off
lacks its Z.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any

from reloader.disk import jsonable
from reloader.frozen import frozen
from reloader.layouts import texts
from reloader.layouts.rules import LayoutVersion
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message

MAGIC = b"reloader state 1\n"
HEAD = struct.Struct("<cII")
LARGEST = 1 << 28  # bytes of one frame; a larger one is damage
PIECE = 1 << 20  # bytes of entries that a writer puts into one frame, or one bucket's


class Damaged(ValueError):
    """The file is not what `state export` wrote."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


@frozen
class Exported:
    """One map in a file."""

    pipeline: str
    map: str
    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    cpus: int  # values in each entry; 1: no per-CPU map
    key: TypeTree | None
    value: TypeTree | None
    created: str  # UTC, ISO 8601
    generation: int
    versions: tuple[LayoutVersion, ...] = ()  # the registry's history, up to this layout; empty: none is recorded

    @property
    def stored(self) -> int:
        """Bytes of one value in the file."""
        return self.value_size if self.cpus == 1 else (self.value_size + 7) // 8 * 8 * self.cpus


Piece = tuple[bytes, bytes]  # keys, values


class Writer:
    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._entries = self._maps = 0
        self._size = 1
        out.write(MAGIC)

    def begin(self, one: Exported) -> None:
        self._entries, self._size = 0, one.key_size
        self._frame(b"H", json.dumps(jsonable.to_json(one), separators=(",", ":")).encode())

    def put(self, keys: bytes, values: bytes) -> None:
        self._entries += len(keys) // self._size
        self._frame(b"E", keys + values)

    def end(self) -> int:
        """The map is complete; how many entries it had."""
        self._maps += 1
        self._frame(b"T", json.dumps({"entries": self._entries}).encode())
        return self._entries

    def close(self) -> None:
        self._frame(b"Z", json.dumps({"maps": self._maps}).encode())

    def _frame(self, kind: bytes, data: bytes) -> None:
        self._out.write(HEAD.pack(kind, len(data), zlib.crc32(data)))
        self._out.write(data)


def read(file: IO[bytes]) -> Iterator[tuple[Exported, Iterator[Piece]]]:
    """Each map, with its pieces, which are to be used up before the next one. Damaged where the file is."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Damaged(texts.NOT_AN_ARCHIVE())
    maps = 0
    while (frame := _frame(file)) is not None:
        kind, data = frame
        if kind == b"Z":
            if _json(data) != {"maps": maps} or file.read(1):
                raise Damaged(texts.MAPS_MISCOUNTED(maps=maps))
            return
        if kind != b"H":
            raise Damaged(texts.ENTRIES_MISPLACED(offset=file.tell()))
        one = _header(data)
        yield one, _pieces(file, one)
        maps += 1
    raise Damaged(texts.ARCHIVE_CUT_OFF(maps=maps))


def _header(data: bytes) -> Exported:
    try:
        one: Exported = jsonable.from_json(Exported, _json(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(texts.ARCHIVE_VERSION(error=error)) from error
    if min(one.key_size, one.value_size, one.cpus) < 1:
        raise Damaged(texts.SIZES_IMPOSSIBLE(map=one.map))
    return one


def _pieces(file: IO[bytes], one: Exported) -> Iterator[Piece]:
    found, size = 0, one.key_size + one.stored
    while (frame := _frame(file)) is not None:
        kind, data = frame
        if kind == b"T":
            _check_count(one, data, found)
            return
        if kind != b"E" or len(data) % size:
            raise Damaged(texts.FRAME_NOT_ENTRIES(map=one.map, offset=file.tell()))
        count = len(data) // size
        found += count
        yield data[: count * one.key_size], data[count * one.key_size :]
    raise Damaged(texts.ENTRIES_CUT_OFF(map=one.map, entries=found))


def _check_count(one: Exported, data: bytes, found: int) -> None:
    told = _json(data)
    if told != {"entries": found}:
        wanted = told.get("entries") if isinstance(told, dict) else told
        raise Damaged(texts.ENTRIES_MISCOUNTED(map=one.map, found=found, wanted=wanted))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(texts.FRAME_NOT_JSON(error=error)) from error


def _frame(file: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The next frame; None at the end of the file."""
    at = file.tell()
    head = file.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size:
        raise Damaged(texts.FRAME_CUT_OFF(offset=at))
    kind, length, crc = HEAD.unpack(head)
    data = file.read(length) if length <= LARGEST else b""
    if len(data) != length:
        raise Damaged(texts.FRAME_CUT_OFF_OR_DAMAGED(offset=at))
    if zlib.crc32(data) != crc:
        raise Damaged(texts.FRAME_DAMAGED(offset=at))
    return kind, data
