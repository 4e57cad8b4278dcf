"""Who else could change a file that decides what runs in the kernel: whoever can is as good as root.

Asked by spec/cache.py of all that a pipeline was made from, by lock.py of the record directory, whose objects are
loaded again at a rollback, and of any file that names commands. The owner may be root, whoever runs this, or
whoever called sudo. A leaf: imports errors.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from reloader.errors import PermissionRefused

LINKS = 40  # as many as the kernel follows
ANYBODY_ELSE = stat.S_IWGRP | stat.S_IWOTH


def require_ours(paths: Iterable[str], *, what: str = "what this pipeline is made from") -> None:
    """PermissionRefused (exit 77) with everything about these files that lets somebody else change them."""
    judged: dict[str, str] = {}
    found: dict[str, None] = {}
    for path in paths:
        for part in _chain(os.path.join(os.getcwd(), path)):  # `..` leads where the link before it says
            why = judged[part] if part in judged else judged.setdefault(part, _why(part))
            if why:
                found[f"{path}: {why}" if part == path else f"{path}: {part} {why}"] = None
    if found:
        raise PermissionRefused(
            f"others could change {what}; nothing was touched",
            detail="\n".join(found),
            hint="whoever can change these files decides what runs in the kernel: chown root, chmod go-w",
        )


def _chain(path: str, links: int = LINKS) -> Iterator[str]:
    """Everything on the way to a file, links and where they lead included."""
    at = "/"
    yield at
    for name in path.split("/"):
        if name == "..":
            at = os.path.dirname(at)
        elif name not in ("", "."):
            at = os.path.join(at, name)
            yield at
            if os.path.islink(at) and links:
                target = os.path.join(os.path.dirname(at), os.readlink(at))
                yield from _chain(target, links - 1)
                at = os.path.realpath(at)


def _why(path: str) -> str:
    """What lets others change `path` itself; empty when nothing does."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""  # gone since it was read: what was read came from a place that is judged by its folder
    if found.st_uid not in _owners():
        return f"is owned by {_user(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & ANYBODY_ELSE:
        return ""
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""  # /tmp: an entry can be replaced by its owner only, who is judged next
    if found.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    return "" if found.st_gid == 0 else f"is writable by group {_group(found.st_gid)}"


def _owners() -> set[int]:
    sudo = os.environ.get("SUDO_UID", "")
    return {0, os.geteuid(), *([int(sudo)] if sudo.isdigit() and os.geteuid() == 0 else [])}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
