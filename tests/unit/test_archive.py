"""State files: read as written; cut off or turned anywhere, they are refused and never misread."""

from __future__ import annotations

import io

import pytest

from reloader.layouts import archive
from reloader.layouts.archive import Damaged, Exported, Piece
from tests.plans.build import U32, U64


def one(name: str = "flows", cpus: int = 1) -> Exported:
    return Exported(
        pipeline="edge", map=name, type=1, key_size=4, value_size=8, max_entries=100, map_flags=0, cpus=cpus,
        key=U32, value=U64, created="2026-01-01T00:00:00+00:00", generation=3,
    )  # fmt: skip


def written() -> bytes:
    out = io.BytesIO()
    writer = archive.Writer(out)
    writer.begin(one())
    writer.put(b"aaaabbbb", b"11111111" + b"22222222")
    writer.put(b"cccc", b"33333333")
    assert writer.end() == 3
    writer.begin(one("counters", cpus=2))
    writer.put(b"dddd", bytes(16))
    assert writer.end() == 1
    writer.close()
    return out.getvalue()


def read(data: bytes) -> list[tuple[Exported, list[Piece]]]:
    return [(found, list(pieces)) for found, pieces in archive.read(io.BytesIO(data))]


def test_what_was_written_is_read() -> None:
    assert read(written()) == [
        (one(), [(b"aaaabbbb", b"1111111122222222"), (b"cccc", b"33333333")]),
        (one("counters", cpus=2), [(b"dddd", bytes(16))]),
    ]


def test_cut_off_anywhere() -> None:
    data = written()
    for length in range(len(data)):
        with pytest.raises(Damaged):
            read(data[:length])


def test_turned_anywhere() -> None:
    data = written()
    for at in range(len(data)):
        with pytest.raises(Damaged):
            read(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
