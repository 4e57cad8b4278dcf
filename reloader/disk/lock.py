"""One writer per host: a lock on the record directory, a lock on the bpf filesystem, and the token that proves both.

Both are flocks of files that other users cannot open, so other users cannot hold them. The lock file of a bpf
filesystem has its device number in its name and lies in /run/reloader. Two record directories on one bpf filesystem
exclude each other by it, over whichever paths they come. A user who is not root has it in the own runtime directory
and locks the own pin folder as well, so that a service without such a directory excludes a login session.

Lock files stay where they are: one for each device number, in memory until the next boot. One that is deleted or
replaced while it is held lets no second writer in, see `_require_sole`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reloader.disk import texts
from reloader.disk.atomic_files import make_folders
from reloader.disk.record_folder import require_own_contents
from reloader.disk.trust import open_trusted_folder, require_ours
from reloader.errors import LIMITS, LockedError, PermissionRefused, ReloaderError
from reloader.frozen import frozen
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.wording.message import Message

PAUSE, LONGEST_PAUSE = 0.01, 0.5  # s between two tries for a lock that is held
TRIES = 100  # to open a lock file that is replaced each time
MOST = 4096  # bytes of a lock file that are looked at
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class WriterLock:
    """The held lock itself; `Writer` is what functions ask for."""

    fd: int


@frozen
class Writer:
    """A host and its held lock. A function that causes effects takes one."""

    host: Host
    lock: WriterLock

    def __post_init__(self) -> None:
        assert self.lock.fd >= 0

    @property
    def kernel(self) -> Kernel:
        return self.host.kernel

    @property
    def paths(self) -> Paths:
        return self.host.paths


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a lock protects."""

    mark: str  # its identity, the second line of the lock file
    records: str  # the record directory of this process, the third line
    words: Message  # continues "another reloader (pid 7) holds the lock of"


@contextmanager
def writer_lock(paths: Paths) -> Iterator[WriterLock]:
    """Take the host's writer lock at once.

    Errors: LockedError (exit 75) with the holder's process id; PermissionRefused (77) when a lock file or its folder
    is not ours.
    """
    with ExitStack() as held:
        fd = _lock_records(held, paths)
        _lock_bpffs(held, paths)
        yield WriterLock(fd)  # closing releases the locks, as does the death of the process


@contextmanager
def writer_of(host: Host) -> Iterator[Writer]:
    """Take the writer lock of a host at once. Errors: those of `writer_lock`."""
    with writer_lock(host.paths) as lock:
        yield Writer(host=host, lock=lock)


@contextmanager
def wait_for_lock(host: Host, patience: float = float("inf")) -> Iterator[Writer]:
    """Take the writer lock of a host as soon as it is free. Errors: LockedError when that takes longer than `patience`
    (s), and the others of `writer_lock`."""
    end, pause = time.monotonic() + patience, PAUSE
    with ExitStack() as held:
        while True:
            try:
                writer = held.enter_context(writer_of(host))
                break
            except LockedError:
                if time.monotonic() >= end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        yield writer


def run_dir_error(paths: Paths) -> ReloaderError | None:
    """Why the folder of the lock files cannot be used; None when it can, or is still to be made. Changes nothing."""
    for path in paths.run_dirs(os.geteuid(), os.environ.get("XDG_RUNTIME_DIR", "")):
        if not os.path.lexists(path):
            continue
        try:
            os.close(_own_folder(path))
        except ReloaderError as error:
            return error
    return None


def _lock_records(held: ExitStack, paths: Paths) -> int:
    path = str(paths.records)
    try:
        if not paths.records.is_dir():  # judged before it is made, lest a link of another user leads elsewhere
            nearest = next(p for p in paths.records.absolute().parents if p.exists())
            require_ours([str(nearest)], what=texts.RECORD_DIRECTORY())
        make_folders(paths.records)
        folder = open_trusted_folder(path, what=texts.RECORD_DIRECTORY())
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise PermissionRefused(texts.RECORDS_NOT_WRITABLE(path=path)) from error
    held.callback(os.close, folder)
    info = os.fstat(folder)
    subject = _Subject(f"records {info.st_dev}:{info.st_ino}", path, texts.RECORDS_SUBJECT(path=path))
    fd = _take(held, folder, str(paths.lock_file), subject, {os.geteuid(), info.st_uid})
    require_own_contents(folder, path)
    return fd


