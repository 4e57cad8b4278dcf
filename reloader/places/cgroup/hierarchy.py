"""Cgroups by path: which one is there, and whether recorded ones still are.

Imports little: the check behind "nothing to do" asks `moved`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reloader.kernel import Kernel, LinkInfo
    from reloader.places.place import Record
    from reloader.wording.message import Message

USUAL = "/sys/fs/cgroup"  # where the mount is expected when there is none


def absolute(path: str) -> str:
    """Return where a cgroup of the YAML is: as it is written, or below the first mount of the cgroup2 file system."""
    return os.path.normpath(os.path.join(mount() or USUAL, path))


def mount() -> str | None:
    """Return where the cgroup2 file system is mounted; None: it is not."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                return re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
    return None


def cgroup_id(path: str) -> int | None:
    """Return the id of the cgroup that has a path of the YAML now; None: none has. One made again is another."""
    root = mount()
    try:
        there = os.stat(absolute(path))
        return there.st_ino if root and there.st_dev == os.stat(root).st_dev else None
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
