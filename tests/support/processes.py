"""Processes that a test starts and that must end with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that writes to `log`; end it with SIGTERM at the end of the block, also when the block failed.

    Popen alone waits for its process when the block fails, so a test whose condition is never met would hang.
    """
    with log.open("w") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
