"""Constants for people: the values in force by field name, and which fields differ between two wishes.

From wishes alone, so that a stored generation needs no source tree. Used by plan/lines.py and report/history.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reloader.frozen import frozen
from reloader.pipeline import texts
from reloader.pipeline.wish import Constant, Wish
from reloader.structs.decode import fields, show
from reloader.structs.numbers import HEX

LARGEST = 4096  # bytes of a constant that a record keeps although the YAML does not set it
MOST = 20  # fields of one constant that are named
COMPILED = texts.AS_COMPILED()  # a record of before compiled values were kept does not say which value that is


@frozen
class FieldChange:
    """One field of a constant, by dotted path from the constant's name. Empty: it has none on that side."""

    path: str
    old: str
    new: str
    set: bool = True  # whether the YAML sets the constant now; False: it has the object's value
    more: int = 0  # fields of the constant that are not named

    def text(self) -> str:
        if self.more:
            return texts.MORE_FIELDS(more=self.more)
        return texts.FIELD_CHANGED(old=self.old or "none", new=self.new or "none")


@frozen
class _Side:
    """One constant of one wish."""

    known: Constant | None  # None: no record says its type
    data: bytes | None  # None: the compiled value, which the record does not say

    @property
    def large(self) -> bool:
        """Whether a record keeps it only where the YAML sets it."""
        return len(self.data or b"") > LARGEST

    @property
    def compiled(self) -> _Side:
        """The same constant as its object has it."""
        return _Side(known=self.known, data=self.known.compiled if self.known else None)

    def fields(self, name: str, other: _Side | None) -> dict[str, str]:
        known = self.known or (other.known if other else None)
        if self.data is None:
            return {name: COMPILED}
        if known is None or known.type.size != len(self.data):
            return {name: HEX + self.data.hex()}
        return dict(fields(known.type, self.data, known.byteorder, name))


def shown(wish: Wish) -> dict[str, Any]:
    """Each constant that the wish sets, as JSON values by field name; `hex:…` where the record says no type."""
    known = {c.name: c for c in wish.constants}
    return {
        name: show(known[name].type, data, known[name].byteorder) if name in known else HEX + data.hex()
        for name, data in wish.rodata.items()
    }


def changes(old: Wish | None, new: Wish) -> Iterator[FieldChange]:
    """Every field whose value differs. Without an old wish: every field that the YAML sets otherwise than compiled."""
    before, after = _sides(old), _sides(new)
    same = old is not None and [o.digest for o in old.objects] == [o.digest for o in new.objects]
    for name in sorted({*before, *after}):
        a, b = before.get(name), after.get(name)
        if old is None and b is not None and b.known is None:
            continue  # a record of before constants were described: nothing says what the value was
        if a is None and b is not None and name in new.rodata:
            known = old is None or same or (bool(old.constants) and not b.large)
            a = b.compiled if known else _Side(known=b.known, data=None)
        elif b is None and a is not None and old is not None and name in old.rodata and (a.large or not new.constants):
            b = a.compiled if same else _Side(known=a.known, data=None)
        if a is not None and (b is not None or (old is not None and name in old.rodata)):
            yield from _compared(name, a, b, is_set=name in new.rodata)


def _sides(wish: Wish | None) -> dict[str, _Side]:
    if wish is None:
        return {}
    found: Mapping[str, Constant] = {c.name: c for c in wish.constants}
    compiled = {c.name: c.compiled for c in wish.constants}
    return {name: _Side(known=found.get(name), data=data) for name, data in {**compiled, **wish.rodata}.items()}


def _compared(name: str, a: _Side, b: _Side | None, *, is_set: bool) -> Iterator[FieldChange]:
    if b is not None and a.data == b.data and (a.known is None or b.known is None or a.known.type == b.known.type):
        return  # also where only a byte order is said otherwise: the bytes are the same
    was, now = a.fields(name, b), b.fields(name, a) if b else {}
    if any(text is COMPILED for text in (was.get(name), now.get(name))) or set(was) & set(now) == set():
        was, now = _whole(name, was), _whole(name, now)
    differing = [path for path in dict.fromkeys([*was, *now]) if was.get(path) != now.get(path)]
    for path in differing[:MOST]:
        yield FieldChange(path=path, old=was.get(path, ""), new=now.get(path, ""), set=is_set)
    if len(differing) > MOST:
        yield FieldChange(path=name, old="", new="", set=is_set, more=len(differing) - MOST)


def _whole(name: str, found: Mapping[str, str]) -> dict[str, str]:
    """The same on one line, where the two sides have no field in common."""
    if set(found) <= {name}:
        return dict(found)
    return {name: "{" + ", ".join(f"{path[len(name) :].removeprefix('.')}: {t}" for path, t in found.items()) + "}"}
