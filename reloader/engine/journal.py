"""The journal: one JSON Lines file per transaction, intent before effect, a checksum per line.

An open transaction is a file in <records>/pipelines/<pipeline>/journal/; ending one removes it. The
`begin` line holds the whole plan and is on disk before the first effect, so it is the intent of every op;
`intent` and `done` lines tell how far it came. Only `begin` and `commit` are fsynced: kernel objects do
not outlive the power, and a line written before a SIGKILL stays in the page cache.

A torn tail (no newline) is dropped; a damaged line is NeedsHuman (exit 4), and so is one of another version of the
format.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

from reloader.disk.atomic_files import UnfitFile, make_folders, open_to_write, read_regular
from reloader.disk.jsonable import VERSION
from reloader.engine import texts
from reloader.errors import NeedsHuman, OtherVersion
from reloader.fault_points import lasting
from reloader.frozen import frozen

MOST = 1 << 30  # bytes of one journal


@frozen
class JournalLine:
    seq: int
    kind: str  # begin, intent, done, undo, commit
    body: dict[str, Any]


class Journal:
    """An open transaction's journal, being written."""

    def __init__(self, path: Path, seq: int = 0) -> None:
        self.path = path
        self._seq = seq
        self.last = ""  # kind of the last line that was written whole, synced or not
        make_folders(path.parent)
        self._fd = lasting("journal.open", lambda: open_to_write(path, os.O_APPEND))

    def begin(self, body: dict[str, Any]) -> None:
        """The whole plan, durable before anything is done."""
        lasting("journal.begin", lambda: self._append("begin", body, sync=True))

    def intent(self, index: int) -> None:
        self._append("intent", {"op": index})

    def done(self, index: int) -> None:
        self._append("done", {"op": index})

    def undo(self, index: int) -> None:
        self._append("undo", {"op": index})

    def commit(self, body: dict[str, Any]) -> None:
        """The point of no return: what comes after is carried forward, not back."""
        lasting("journal.commit", lambda: self._append("commit", body, sync=True))

    def end(self) -> None:
        """The transaction is over and leaves nothing behind: remove the file."""
        self.close()
        lasting("journal.end", lambda: self.path.unlink(missing_ok=True))

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _append(self, kind: str, body: dict[str, Any], *, sync: bool = False) -> None:
        record = {"v": VERSION, "txn": self.path.stem, "seq": self._seq + 1, "kind": kind, **body}
        line = _seal(json.dumps(record, separators=(",", ":"), sort_keys=True))
        self._write(line)
        self._seq += 1
        self.last = kind
        if sync:
            os.fsync(self._fd)
            self._sync_folder()

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:  # take the torn half away, lest a later line makes it look damaged
            if written:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(self.path)) from error

    def _sync_folder(self) -> None:
        fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def read_journal(path: Path) -> list[JournalLine]:
    """The good lines; a torn tail is dropped. NeedsHuman when a whole line is damaged, or it is no regular file."""
    try:
        return journal_lines(read_regular(path, MOST), path)
    except UnfitFile as error:
        message = texts.JOURNAL_DAMAGED(path=path, why=error.strerror)
        raise NeedsHuman(message, reason=error.reason, values=error.values) from error


def journal_lines(data: bytes, path: Path) -> list[JournalLine]:
    """The same from the bytes of the journal at `path`. Pure."""
    raw = data.split(b"\n")
    lines: list[JournalLine] = []
    for number, text in enumerate(raw, 1):
        line = _parse(text, len(lines) + 1, path)
        if line is not None:
            lines.append(line)
        elif number < len(raw):  # it ends in a newline, so it was written whole and damaged later
            raise NeedsHuman(texts.JOURNAL_LINE_DAMAGED(path=path, line=number))
        else:
            break
    return lines


def _seal(text: str) -> bytes:
    """A JSON object's text with a checksum of itself as its last member."""
    return f'{text[:-1]},"crc":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def _parse(text: bytes, seq: int, path: Path) -> JournalLine | None:
    body = text.rpartition(b',"crc":"')[0]
    try:
        if text != _seal(body.decode() + "}").rstrip(b"\n"):
            return None
        record = json.loads(text)
        if record["txn"] != path.stem or record["seq"] != seq:
            return None
        if record["v"] != VERSION:
            found = int(record["v"])
            message = texts.JOURNAL_VERSION(path=path, found=found, wanted=VERSION)
            raise OtherVersion(message, is_later=found > VERSION)
        return JournalLine(seq=record["seq"], kind=record["kind"], body=record)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
