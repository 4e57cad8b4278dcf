"""The journal, damaged in every way: a reader gets a true beginning of it, or is told that a human is needed."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reloader.disk import jsonable
from reloader.engine.journal import Journal, JournalLine, read_journal
from reloader.engine.journal import _seal as journal_seal
from reloader.errors import NeedsHuman
from reloader.paths import Paths
from reloader.store.records import open_journals
from tests.support import faults

BEGIN = {"pipeline": "edge", "ops": [{"is": "Barrier"}], "after": [], "wish": None, "note": 'quotes " and ,"crc":"'}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "00000000000000000001-1.jsonl"


def written(path: Path) -> bytes:
    """A transaction's journal from begin to commit, and what is on disk."""
    journal = Journal(path)
    journal.begin(BEGIN)
    journal.intent(0)
    journal.done(0)
    journal.intent(1)
    journal.commit({"generation": None, "current": {"pipeline": "edge"}})
    journal.close()
    return path.read_bytes()


def reread(path: Path, data: bytes) -> list[JournalLine] | None:
    """What a reader makes of these bytes; None when it asks for a human. Any other exception fails the test."""
    path.write_bytes(data)
    try:
        return read_journal(path)
    except NeedsHuman:
        return None


def test_lines_come_back_as_written(path: Path) -> None:
    data = written(path)
    lines = reread(path, data)
    assert lines is not None
    assert [line.kind for line in lines] == ["begin", "intent", "done", "intent", "commit"]
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5]
    assert {k: lines[0].body[k] for k in BEGIN} == BEGIN
    assert lines[3].body["op"] == 1


def test_cut_at_every_byte_leaves_a_true_beginning(path: Path) -> None:
    data = written(path)
    whole = reread(path, data)
    assert whole is not None
    for length in range(len(data)):
        kept = data[:length].count(b"\n") + (data[length : length + 1] == b"\n")  # all of a line but its newline
        assert reread(path, data[:length]) == whole[:kept], length


def test_every_bit_turned_is_noticed(path: Path) -> None:
    """Only the last line's newline may turn into a torn tail; any other damage must not pass as a journal."""
    data = written(path)
    whole = reread(path, data)
    assert whole is not None
    for at in range(len(data)):
        for bit in (0, 3, 7):
            turned = bytearray(data)
            turned[at] ^= 1 << bit
            found = reread(path, bytes(turned))
            assert found is None or (at == len(data) - 1 and found == whole[:-1]), (at, bit)


@given(st.integers(0, 10_000), st.binary(max_size=40), st.booleans())
def test_whatever_is_put_in_never_passes_for_a_line(at: int, noise: bytes, replace: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1.jsonl"
        data = written(path)
        whole = reread(path, data)
        at %= len(data) + 1
        damaged = data[:at] + noise + data[at + (len(noise) if replace else 0) :]
        found = reread(path, damaged)
        assert whole is not None
        assert found is None or found == whole[: len(found)]


def test_lines_of_another_transaction_or_order_are_damage(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)
    assert reread(path, b"".join([lines[0], lines[2]])) is None
    assert reread(path, b"".join([lines[0], lines[0]])) is None
    assert reread(path, b"".join(lines[1:])) is None
    assert reread(path.with_name("00000000000000000002-1.jsonl"), b"".join(lines)) is None


def test_a_line_of_a_later_version_is_no_line_of_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(path)
    faults.inject(monkeypatch, "journal version", 99)
    assert reread(path, data) is None


def test_regress_a_sealed_line_without_its_kind_is_damage(path: Path) -> None:
    """It got past the checksum into a KeyError."""
    text = json.dumps({"v": jsonable.VERSION, "txn": path.stem, "seq": 1}, separators=(",", ":"))
    path.parent.mkdir()
    assert reread(path, journal_seal(text)) is None


def test_writing_goes_on_where_it_stopped(path: Path) -> None:
    written(path)
    journal = Journal(path, seq=5)
    journal.undo(1)
    journal.close()
    assert [line.kind for line in read_journal(path)][-2:] == ["commit", "undo"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_short_write_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A disk, quota or limit that is reached in the middle of a line: the lines before stay readable."""
    import os

    journal = Journal(path)
    journal.begin(BEGIN)
    write, room = os.write, [7]

    def full_at_last(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(number, os.strerror(number))
        return write(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", full_at_last)
    with pytest.raises(OSError, match=r"Errno") as failed:
        journal.intent(0)
    assert failed.value.errno == number
    monkeypatch.undo()
    journal.undo(0)
    journal.close()
    assert [line.kind for line in read_journal(path)] == ["begin", "undo"]


def test_damage_is_told_with_its_place(path: Path) -> None:
    data = written(path)
    path.write_bytes(data.replace(b'"kind":"done"', b'"kind":"gone"'))
    with pytest.raises(NeedsHuman, match=f"{path}:3: the journal is damaged"):
        read_journal(path)


def test_an_ended_transaction_leaves_no_journal(path: Path) -> None:
    written(path)
    assert path.exists()
    Journal(path, seq=5).end()
    assert not path.exists()


def test_open_journals_are_found(tmp_path: Path) -> None:
    paths = Paths(records=tmp_path)
    assert open_journals(paths, "edge") == []
    paths.journals_dir("edge").mkdir(parents=True)
    written(found := paths.journal_file("edge", "1"))
    assert open_journals(paths, "edge") == [found]
