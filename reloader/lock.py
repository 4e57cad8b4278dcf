"""One writer per host: an flock on the record directory's lock file, and the token that proves it is held.

Imports errors and layout.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from reloader.errors import LockedError, PermissionRefused
from reloader.layout import Layout


@dataclass(frozen=True, slots=True)
class WriterLock:
    """Held by whoever may cause effects; functions that do ask for it."""

    fd: int


@contextmanager
def writer_lock(layout: Layout) -> Iterator[WriterLock]:
    """Take the host's writer lock at once or raise LockedError (exit 75) naming the holder."""
    fd = _open(layout)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise LockedError(
                f"another reloader (pid {holder}) is changing this host", hint="try again when it is done"
            ) from None
        os.ftruncate(fd, 0)
        with suppress(OSError):  # on a full disk the name is missing, but the lock holds
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield WriterLock(fd)
    finally:
        os.close(fd)  # releases the flock, as does the death of the process


def _open(layout: Layout) -> int:
    try:
        layout.records.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise PermissionRefused(
            f"cannot write the record directory {layout.records}", hint="run as root, or pass --records DIR"
        ) from error
