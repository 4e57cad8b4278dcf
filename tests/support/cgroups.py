"""A cgroup of a test's own below the cgroup2 mount, and commands that run in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mount() -> Path:
    """Where the cgroup2 file system is mounted: at its own place on hybrid hosts."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    raise AssertionError("no cgroup2 file system is mounted")


@contextmanager
def made(name: str) -> Iterator[Path]:
    """A new cgroup, removed at the end with those below it, once its processes ended."""
    path = mount() / f"reloader-{name}-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        for folder, _, _ in os.walk(path, topdown=False):
            remove(Path(folder))


def remove(path: Path) -> None:
    """Remove a cgroup. A process that just ended may still be in it for a moment."""
    for _ in range(100):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    path.rmdir()
