"""One finding of `doctor`: what was looked at, whether it is well, and what to do."""

from __future__ import annotations

from dataclasses import field

from reloader.frozen import frozen
from reloader.wording.message import Message


@frozen
class Finding:
    """One thing looked at."""

    check: str
    ok: bool
    what: str
    hint: str = ""  # what to do next; empty when it is well
    reason: str = ""  # the finding as a stable word
    values: dict[str, object] = field(default_factory=dict)  # what it is about, as JSON values

    @classmethod
    def of(cls, check: str, message: Message, *, ok: bool = False) -> Finding:
        """The finding that a message tells, with its hint, reason and values."""
        values = message.json_values()
        return cls(check=check, ok=ok, what=message, hint=message.hint, reason=message.code, values=values)
