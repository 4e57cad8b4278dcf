"""Folders of pins: what is pinned in them, and whether other users could change them.

A user who owns such a folder, or may write to it, can remove a link's pin and with it the program from its hook: that
is refused before a change, and shown by doctor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from reloader.disk import jsonable
from reloader.disk.trust import Judge
from reloader.errors import KernelError, PermissionRefused
from reloader.kernel import Fd, Kernel, WeakFolder
from reloader.kernel.host import Host
from reloader.pins import texts
from reloader.wording.message import Message

WEAKNESSES = {"link": texts.LINK, "owner": texts.OWNER, "writable": texts.WRITABLE}  # WeakFolder.kind → its words


def pinned(kernel: Kernel, pin: str) -> Fd | None:
    """The object behind a pin, or None when there is no such pin."""
    try:
        return kernel.pins.get(pin)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def require_own_folders(host: Host, pipeline: str) -> None:
    """PermissionRefused (77) when another user could exchange or remove what is pinned for the pipeline."""
    if weak := weak_folders(host, pipeline):
        folders = [jsonable.to_json(w) for w in weak]
        message = texts.PIN_FOLDER_NOT_OURS(
            pipeline=pipeline, path=weak[0].path, folders=folders, hint=repair_command(weak)
        )
        raise PermissionRefused(message, detail=tuple(map(describe_weak, weak)))


def weak_folders(host: Host, *pipelines: str) -> tuple[WeakFolder, ...]:
    """Folders of these pipelines, and on the way to them, that other users could change."""
    try:
        if not host.kernel.pins.is_bpffs(host.paths.bpffs):
            return ()  # nothing is pinned there
        found = host.kernel.pins.weak_folders(host.paths.bpffs, pipelines)
        return (*_weak_on_the_way(host.paths.bpffs, {folder.path for folder in found}), *found)
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
        raise PermissionRefused(texts.BPFFS_UNREADABLE(path=host.paths.bpffs, why=error)) from error


def _weak_on_the_way(path: str, known: set[str]) -> list[WeakFolder]:
    """Folders and links on the way to the bpf filesystem: with them a user could lead the pins elsewhere."""
    judge = Judge()
    while True:
        try:
            os.close(judge.handle(path))
            break
        except FileNotFoundError:  # also where a link leads to nothing, which is judged by then
            path = os.path.dirname(path.rstrip("/")) or "."
    weak = []
    for at in dict.fromkeys(finding.at for finding in judge.found if finding.at not in known):
        info = os.lstat(at)
        link, other = stat.S_ISLNK(info.st_mode), info.st_uid not in judge.owners
        kind = "link" if link else "owner" if other else "writable"
        weak.append(WeakFolder(path=at, kind=kind, owner=info.st_uid, mode=stat.S_IMODE(info.st_mode)))
    return weak


def describe_weak(folder: WeakFolder) -> Message:
    """The folder, and why another user could change it."""
    return WEAKNESSES[folder.kind](path=folder.path, owner=folder.owner, mode=f"{folder.mode:04o}")


def repair_command(weak: Sequence[WeakFolder]) -> str:
    """The command that makes the folders ours."""
    links = [f"rm {w.path}" for w in weak if w.kind == "link"]
    foreign = " ".join(w.path for w in weak if w.kind == "owner")
    folders = " ".join(w.path for w in weak if w.kind != "link")
    parts = [*links, *([f"chown -h {os.geteuid()}:{os.getegid()} {foreign}"] if foreign else [])]
    return " && ".join([*parts, *([f"chmod go-w {folders}"] if folders else [])])
