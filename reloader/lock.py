"""One writer per host: an flock on the record directory's lock file and one on the bpf filesystem's root, and the
token that proves they are held.

Imports errors, files, layout and trust.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from reloader.errors import LockedError, PermissionRefused
from reloader.files import make_folders
from reloader.layout import Layout
from reloader.trust import require_ours

LATER = "try again when it is done"


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
            raise LockedError(f"another reloader (pid {holder}) is changing this host", hint=LATER) from None
        os.ftruncate(fd, 0)
        with suppress(OSError):  # on a full disk the name is missing, but the lock holds
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        with _pins_locked(layout):
            yield WriterLock(fd)
    finally:
        os.close(fd)  # releases the flock, as does the death of the process


@contextmanager
def _pins_locked(layout: Layout) -> Iterator[None]:
    """The same for the bpf filesystem: two record directories may share one, and with it their attachments."""
    root = _mount_of(layout.bpffs)
    if root == "/":  # no bpf filesystem is mounted there, which is told soon enough
        yield
        return
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionRefused(f"{root}: no permission", hint="run as root, or pass --bpffs DIR") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = f"another reloader, with other records than {layout.records}, is changing the pins below {root}"
            raise LockedError(why, hint=LATER) from None
        yield
    finally:
        os.close(fd)


def _mount_of(path: str) -> str:
    """The root of the file system that holds `path` or its nearest existing parent; it outlives our own folders."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _open(layout: Layout) -> int:
    try:
        make_folders(layout.records)
        require_ours([str(layout.records)], what="the record directory")
        return os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise PermissionRefused(
            f"cannot write the record directory {layout.records}", hint="run as root, or pass --records DIR"
        ) from error
