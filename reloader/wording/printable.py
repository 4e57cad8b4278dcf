"""Text from outside made safe to show: what a terminal would obey, hide or reorder is written as an escape instead.

Names of files, maps, interfaces and processes may hold any byte. Every text for people passes `printable` on its way
out (commands/environment.py, the parser's own errors, JUnit reports); JSON keeps the text as it is. A text is one
line: a line break in it came from outside. What has several lines is a `Block`, or a sequence of texts.

A leaf: imports nothing of the package.
"""

from __future__ import annotations

import re

# Shown as nothing, or as an empty cell, although Python calls them printable: joiners, fillers, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_UNDECODED = range(0xDC80, 0xDD00)  # a byte that was not UTF-8, as os.fsdecode hands it on


def printable(text: str) -> str:
    """`text` in one line without control, format, bidirectional, invisible and surrogate characters.

    Each of them becomes its escape: `\\n`, `\\x1b`, `\\u202e`; a byte that was not UTF-8 becomes `\\xff`.
    """
    if text.isprintable() and (text.isascii() or not _INVISIBLE.search(text)):
        return text
    return "".join(c if c.isprintable() and not _INVISIBLE.match(c) else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code in _UNDECODED:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Block(str):
    """A text of several lines: those were put together here, so their line breaks are ours. Each line is masked alone.

    Composed into another text it becomes an ordinary one-line text again.
    """

    lines: tuple[str, ...]

    def __new__(cls, *lines: str) -> Block:
        block = super().__new__(cls, "\n".join(lines))
        block.lines = lines
        return block


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a Block; any other text is one line."""
    return text.lines if isinstance(text, Block) else (text,)


def counted(count: int, one: str, many: str = "") -> str:
    """`1 entry`, `2,000 entries`: a number with its word; `many` where it is not `one` and an s."""
    return f"{count:,} {one if count == 1 else many or _plural(one)}"


def _plural(one: str) -> str:
    return f"{one[:-1]}ies" if one.endswith("y") and one[-2:-1] not in "aeiou" else f"{one}s"
