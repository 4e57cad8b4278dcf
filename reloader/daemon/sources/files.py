"""Which YAML files of a directory are not what they were a look ago; with the objects and bulk files they name.

A look compares the stamp of every file. Events (daemon/file_events.py) only say when to look, so a lost event, a
filesystem
without inotify or a swapped symlink costs a few seconds at most. What a change *means* is found out later, by
content.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, ...]  # device, inode, size, mtime, ctime; (errno,) of what cannot be looked at

GONE = (errno.ENOENT, errno.ENOTDIR)
MAX_LINKS = 40  # as the kernel
RACY = 50_000_000  # ns: written so shortly before it was read, a file may have changed since under the same times


def is_yaml(name: str) -> bool:
    """Names that count; editors keep drafts and locks behind a leading dot."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def stamp(path: str) -> Stamp | None:
    """What changes when a file's contents may have; of what a symlink points to. None: there is none."""
    try:
        info = os.stat(path)
    except OSError as error:
        return None if error.errno in GONE else (error.errno or 0,)
    except ValueError:  # a NUL in the name: reading it will say so
        return (errno.EINVAL,)
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def trail(path: str) -> list[str]:
    """The file behind `path`, and before it every symlink on the way; the directory part of each is resolved.

    What `path` holds changes only by a change of one of these names, so their directories are the ones to watch.
    """
    todo, here, links = path.split("/")[::-1], "/", []
    while todo:
        name = todo.pop()
        step = os.path.normpath(os.path.join(here, name))
        try:
            target = os.readlink(step)
        except (OSError, ValueError):  # no link, or nothing there (yet)
            here = step
            continue
        links.append(step)
        if len(links) > MAX_LINKS:
            break
        here = "/" if target.startswith("/") else here
        todo += target.split("/")[::-1]
    return [*links, here]


class Files:
    """The YAML files of one directory; all paths are absolute strings."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.scans = 0  # so far
        self.problem = ""  # why the directory cannot be listed; empty when it can, or is gone
        self._inputs: dict[str, frozenset[str]] = {}  # YAML file -> files it names
        self._stamps: dict[str, Stamp | None] = {}
        self._trails: dict[str, list[str]] = {}  # YAML file -> trails of it and its inputs
        self._places: tuple[list[str], frozenset[str]] | None = None

    def scan(self) -> set[str]:
        """YAML files that are new or gone, or whose text or inputs have another stamp than at the last scan."""
        self.scans += 1
        listed = self._listed()
        if listed is None:
            return set()
        for path in listed - self._inputs.keys():
            self._inputs[path] = frozenset()
        now = {path: stamp(path) for path in set(self._inputs).union(*self._inputs.values())}
        now |= {path: None for path in self._inputs if path not in listed}
        missing = object()
        changed = {path for path, one in now.items() if self._stamps.get(path, missing) != one}
        dirty = {path for path, inputs in self._inputs.items() if path in changed or not changed.isdisjoint(inputs)}
        self._stamps = now
        self._forget(path for path in self._inputs if now[path] is None and path not in changed)
        return dirty

    def exists(self, path: str) -> bool:
        """Whether the last scan saw the YAML file."""
        return self._stamps.get(path) is not None

    def learn(self, path: str, inputs: Collection[str], *, read: int) -> None:
        """What the YAML file names, as it was found by a reader that began at `read` (ns since the epoch)."""
        if path not in self._inputs:
            return
        self._inputs[path] = frozenset(inputs) - {path}
        for one in self._inputs[path] - self._stamps.keys():
            seen = stamp(one)
            if seen is None or max(seen[3:], default=0) < read - RACY:  # else the next scan takes it for changed
                self._stamps[one] = seen
        trails = [step for one in (path, *self._inputs[path]) for step in trail(one)]
        if trails != self._trails.get(path):
            self._trails[path], self._places = trails, None

    def places(self) -> tuple[list[str], frozenset[str]]:
        """Directories worth watching, the YAML files' own first, and the names in them that matter."""
        if self._places is None:
            *links, own = trail(self.directory)
            names = frozenset(links).union(*self._trails.values())  # not `own`: any file in it would count
            others = {os.path.dirname(name) for name in names} - {own}
            self._places = [own, *sorted(others)], names
        return self._places

    def _listed(self) -> set[str] | None:
        """The directory's YAML files; None when it is there and cannot be listed."""
        try:
            names = [entry.name for entry in os.scandir(self.directory) if is_yaml(entry.name)]
        except OSError as error:
            self.problem = "" if error.errno in GONE else str(error.strerror)
            return set() if error.errno in GONE else None
        self.problem = ""
        return {path for path in (os.path.join(self.directory, name) for name in names) if _readable_kind(path)}

    def _forget(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            del self._inputs[path]
            if self._trails.pop(path, None):
                self._places = None


def _readable_kind(path: str) -> bool:
    """No directory, and no FIFO that would make a reader wait; what cannot be looked at counts, to be reported."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        return error.errno not in GONE
