"""Pins: names in bpffs that keep programs, maps and links alive. Implements kernel.Pins.

Pinning and making folders go by the descriptors of judged folders (folders.py). Every OSError leaves as a KernelError.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from reloader.bpf import folders, libc, syscall
from reloader.errors import KernelError
from reloader.fault_points import lasting
from reloader.kernel import Fd, WeakFolder


class LivePins:
    """See kernel.Pins."""

    def is_bpffs(self, path: str) -> bool:
        while path not in ("", "/") and not self.exists(path):  # one that may not be looked at is an error
            path = os.path.dirname(path)
        with _named("statfs", path):
            return libc.filesystem_magic(path or ".") == libc.BPF_FS_MAGIC

    def pin(self, fd: Fd, path: str) -> None:
        folder, name = os.path.split(path)
        with _named("pin", path), folders.judged(folder) as at:
            lasting(f"pin {path}", lambda: syscall.obj_pin(fd.fileno(), f"/proc/self/fd/{at}/{name}", path))

    def get(self, path: str) -> Fd:
        return Fd(syscall.obj_get(path))

    def exists(self, path: str) -> bool:
        with _named("lstat", path):
            try:
                os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def listdir(self, path: str) -> list[str]:
        with _named("listdir", path):
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []

    def readers(self, folder: str) -> int:
        with _named("stat", folder):
            return folders.readers(folder)

    def give(self, path: str, group: int, mode: int) -> None:
        above, name = os.path.split(path)
        try:
            with _named("chmod", path), folders.judged(above) as at:
                lasting(f"give {path}", lambda: folders.give(at, name, group, mode))
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise

    def unpin(self, path: str) -> None:
        with _named("unlink", path), contextlib.suppress(FileNotFoundError):
            lasting(f"unpin {path}", lambda: os.unlink(path))

    def rename(self, old: str, new: str) -> None:
        with _named("rename", f"{old} to {new}"):
            lasting(f"rename {new}", lambda: os.rename(old, new))

    def mkdir(self, path: str) -> None:
        with _named("mkdir", path), folders.judged(path, make=True):
            pass

    def weak_folders(self, own: str, names: Sequence[str] = ()) -> tuple[WeakFolder, ...]:
        with _named("open", own):
            return folders.weak_folders(own, names)

    def rmdir(self, path: str) -> None:
        with _named("rmdir", path), contextlib.suppress(FileNotFoundError):
            lasting(f"rmdir {path}", lambda: os.rmdir(path))


@contextlib.contextmanager
def _named(call: str, subject: str) -> Iterator[None]:
    """An OSError of the block, as a KernelError that names the call."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(call, error.errno or errno.EIO, subject) from error
