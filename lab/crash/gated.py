"""Run the command line with a gate in fault_points.lasting: `python -m lab.crash.gated MODE WHEN N -- words…`.

MODE `count` notes all effects in the file N; `kill` sends SIGKILL to itself
WHEN (`before` or `after`) the point N, "<how often> <effect>"; an errno's name raises that error there instead, and
with a + behind it (`EROFS+`) also at every later effect on a file; a signal's name sends it, with a + again at every
point from there on.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import NoReturn

from reloader import fault_points
from reloader.cli import entry
from reloader.errors import KernelError

ON_FILES = (
    "write ", "mkdir records", "mkdir pipelines", "journal.", "blob.", "record.", "generation.", "cache.", "folder.",
    "fragment.",
)  # fmt: skip
"""How effects below the record directory begin; the others are the kernel's."""


class Counting:
    """Notes every effect in a file: `before`, then `after` or `failed`; how often so far; its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, when: str, name: str) -> None:
        self.seen[when, name] += 1
        with self.path.open("a") as out:
            out.write(f"{when} {self.seen[when, name]} {name}\n")


class Striking:
    """Kills this process, or raises an error, at one point; forked children have a count of their own."""

    def __init__(self, mode: str, when: str, point: str) -> None:
        times, _, self.name = point.partition(" ")
        self.mode, self.when, self.left = mode, when, int(times)
        self.lasts = False  # whether it has struck, and strikes on
        self.owner = os.getpid()

    def __call__(self, when: str, name: str) -> None:
        if os.getpid() != self.owner:
            return
        if self.left == 0 and self.mode.startswith("SIG") and self.mode.endswith("+"):
            os.kill(os.getpid(), signal.Signals[self.mode[:-1]])
            return
        if self.lasts and when == "before" and name.startswith(ON_FILES):
            self.fail(name)
        if when != self.when or name != self.name:
            return
        self.left -= 1
        if self.left:
            return
        if self.mode.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.mode.rstrip("+")])
            return
        if self.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.lasts = self.mode.endswith("+")
        self.fail(name)

    def fail(self, name: str) -> NoReturn:
        number = getattr(errno, self.mode.removesuffix("+"))
        if name.startswith(ON_FILES):
            raise OSError(number, os.strerror(number), f"injected in {name}")
        raise KernelError(f"injected in {name}", number)


def gate(mode: str, when: str, point: str) -> fault_points.Gate:
    return Counting(Path(point)) if mode == "count" else Striking(mode, when, point)


if __name__ == "__main__":
    mode, when, point, _, *words = sys.argv[1:]
    fault_points.install(gate(mode, when, point))
    sys.argv = ["reloader", *words]
    entry()
