"""Run the command line with a gate in effects.lasting: `python -m tests.crash.gated MODE WHEN N -- words…`.

MODE `count` notes all effects in the file N; `kill` sends SIGKILL to itself
WHEN (`before` or `after`) effect N (from 0); an errno's name raises that error there instead.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

from reloader import effects
from reloader.cli import main
from reloader.errors import KernelError


class Counting:
    """Notes every effect in a file: `before` or `after`, its number, its name. One that fails has no `after`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = -1

    def __call__(self, when: str, name: str) -> None:
        self.seen += when == "before"
        with self.path.open("a") as out:
            out.write(f"{when} {self.seen} {name}\n")


class Striking:
    """Kills this process, or raises an error, at one point; forked children have a count of their own."""

    def __init__(self, mode: str, when: str, point: int) -> None:
        self.mode, self.when, self.point = mode, when, point
        self.seen = -1
        self.owner = os.getpid()

    def __call__(self, when: str, name: str) -> None:
        if os.getpid() != self.owner:
            return
        self.seen += when == "before"
        if when != self.when or self.seen != self.point:
            return
        if self.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.point = -1  # an error strikes once
        raise KernelError(f"injected in {name}", getattr(errno, self.mode))


def gate(mode: str, when: str, point: str) -> effects.Gate:
    return Counting(Path(point)) if mode == "count" else Striking(mode, when, int(point))


if __name__ == "__main__":
    mode, when, point, _, *words = sys.argv[1:]
    effects.install(gate(mode, when, point))
    sys.exit(main(words))
