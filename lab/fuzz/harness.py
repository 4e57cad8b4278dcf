"""One damaged input after the other, each under a time limit, in this process; and what came of it."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from reloader.errors import ReloaderError

SECONDS = 10.0  # of this process's own time, so that a busy machine is no hang
CODES = (0, 1, 3, 4, 64, 65, 69, 75, 77)  # what a command may end with
SHOWN = 5  # failures told in full


class TooSlow(BaseException):
    """An input took longer than any may."""


@contextlib.contextmanager
def limit(seconds: float = SECONDS) -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def times() -> int:
    """How many times the usual number of inputs: FUZZ in the environment."""
    return max(1, int(os.environ.get("FUZZ", "1")))


def dice_of(name: str) -> random.Random:
    """The same dice at every `make test`; others each time under `make fuzz`, by a seed that a failure tells."""
    seed = os.environ.get("FUZZ_SEED") or (str(time.time_ns()) if times() > 1 else "reloader")
    return random.Random(f"{name}:{seed}")


@dataclass(slots=True)
class Tally:
    """What came of the inputs of one sort."""

    inputs: int = 0
    taken: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def offer(self, label: str, target: Callable[[], object], *allowed: type[BaseException]) -> None:
        """Run `target` on one input. A ReloaderError, or one of `allowed`, is a refusal; any other is a failure."""
        self.inputs += 1
        try:
            with limit():
                target()
            self.taken += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if isinstance(error, (ReloaderError, *allowed)):
                self.refused += 1
            else:
                self.failures.append(f"{label}: {''.join(traceback.format_exception(error)[-6:])}")

    def judge(self) -> None:
        """Nothing failed; and the damage was neither harmless nor total, which would try nothing."""
        assert not self.failures, f"{len(self.failures)} of {self.inputs}:\n" + "\n".join(self.failures[:SHOWN])
        assert self.refused, "no input was refused: the damage does none"


def command(*words: object) -> int:
    """One command in this process, its words kept quiet; ReloaderError when it refused, as its exit code says."""
    from reloader import cli

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as left:  # argparse
            code = int(left.code or 0)
    if "Traceback" in err.getvalue():
        raise AssertionError(err.getvalue())
    if code not in CODES:
        raise AssertionError(f"exit {code}: {err.getvalue()}")
    if code:
        if not err.getvalue().strip():
            raise AssertionError(f"exit {code} without a word")
        raise ReloaderError(f"exit {code}")
    return code
