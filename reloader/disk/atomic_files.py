"""Files of every sort: read only when they are regular, bounded; written so that a reader, or a crash, finds the old
contents or the new ones and nothing between.

Used by pipeline/, store/ and the journal.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from functools import partial
from pathlib import Path
from typing import IO

from reloader.disk import texts
from reloader.fault_points import lasting
from reloader.paths import fragment_of
from reloader.wording.message import Message

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
PIECE = 1 << 20  # bytes asked of the kernel at once
_TYPES = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character-device",
    stat.S_IFBLK: "block-device",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic-link",
    stat.S_IFREG: "regular-file",
}


class UnfitFile(OSError):
    """A file that is not read. `reason` is the code of `why`; `values` what it is about, as errors carry them."""

    def __init__(self, number: int, why: Message, path: str, values: dict[str, object]) -> None:
        super().__init__(number, why, path)
        self.reason = why.code
        self.values = values


def not_regular(path: str | Path, info: os.stat_result) -> UnfitFile:
    """The error for a FIFO, socket, device or folder where a file should be."""
    kind = file_type(info)
    why = texts.NOT_A_REGULAR_FILE(type=kind.replace("-", " "))
    return UnfitFile(errno.EINVAL, why, str(path), {"path": str(path), "type": kind})


def file_type(info: os.stat_result) -> str:
    """The type of a file as a stable word: `fifo`, `socket`, `character-device`, `directory`, …"""
    return _TYPES.get(stat.S_IFMT(info.st_mode), "unknown")


def open_regular(path: str | Path) -> int:
    """A descriptor to read a regular file; UnfitFile for anything else, without waiting for it or waking a device."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return open_again(handle, path)
    finally:
        os.close(handle)


def open_again(handle: int, path: str | Path) -> int:
    """The file behind an O_PATH descriptor, open for reading: the very file, whatever bears its name by now.

    UnfitFile unless it is a regular file; OSError as the system gives it. `path` is for messages only.
    """
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        raise not_regular(path, info)
    try:
        return os.open(f"/proc/self/fd/{handle}", READ)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def open_to_write(path: str | Path, flags: int = 0) -> int:
    """A descriptor to write a file of ours, which is made if it is missing; UnfitFile when it is not regular.

    Neither waits for the reader of a FIFO nor follows a symbolic link.
    """
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP, errno.EISDIR):  # a FIFO without a reader, a socket, a link
            raise not_regular(path, os.lstat(path)) from error
        raise
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise not_regular(path, info)
    return fd


def remove_file(path: Path) -> None:
    """Remove what stands in a file's place, if anything does; UnfitFile for a folder."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        raise not_regular(path, path.lstat()) from None


def read_bounded(fd: int, most: int, path: str | Path) -> bytes:
    """All that a descriptor gives from here on; UnfitFile when that is more than `most` bytes.

    Sizes are not believed: a file may be sparse, may grow, and those of /proc have none.
    """
    pieces, size = list[bytes](), 0
    while piece := os.read(fd, min(PIECE, most + 1 - size)):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            limit = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most} bytes"
            why = texts.TOO_LARGE(limit=limit)
            raise UnfitFile(errno.EFBIG, why, str(path), {"path": str(path), "limit": most})
    return b"".join(pieces)


class Inputs:
    """How a command opens the files that it is given; trust.Judge also judges what leads to them."""

    def open(self, path: str | Path) -> int:
        """A descriptor to read a regular file; UnfitFile when it is none, OSError as the system gives it."""
        return open_regular(path)

    def open_folder(self, path: str | Path) -> int:
        """A descriptor to list a folder."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read(self, path: str | Path, most: int) -> bytes:
        """A file's bytes; UnfitFile when it is not regular or holds more than `most` bytes."""
        fd = self.open(path)
        try:
            return read_bounded(fd, most, path)
        finally:
            os.close(fd)

    def stream(self, path: str | Path) -> IO[bytes]:
        """A file to be read piece by piece."""
        raw = _Raw(self.open(path), "rb")
        raw.path = str(path)
        return io.BufferedReader(raw, PIECE)

    def names(self, path: str | Path) -> list[str]:
        """What a folder holds, sorted."""
        fd = self.open_folder(path)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)


PLAIN = Inputs()


def read_regular(path: str | Path, most: int) -> bytes:
    """A regular file's bytes; UnfitFile when it is none or holds more than `most`."""
    return PLAIN.read(path, most)


class _Raw(io.FileIO):
    """Errors name the file. Where a file of the kernel has nothing to read yet, that is one, and no silent `None`."""

    path = ""

    def readinto(self, buffer: object) -> int:
        try:
            size = super().readinto(buffer)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EINVAL):  # a bad disk, a file of the kernel
                raise OSError(error.errno, error.strerror, self.path) from None
            raise self._unreadable(error.errno) from None
        if size is None:
            raise self._unreadable(errno.EAGAIN)
        return size

    def _unreadable(self, number: int) -> UnfitFile:
        why = texts.UNREADABLE(why=os.strerror(number).lower())
        return UnfitFile(number, why, self.path, {"path": self.path, "errno": number})


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `data`: write beside it, fsync, rename, fsync the directory. OSError as the system gives it.

    Missing parents are made, mode 0700. Any failure, a full disk too, leaves the old file and no fragment. Not
    `durable`: without fsync, for what a reader checks and can do without.
    """
    make_folders(path.parent)
    lasting(f"write {path.parent.name}/{path.name}", lambda: _replace(path, data, mode, durable=durable))


def make_folders(path: Path) -> None:
    """A directory and its missing parents, mode 0700; existing ones are fine."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        lasting(f"mkdir {folder.parent.name}/{folder.name}", partial(folder.mkdir, mode=0o700, exist_ok=True))


def listing(folder: Path, suffix: str = "") -> list[Path]:
    """Return the paths in a folder whose names end in `suffix`, sorted; a folder that does not exist has none.

    OSError for one that cannot be read: Path.glob takes it for empty, and what it holds would be taken for unneeded.
    """
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return []


def sync_dir(path: Path) -> None:
    """Make renames, creations and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes, mode: int, *, durable: bool) -> None:
    temporary = fragment_of(path, os.urandom(6).hex())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(fd, mode)
            _write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except IsADirectoryError:
        os.unlink(temporary)
        raise not_regular(path, os.lstat(path)) from None
    except BaseException as error:  # also on KeyboardInterrupt: nobody else will ever find the fragment
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    if durable:
        sync_dir(path.parent)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