def _lock_bpffs(held: ExitStack, paths: Paths) -> None:
    """The pins below one device number have one writer."""
    root = _existing(paths.bpffs)
    info = os.stat(root)
    device, user = info.st_dev, os.geteuid()
    if root == "/" or (user and _filesystem(device) != "bpf"):
        return  # not on a bpf filesystem, which is told soon enough
    subject = _Subject(f"bpffs {device}", str(paths.records), texts.BPFFS_SUBJECT(path=paths.bpffs))
    if user == 0:
        path = paths.run_dirs(0)[0]
        _take_below(held, _made_run_dir(path), paths.bpffs_lock(path, device), subject)
        return
    if info.st_uid != user:
        raise PermissionRefused(texts.BPFFS_NOT_OURS(path=root, owner=info.st_uid, user=user))
    runtime = _runtime_dir(paths, user)
    if runtime:
        _take_below(held, _made_run_dir(runtime), paths.bpffs_lock(runtime, device), subject)
    _lock_pin_folder(held, paths, subject, needed=not runtime)


def _lock_pin_folder(held: ExitStack, paths: Paths, subject: _Subject, *, needed: bool) -> None:
    """The user's own pin folder, if others cannot open it. `needed`: it is the only lock."""
    make_folders(Path(paths.bpffs))
    fd = os.open(paths.bpffs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, fd)
    info = os.fstat(fd)
    if info.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        if needed:
            mode = f"{stat.S_IMODE(info.st_mode):04o}"
            raise PermissionRefused(texts.NO_PRIVATE_LOCK(path=paths.bpffs, mode=mode, user=os.geteuid()))
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _locked(subject, paths.bpffs, _holder(fd)) from None
    if not _same(os.stat(paths.bpffs), info):  # `remove` of another process took the empty folder away
        raise _locked(subject, paths.bpffs, 0)


def _runtime_dir(paths: Paths, user: int) -> str:
    """The folder for lock files below this user's own runtime directory; empty when the user has none."""
    if paths.run_dir:
        return paths.run_dir
    for path in paths.run_dirs(user, os.environ.get("XDG_RUNTIME_DIR", "")):
        with suppress(OSError):
            info = os.lstat(os.path.dirname(path))
            if stat.S_ISDIR(info.st_mode) and info.st_uid == user and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return path
    return ""


def _take_below(held: ExitStack, folder: int, path: str, subject: _Subject) -> None:
    held.callback(os.close, folder)
    _take(held, folder, path, subject, {os.geteuid()})


# one lock file


def _take(held: ExitStack, folder: int, path: str, subject: _Subject, owners: set[int]) -> int:
    """Lock the file `path`, whose judged folder is open. `owners`: user ids that the file may belong to."""
    name = os.path.basename(path)
    for _ in range(TRIES):
        fd = _open(folder, path, owners)
        with ExitStack() as opened:
            opened.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _locked(subject, path, _holder(fd)) from None
            _sign(fd, subject)  # before the look at others, who do the same: of two, one sees the other
            with suppress(FileNotFoundError):
                if _same(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(fd)):
                    _require_sole(fd, path, subject)
                    held.push(opened.pop_all())
                    return fd
    raise _locked(subject, path, 0)


