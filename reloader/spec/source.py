"""The bytes of a YAML file, bounded; apart from parse.py so that a cached spec loads nothing more. Imports errors and
files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reloader.errors import InputError, Problem
from reloader.files import PLAIN, Inputs, UnfitFile

MAX_BYTES = 8 << 20


def read_source(path: Path, inputs: Inputs = PLAIN) -> bytes:
    """A YAML file's bytes; InputError when it cannot be read, is not regular, or is larger than MAX_BYTES."""
    try:
        return inputs.read(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        hint = "many entries belong in a CSV or JSON Lines file beside the YAML"
        raise InputError([unreadable(str(path), error, too_large=hint)]) from error


def unreadable(path: str, error: OSError | ValueError, *, too_large: str = "") -> Problem:
    """The finding for a file that cannot be read; the whole file is its place. `too_large`: the hint for that."""
    why = why_unreadable(error)
    hint = too_large if why.reason == "too-large" else why.hint
    return Problem(
        file=path, line=0, column=0, path="", message=f"cannot be read: {why.text}", hint=hint, reason=why.reason,
        values=why.values,
    )  # fmt: skip


class Why(NamedTuple):
    """Why a file cannot be read. The reason is a stable word; it is empty where the text is the system's own."""

    text: str
    hint: str = ""
    reason: str = ""
    values: dict[str, object] | None = None


def why_unreadable(error: OSError | ValueError) -> Why:
    """The error in the words of a finding."""
    if isinstance(error, UnfitFile):
        special = error.reason == "not-a-regular-file"
        hint = "name a regular file; save what a command prints in a file first" if special else ""
        return Why(str(error.strerror), hint, error.reason, error.values)
    return Why(((error.strerror if isinstance(error, OSError) else None) or str(error)).lower())
