"""`python -m bench.spin CPU`: a busy task on one CPU, which says for how long it was ever kept from running.

Reads lines; answers each with the longest gap since the last, in nanoseconds; ends with its input. Imports nothing.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from types import TracebackType

LOOKS = 2_000  # at the clock, between two looks for a line


class Spinner:
    """The task, from outside."""

    def __init__(self, cpu: int) -> None:
        command = [sys.executable, "-m", "bench.spin", str(cpu)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Spinner:
        self.longest()  # it runs
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process:
            pass

    def longest(self) -> float:
        """Seconds of the longest gap since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline()) / 1e9


def spin() -> None:
    clock, longest, last = time.monotonic_ns, 0, time.monotonic_ns()
    while True:
        for _ in range(LOOKS):
            now = clock()
            if now - last > longest:
                longest = now - last
            last = now
        if select.select([0], [], [], 0)[0]:
            if not os.read(0, 4096):
                return
            print(longest, flush=True)
            longest, last = 0, clock()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    spin()
