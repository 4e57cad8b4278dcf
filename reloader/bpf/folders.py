"""Pin folders, judged by descriptor: who else could add, exchange or remove what is pinned in them.

A path is walked from the root down, one name at a time. What lies above the bpf filesystem is judged by
pins/own_folders.py. Within the bpf filesystem each folder must belong to root or
to the user who runs this, and others must not write to it. A sticky folder is fine above our own ones: there only an
entry's owner can exchange it, and each entry is judged by its own owner. Symbolic links of other users are not
followed. What is made or pinned goes into the folder whose descriptor was judged, whatever bears its name by then.
Used by pins.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reloader.bpf import libc
from reloader.errors import KernelError
from reloader.fault_points import lasting
from reloader.kernel import WeakFolder

LINKS = 40  # as many as the kernel follows
OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, kw_only=True)
class Walk:
    """How far a path exists; the descriptor belongs to whoever asked for the walk."""

    fd: int  # O_PATH, of the last folder that exists
    here: str  # its path
    missing: list[str]  # the names below it that do not exist
    inside: bool  # whether it lies on a bpf filesystem
    weak: list[WeakFolder] = field(default_factory=list)


@contextlib.contextmanager
def judged(path: str, *, make: bool = False) -> Iterator[int]:
    """An O_PATH descriptor of a pin folder. `make`: missing ones are made, mode 0700.

    KernelError EPERM when other users could change what is pinned there, otherwise as the system gives it.
    """
    found = walk(path)
    try:
        for name in found.missing:
            _require_strong(found)
            if not make:
                raise KernelError("open", errno.ENOENT, path)
            _step_into(found, name)
        _require_strong(found)
        if not stat.S_ISDIR(os.fstat(found.fd).st_mode):
            raise KernelError("mkdir" if make else "open", errno.EEXIST if make else errno.ENOTDIR, path)
        yield found.fd
    finally:
        os.close(found.fd)


def weak_folders(own: str, names: Sequence[str]) -> tuple[WeakFolder, ...]:
    """What is weak on the way to the folder `own`, there, and in its sub-folders `names` with all that is below."""
    found = walk(own)
    try:
        weak = list(found.weak)
        if found.missing or not found.inside:
            return tuple(weak)
        info = os.fstat(found.fd)
        if not _is_mount_root(found.fd, info) and not any(w.path == found.here for w in weak):
            weak += _weakness(info, found.here, sticky=False)
        for name in names:
            weak += _below(found.fd, name, f"{found.here.rstrip('/')}/{name}")
        return tuple(weak)
    finally:
        os.close(found.fd)


def readers(folder: str) -> int:
    """See kernel.Pins."""
    try:
        fd = os.open(folder, _LIST)
    except FileNotFoundError:
        return -1
    try:
        with os.scandir(fd) as entries:
            pins = [os.stat(e.name, dir_fd=fd, follow_symlinks=False) for e in entries]
        found = {info.st_gid if info.st_mode & stat.S_IRGRP else -1 for info in (os.fstat(fd), *pins)}
        found |= {-2 for info in pins if info.st_mode & stat.S_IRWXO}
        return found.pop() if len(found) == 1 else -2
    finally:
        os.close(fd)


def give(at: int, name: str, group: int, mode: int) -> None:
    """Set group and permission bits of what has that name in the folder `at`. It is closed to all but its owner in
    between, lest another group had the new bits for a moment."""
    fd = os.open(name, _PATH, dir_fd=at)
    try:
        own = f"/proc/self/fd/{fd}"
        info, group = os.fstat(fd), os.getegid() if group < 0 else group
        if info.st_gid != group:
            os.chmod(own, stat.S_IMODE(info.st_mode) & 0o700)
            os.chown(own, -1, group)
        os.chmod(own, mode)
    finally:
        os.close(fd)


def walk(path: str) -> Walk:
    """Open as much of a path as exists, and judge what of it lies on a bpf filesystem."""
    todo = os.path.join(os.getcwd(), path).split("/")[::-1]
    at = Walk(fd=os.open("/", _PATH | os.O_DIRECTORY), here="/", missing=[], inside=False)
    device, links = os.fstat(at.fd).st_dev, 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            try:
                fd = os.open(name, _PATH, dir_fd=at.fd)
            except FileNotFoundError:
                at.missing = [n for n in (name, *todo[::-1]) if n not in ("", ".")]
                return at
            info = os.fstat(fd)
            place = os.path.dirname(at.here) if name == ".." else os.path.join(at.here, name)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                try:
                    target = _target(at, fd, info, place, links)
                finally:
                    os.close(fd)
                todo += target.split("/")[::-1]
                if target.startswith("/"):
                    _move(at, os.open("/", _PATH | os.O_DIRECTORY), "/")
                    device, at.inside = os.fstat(at.fd).st_dev, False
                continue
            _move(at, fd, place)
            if info.st_dev != device:
                device, at.inside = info.st_dev, _is_bpffs(fd)
            if at.inside:
                at.weak += _weakness(info, place, sticky=True)
    except BaseException:
        os.close(at.fd)
        raise
    return at


def _move(at: Walk, fd: int, here: str) -> None:
    os.close(at.fd)
    at.fd, at.here = fd, here


def _target(at: Walk, fd: int, info: os.stat_result, place: str, links: int) -> str:
    """Where a symbolic link leads; one of another user on a bpf filesystem leads nowhere."""
    if links > LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place)
    if at.inside and info.st_uid not in _owners():
        at.weak.append(WeakFolder(path=place, kind="link", owner=info.st_uid, mode=stat.S_IMODE(info.st_mode)))
    return os.readlink("", dir_fd=fd)


def _step_into(at: Walk, name: str) -> None:
    """Make a folder if it is still missing, and go on from it, whoever made it."""
    place = os.path.join(at.here, name)

    def make() -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at.fd)

    lasting(f"mkdir {place}", make)
    fd = os.open(name, _PATH | os.O_DIRECTORY, dir_fd=at.fd)
    _move(at, fd, place)
    if at.inside:
        at.weak += _weakness(os.fstat(fd), place, sticky=True)


def _require_strong(found: Walk) -> None:
    if found.weak:
        raise KernelError("pin", errno.EPERM, f"below {found.weak[0].path}, which another user could change")


def _below(at: int, name: str, place: str) -> list[WeakFolder]:
    """What is weak of a folder and of all folders in it."""
    try:
        info = os.stat(name, dir_fd=at, follow_symlinks=False)
        weak = _weakness(info, place, sticky=False)
        if not stat.S_ISDIR(info.st_mode) or info.st_nlink == 2:  # no folders in it
            return weak
        fd = os.open(name, _LIST, dir_fd=at)
    except FileNotFoundError:
        return []
    except PermissionError:  # not ours to list, which was noted
        return weak
    try:
        with os.scandir(fd) as entries:
            inner = [e.name for e in entries if e.is_dir(follow_symlinks=False) or e.is_symlink()]
        for one in sorted(inner):
            weak += _below(fd, one, f"{place}/{one}")
        return weak
    finally:
        os.close(fd)


def _weakness(info: os.stat_result, place: str, *, sticky: bool) -> list[WeakFolder]:
    kind = ""
    if info.st_uid and info.st_uid != os.geteuid():
        kind = "link" if stat.S_ISLNK(info.st_mode) else "owner"
    elif stat.S_ISDIR(info.st_mode) and info.st_mode & OTHERS and not (sticky and info.st_mode & stat.S_ISVTX):
        kind = "writable"
    mode = stat.S_IMODE(info.st_mode)
    return [WeakFolder(path=place, kind=kind, owner=info.st_uid, mode=mode)] if kind else []


def _is_mount_root(fd: int, info: os.stat_result) -> bool:
    return os.stat("..", dir_fd=fd).st_dev != info.st_dev


def _is_bpffs(fd: int) -> bool:
    return libc.filesystem_magic(f"/proc/self/fd/{fd}") == libc.BPF_FS_MAGIC


def _owners() -> tuple[int, int]:
    return 0, os.geteuid()
