"""Who else could change a file that decides what runs in the kernel: whoever can is as good as root.

A file is opened by a walk of our own, from the root down, one name at a time. Every folder and symbolic link on the
way and the file itself are judged by the descriptor that the walk goes on from, and what is read is the descriptor
that was judged: names may be exchanged at any moment and change nothing. The owner may be root, the user who runs
this or the one who called sudo, and nobody else may write. Below a sticky folder each entry is judged by its own
owner. What vanishes during the walk is an error.

Used by pipeline/ for all that a pipeline is made from, by lock.py for the record directory, whose objects are loaded
again at a rollback, and for the file that names commands.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from reloader.disk import texts
from reloader.disk.atomic_files import Inputs, file_type, not_regular, open_again
from reloader.errors import LIMITS, PermissionRefused
from reloader.frozen import frozen
from reloader.wording.message import Message

LINKS = 40  # as many as the kernel follows
DEPTH = 4  # folders below one that is judged with its contents
SOME = 20  # findings that are enough to refuse it
OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ACL = "system.posix_acl_access"
_MAGIC = re.compile(r"(pipe|socket|anon_inode):")  # links of /proc/self/fd that lead to no path
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Finding:
    """A weakness on the way to a file."""

    file: str  # as it was asked for
    at: str  # the file, folder or link that is weak
    weakness: Message  # continues a sentence that begins with its path

    def __str__(self) -> str:
        where = "" if self.at == self.file else f"{self.at} "
        return f"{self.file}: {where}{self.weakness}"


Signature = tuple[int, ...]  # device, inode, size, mtime, ctime


class Judge(Inputs):
    """Opens files, and notes everything on the way to them that lets others change them."""

    def __init__(self) -> None:
        self.found: dict[Finding, None] = {}
        self.owners = _owners()
        self.signatures: dict[str, Signature] = {}  # path -> of what was opened there; () when it changed in between

    def open(self, path: str | Path) -> int:
        """A descriptor to read a regular file; UnfitFile when it is none, OSError as the system gives it."""
        handle = self.handle(path)
        try:
            return open_again(handle, path)
        finally:
            os.close(handle)

    def signature(self, path: str | Path) -> Signature:
        """What changes when a file's contents may have changed; the way to it is judged, the file not read."""
        os.close(self.handle(path))
        return self.signatures[os.fspath(path)]

    def open_folder(self, path: str | Path) -> int:
        """A descriptor to read a folder. Its own sticky bit does not excuse it: others could add entries."""
        handle = self.handle(path)
        try:
            fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if weakness := weakness_of(fd, sticky=False):
                where = str(path)
                self.found[Finding(file=where, at=where, weakness=weakness)] = None
            return fd
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            os.close(handle)

    def judge_contents(self, folder: int, place: str, *, depth: int = DEPTH) -> None:
        """Note what others can change below an open folder: they made it while they could write there.

        `place`: the path of the folder. Nothing below a weak folder is noted.
        """
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not self._is_plain(entry))
        for name in names:
            if len(self.found) >= SOME:
                return
            with suppress(FileNotFoundError, PermissionError):  # a fragment that went; a folder that is root's own
                self._judge_entry(folder, name, os.path.join(place, name), depth)

    def _is_plain(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is a file that only we can change, as nearly all of them are."""
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:  # looked at once more, and then it is an error
            return False
        return stat.S_ISREG(info.st_mode) and info.st_uid in self.owners and not info.st_mode & OTHERS

    def _judge_entry(self, folder: int, name: str, path: str, depth: int) -> None:
        fd = os.open(name, _PATH, dir_fd=folder)
        try:
            if weakness := weakness_of(fd, sticky=False):
                self.found[Finding(file=path, at=path, weakness=weakness)] = None
            elif stat.S_ISLNK(os.fstat(fd).st_mode):
                self._judge_target(path, depth)
            elif stat.S_ISDIR(os.fstat(fd).st_mode) and depth:
                self._judge_folder(fd, path, depth)
        finally:
            os.close(fd)

    def _judge_target(self, link: str, depth: int) -> None:
        """Note what is weak on the way to where a link of ours leads, there, and below."""
        try:
            fd = self.handle(link)
        except OSError as error:
            if error.errno in LIMITS:
                raise
            return  # it leads nowhere
        try:
            if weakness := weakness_of(fd, sticky=False):
                self.found[Finding(file=link, at=os.path.realpath(link), weakness=weakness)] = None
            elif stat.S_ISDIR(os.fstat(fd).st_mode) and depth:
                self._judge_folder(fd, link, depth)
        finally:
            os.close(fd)

    def _judge_folder(self, handle: int, path: str, depth: int) -> None:
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.judge_contents(fd, path, depth=depth - 1)
        finally:
            os.close(fd)

    def handle(self, path: str | Path) -> int:
        """An O_PATH descriptor of what a path leads to, whatever that is."""
        asked = os.fspath(path)
        todo = os.path.join(os.getcwd(), asked).split("/")[::-1]
        here, links = "/", 0
        held = [self._root(asked)]  # the folder that the walk has come to, and the entry that is looked at
        try:
            while todo:
                name = todo.pop()
                held.append(_step(held[0], name, asked))
                place = os.path.dirname(here) if name == ".." else os.path.join(here, name)
                target = self._judge(held[1], place.rstrip("/") or "/", asked) if name not in ("", ".") else ""
                if not target:
                    os.close(held.pop(0))
                    here = place
                    continue
                os.close(held.pop())
                if _MAGIC.match(target):
                    raise not_regular(asked, os.stat(name, dir_fd=held[0]))
                links += 1
                if links > LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), asked)
                todo += target.split("/")[::-1]
                if target.startswith("/"):
                    os.close(held.pop())
                    held.append(self._root(asked))
                    here = "/"
            self._sign(held[0], asked)
            return held.pop()
        finally:
            for fd in held:
                os.close(fd)

    def refuse(self, what: str = "", *, hint: str = "") -> None:
        """PermissionRefused (exit 77) with all that was found, if anything was. `what`: the words for the files."""
        if not self.found:
            return
        files = [{"file": f.file, "at": f.at, "weakness": f.weakness.code} for f in self.found]
        message = texts.OTHERS_CAN_CHANGE(what=what or texts.PIPELINE_FILES(), files=files, hint=hint)
        raise PermissionRefused(message, detail=tuple(map(str, self.found)))

    def _sign(self, fd: int, asked: str) -> None:
        found = signature_of(os.fstat(fd))
        if self.signatures.setdefault(asked, found) != found:
            self.signatures[asked] = ()

    def _root(self, asked: str) -> int:
        fd = os.open("/", _PATH | os.O_DIRECTORY)
        self._judge(fd, "/", asked)
        return fd

    def _judge(self, fd: int, place: str, asked: str) -> str:
        """Note what is weak; where a symbolic link leads, empty for anything else."""
        if weakness := weakness_of(fd):
            self.found[Finding(file=asked, at=place, weakness=weakness)] = None
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else ""


def open_trusted_folder(path: str | Path, *, what: str) -> int:
    """Open a folder that nobody else can change, and return its descriptor; PermissionRefused when others can."""
    judge = Judge()
    fd = judge.open_folder(path)
    try:
        judge.refuse(what)
    except BaseException:
        os.close(fd)
        raise
    return fd


def require_ours(paths: Iterable[str], *, what: str = "") -> None:
    """PermissionRefused (exit 77) with everything about these files and folders that lets others change them.

    For what is not read here and now: a file that is read must be the one that was judged (Judge). `what`: the words
    for all of them; empty: the files of a pipeline. OSError when one is missing.
    """
    judge = Judge()
    for path in paths:
        os.close(judge.handle(path))
    judge.refuse(what)


def signature_of(info: os.stat_result) -> Signature:
    """What changes when a file's contents may have changed."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def weakness_of(fd: int, *, sticky: bool = True) -> Message | None:
    """What lets others change what an open descriptor (an O_PATH one too) stands for; None when nothing does.

    `sticky`: in a sticky folder only an entry's owner can exchange it, and the caller judges the entry.
    """
    info = os.fstat(fd)
    if info.st_uid not in _owners():
        return texts.OWNER(owner=_user(info.st_uid))
    if stat.S_ISLNK(info.st_mode) or not info.st_mode & OTHERS:
        return None
    if sticky and stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX:
        return None
    if info.st_mode & stat.S_IWOTH:
        return texts.EVERYBODY()
    if info.st_gid != 0:
        return texts.GROUP(group=_group(info.st_gid))
    if _has_acl(fd):  # the group's bits are then the most that any entry of the list may allow
        return texts.ACL()
    return None


def _has_acl(fd: int) -> bool:
    try:
        return bool(os.getxattr(f"/proc/self/fd/{fd}", _ACL))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return False
        raise


def _step(at: int, name: str, asked: str) -> int:
    """The entry of a folder, not followed. A folder is asked for first, because only that makes an automount mount."""
    try:
        try:
            return os.open(name or ".", _PATH | os.O_DIRECTORY, dir_fd=at)
        except NotADirectoryError:
            if name in ("", ".", "..") or file_type(os.fstat(at)) != "directory":
                raise
            return os.open(name, _PATH, dir_fd=at)
    except OSError as error:
        raise OSError(error.errno, error.strerror, asked) from None


def _owners() -> set[int]:
    sudo = os.environ.get("SUDO_UID", "")
    called = sudo.isascii() and sudo.isdecimal() and len(sudo) <= 10 and os.geteuid() == 0
    return {0, os.geteuid(), *([int(sudo)] if called else [])}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
