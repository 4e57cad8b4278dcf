"""The bytes of a YAML file, bounded; apart from parse.py so that a cached spec loads nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reloader.disk import texts as disk_texts
from reloader.disk.atomic_files import PLAIN, Inputs, UnfitFile
from reloader.errors import InputError, Problem
from reloader.pipeline import texts
from reloader.wording.message import Text

MAX_BYTES = 8 << 20


def read_source(path: Path, inputs: Inputs = PLAIN) -> bytes:
    """A YAML file's bytes; InputError when it cannot be read, is not regular, or is larger than MAX_BYTES."""
    try:
        return inputs.read(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError([unreadable(str(path), error, too_large=texts.YAML_TOO_LARGE)]) from error


def unreadable(path: str, error: OSError | ValueError, *, too_large: Text = texts.CANNOT_BE_READ) -> Problem:
    """Return the finding about a file that cannot be read, at the file as a whole; `too_large` words that case."""
    why = why_unreadable(error)
    text = too_large if why.reason == disk_texts.TOO_LARGE.code else texts.CANNOT_BE_READ
    message = text(why=why.text, hint=why.hint)
    return Problem.at(path, message, reason=why.reason, values={"path": path, **(why.values or {})})


class Why(NamedTuple):
    """Why a file cannot be read. The reason is a stable word."""

    text: str
    hint: str = ""
    reason: str = texts.CANNOT_BE_READ.code
    values: dict[str, object] | None = None


def why_unreadable(error: OSError | ValueError) -> Why:
    """The error in the words of a finding."""
    if isinstance(error, UnfitFile):
        hint = texts.NAME_REGULAR_FILE() if error.reason == disk_texts.NOT_A_REGULAR_FILE.code else ""
        return Why(str(error.strerror), hint, error.reason, error.values)
    return Why(((error.strerror if isinstance(error, OSError) else None) or str(error)).lower())
