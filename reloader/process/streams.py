"""Standard input, output and error as this process finds them: closed, full, or unable to show a character.

Called first of all by cli.entry(). A leaf: imports nothing of the package.
"""

from __future__ import annotations

import io
import os
import select
import sys

MISSING = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_RDWR}
"""How /dev/null takes the place of a closed descriptor. Output is opened for reading: writing to it must fail, so that
a lost report is noticed. Words on a closed stderr are dropped."""


def prepare() -> None:
    """Make 0, 1 and 2 valid, lest a journal or a map gets one of these numbers; escape what cannot be encoded."""
    for number, mode in MISSING.items():
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, mode)
            if found != number:  # a lower one could not be opened
                os.dup2(found, number)
                os.close(found)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def takes_more() -> bool:
    """Whether standard output takes a page now, without a wait for its reader."""
    try:
        return bool(select.select([], [sys.stdout.fileno()], [], 0)[1])
    except (OSError, ValueError):  # closed, or no stream of the system's: there is nothing to wait for
        return True


def exit_code_of(error: Exception | None) -> int:
    """Of a command that is there for what it prints, and could not: 141 when its reader has left, as a shell has it;
    else 74, EX_IOERR."""
    return 141 if isinstance(error, BrokenPipeError) else 74


def discard_output() -> None:
    """Point standard output at /dev/null: what is still buffered for it must not fail once more at the exit."""
    try:
        number = sys.stdout.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
    except (OSError, ValueError):  # no stream of the system's
        return