def _open(folder: int, path: str, owners: set[int]) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(os.path.basename(path), flags, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_ours(path, texts.LOCK_NOT_REGULAR()) from error
        if error.errno == errno.EROFS:
            message = texts.LOCK_FOLDER_READ_ONLY(path=path, folder=os.path.dirname(path), why=error.strerror)
            raise PermissionRefused(message) from error
        if error.errno in REFUSED:
            raise _not_ours(path, texts.CANNOT_BE_OPENED(why=error.strerror)) from error
        raise
    info = os.fstat(fd)
    why = texts.LOCK_NOT_REGULAR() if not stat.S_ISREG(info.st_mode) else None
    if why is None and info.st_uid not in owners:
        why = texts.OWNER(owner=info.st_uid)
    if why is not None:
        os.close(fd)
        raise _not_ours(path, why)
    if info.st_mode & OTHERS:
        with suppress(PermissionError):  # not the owner, who made it so
            os.fchmod(fd, 0o600)
    return fd


def _not_ours(path: str, why: Message) -> PermissionRefused:
    return PermissionRefused(texts.LOCK_FILE_NOT_OURS(path=path, why=why))


def _sign(fd: int, subject: _Subject) -> None:
    """Who holds it, and of what: a full disk leaves that out, but the lock holds."""
    text = f"{os.getpid()}\n{subject.mark}\n{subject.records}\n".encode(errors="surrogateescape")[:MOST]
    with suppress(OSError):
        os.pwrite(fd, text, 0)
        if os.fstat(fd).st_size > len(text):  # to truncate a file takes longer than all else here
            os.ftruncate(fd, len(text))


def _require_sole(fd: int, path: str, subject: _Subject) -> None:
    """LockedError while a live process holds a lock of the same subject by a file that has lost this name."""
    own = os.fstat(fd)
    for (device, inode), pid in _flocks().items():
        if device == own.st_dev and inode != own.st_ino and _signed(pid, device, inode) == subject.mark:
            raise _locked(subject, path, pid)


def _signed(pid: int, device: int, inode: int) -> str:
    """The subject of a lock file that a process has open, whatever name it has; empty when it is none."""
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{number}"
            info = os.stat(link)
            if (info.st_dev, info.st_ino) == (device, inode) and stat.S_ISREG(info.st_mode):
                with open(link, "rb") as file:
                    lines = file.read(MOST).decode(errors="replace").split("\n")
                return lines[1] if len(lines) > 1 else ""
    except OSError:  # it ended, or is another user's
        pass
    return ""


def _flocks() -> dict[tuple[int, int], int]:
    """(device, inode) → process id, of all exclusive flocks that are held, as far as this process may see them."""
    found = {}
    with suppress(OSError, ValueError), open("/proc/locks") as file:
        for line in file:
            words = line.split()  # 12: FLOCK ADVISORY WRITE 1234 00:1a:5678 0 EOF; a waiter has -> behind its number
            if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"]:
                major, minor, inode = words[5].split(":")
                found[os.makedev(int(major, 16), int(minor, 16)), int(inode)] = int(words[4])
    return found


def _holder(fd: int) -> int:
    """The process that holds the lock of this file; 0 when that is not known."""
    info = os.fstat(fd)
    known = _flocks().get((info.st_dev, info.st_ino), 0)
    if known > 0 or not stat.S_ISREG(info.st_mode):
        return max(known, 0)
    text = os.pread(fd, 32, 0).decode(errors="replace").partition("\n")[0].strip()
    return int(text) if text.isascii() and text.isdecimal() else 0


def _locked(subject: _Subject, path: str, pid: int) -> LockedError:
    hint = texts.SHOW_HOLDER(pid=pid) if pid else ""
    message = texts.LOCKED_BY(holder=pid or "unknown", what=subject.words, hint=hint)
    values = {"pid": pid, "lock": path, "subject": subject.mark.partition(" ")[0]}
    return LockedError(message, values=values)


# folders


def _made_run_dir(path: str) -> int:
    """The folder of the lock files, open; made if it is missing."""
    if not path.startswith("/"):
        raise _no_run_dir(path, texts.RELATIVE_PATH())
    try:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)  # not counted as a lasting effect: it says nothing of any pipeline
    except OSError as error:
        if error.errno in LIMITS:
            raise
        raise _no_run_dir(path, texts.CANNOT_BE_CREATED(why=error.strerror)) from error
    return _own_folder(path)


def _own_folder(path: str) -> int:
    """A folder of this very user that other users cannot change; they lose their access to it."""
    user = os.geteuid()
    try:
        fd = open_trusted_folder(path, what=texts.LOCK_FILES())
    except OSError as error:
        if error.errno in LIMITS:
            raise
        raise _no_run_dir(path, texts.CANNOT_BE_OPENED(why=error.strerror)) from error
    info = os.fstat(fd)
    if info.st_uid != user:
        os.close(fd)
        raise _no_run_dir(path, texts.BELONGS_TO_OTHER(owner=info.st_uid, user=user))
    if info.st_mode & OTHERS:
        with suppress(OSError):
            os.fchmod(fd, 0o700)
    return fd


def _no_run_dir(path: str, why: Message) -> PermissionRefused:
    return PermissionRefused(texts.RUN_DIR_NOT_OURS(path=path, why=why, user=os.geteuid()))


def _existing(path: str) -> str:
    """The nearest parent that exists and may be looked at; without symbolic links."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _filesystem(device: int) -> str:
    """The type of the filesystem with that device number, as mountinfo names it."""
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    with open("/proc/self/mountinfo", "rb") as file:  # a path may hold any byte, but neither space nor newline
        for line in file:
            left, _, right = line.partition(b" - ")
            if left.split(b" ")[2] == number:
                return right.split(b" ")[0].decode()
    return ""


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
