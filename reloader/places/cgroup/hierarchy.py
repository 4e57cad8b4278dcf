"""Cgroups by path: which one is there, and whether recorded ones still are.

Imports little: the check behind "nothing to do" asks `moved`.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reloader.kernel import Kernel, LinkInfo
    from reloader.places.place import Record
    from reloader.wording.message import Message

MOUNTINFO = "/proc/self/mountinfo"
USUAL = "/sys/fs/cgroup"  # where the mount is expected when there is none


def absolute(path: str) -> str:
    """Return where a cgroup of the YAML is: as it is written, or below the mount of the cgroup2 file system."""
    return os.path.normpath(os.path.join(mount() or USUAL, path))


def mount() -> str | None:
    """Return where the cgroup2 file system is mounted; None: it is not. The mount of its root comes before one of a
    cgroup below it; one that another file system covers does not count."""
    found = [(root != "/", at) for root, device, at in _mounts() if _device(at) == device]
    return min(found, key=lambda one: one[0])[1] if found else None


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Yield (which cgroup is mounted, device, where) of each mount of the cgroup2 file system."""
    try:
        with open(MOUNTINFO, errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:  # without /proc
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            _, _, device, *paths = before.split()
            root, at = (re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), path) for path in paths[:2])
            yield root, device, at


def _device(path: str) -> str:
    """Return the device number of the file system at a path, as mountinfo writes it; empty: nothing is there."""
    try:
        number = os.stat(path).st_dev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def cgroup_id(path: str) -> int | None:
    """Return the id of the cgroup that has a path of the YAML now; None: none has. One made again is another."""
    root = mount()
    try:
        there = os.stat(os.path.join(root or USUAL, path))
        inside = root is not None and there.st_dev == os.stat(root).st_dev and stat.S_ISDIR(there.st_mode)
        return there.st_ino if inside else None
    except OSError:
        return None


def moved(_kernel: Kernel, links: Sequence[tuple[Record, LinkInfo]]) -> Message | None:
    """Say which recorded path is not the cgroup with the link any more."""
    for record, link in links:
        path, known = str(record.get("cgroup") or ""), record.get("cgroup_id")
        if path and not link.place_id == known == cgroup_id(path):
            from reloader.places.cgroup import texts

            return texts.REPLACED(cgroup=path)
    return None
