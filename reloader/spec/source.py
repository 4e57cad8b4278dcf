"""The bytes of a YAML file, bounded; apart from parse.py so that a cached spec loads nothing more. Imports errors."""

from __future__ import annotations

from pathlib import Path

from reloader.errors import InputError, Problem

MAX_BYTES = 8 << 20


def read_source(path: Path) -> bytes:
    """A YAML file's bytes, never more than MAX_BYTES + 1; InputError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        message = f"cannot be read: {reason.lower()}"
        raise InputError([Problem(file=str(path), line=0, column=0, path="", message=message)]) from error
