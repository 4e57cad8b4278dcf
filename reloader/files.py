"""Writing a file so that a reader, or a crash, finds the old contents or the new ones and nothing between.

Used by spec/cache.py, records.py, the journal and the object store. A leaf: imports only effects.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path

from reloader.effects import lasting


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


def store_blob(path: Path, data: bytes) -> None:
    """Keep `data` under a name made from its digest; what is there with the right size already is left alone."""
    try:
        if path.stat().st_size == len(data):
            return
    except FileNotFoundError:
        pass
    write_atomic(path, data)


def sync_dir(path: Path) -> None:
    """Make renames, creations and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes, mode: int, *, durable: bool) -> None:
    temporary = path.parent / f".{path.name[:80]}.{os.urandom(6).hex()}.tmp"
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
