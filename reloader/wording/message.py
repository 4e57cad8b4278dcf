"""A fault or an event as a code with values, and the words for it.

A room keeps its words in `texts.py`, one `Text` for each code. Where a fault is found, `texts.NO_SUCH_MAP(map=name)`
makes the `Message`: a str, so that it can be shown or put into another text, with its code and values for programs. No
code reads the words back. tests/golden holds all texts.

A leaf: imports nothing of the package but printable.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from reloader.wording.printable import counted


class _Words(string.Formatter):
    """str.format with two rules more: `{n:entry}` counts (`1 entry`, `2,000 entries`; `{n:child|children}` for others),
    and a list, a tuple or a set is joined by commas."""

    def format_field(self, value: object, format_spec: str) -> str:
        if isinstance(value, int) and format_spec[:1].isalpha() and len(format_spec) > 1:
            one, _, many = format_spec.partition("|")
            return counted(value, one, many)
        if isinstance(value, (list, tuple, set, frozenset)):
            return ", ".join(map(str, value))
        if isinstance(value, Mapping):
            raise TypeError("a mapping has no words: give its names or its values")
        return str(super().format_field(value, format_spec))


_format = _Words().vformat


class Message(str):
    """The words of one fault or event, with its `code`, the `values` it is about, and a `hint` on what to do."""

    code: str
    values: dict[str, object]
    hint: str

    def with_hint(self) -> str:
        """The words, and the hint behind them in parentheses."""
        return f"{self} ({self.hint})" if self.hint else self

    def json_values(self) -> dict[str, object]:
        """The values as JSON knows them: a message in them as its words, whatever else JSON lacks as text."""
        return {name: _plain(value) for name, value in self.values.items()}


class Text:
    """The words for one code: templates of str.format, see `_Words`.

    `code`: stable, in kebab case. `message`: what failed and why. `hint`: one command or edit that helps; a value of
    the call that is named `hint` takes its place.
    """

    __slots__ = ("code", "hint", "message")

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code
        self.message = message
        self.hint = hint

    def __call__(self, hint: str = "", **values: object) -> Message:
        """The message about these values. KeyError when the template names one that is not given."""
        message = Message(_format(self.message, (), values))
        message.code, message.values = self.code, values
        message.hint = hint or (_format(self.hint, (), values) if self.hint else "")
        return message


def hint_of(text: str) -> str:
    """The hint of a Message; a plain text has none."""
    return text.hint if isinstance(text, Message) else ""


def code_of(text: str) -> str:
    """The code of a Message; a plain text has none."""
    return text.code if isinstance(text, Message) else ""


def values_of(text: str) -> dict[str, object]:
    """The values of a Message as JSON values; a plain text has none."""
    return text.json_values() if isinstance(text, Message) else {}


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else str(value)
