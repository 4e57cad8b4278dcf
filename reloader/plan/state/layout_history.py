"""Which version of its history a live or wished layout is, and whether two histories of a map agree. Pure.

A number is only a name: whoever writes a version's file anew, or merges two branches, leaves the number as it was
and means another layout by it. So layouts decide, and a number only chooses between versions of equal layout.
Used by lifecycle/conversions.py and plan/state/bring_in.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from reloader.frozen import frozen
from reloader.layouts.rules import LayoutVersion
from reloader.plan.state.compat import differences
from reloader.structs.tree import TypeTree, identity

History = tuple[LayoutVersion, ...]
Types = tuple[TypeTree | None, TypeTree | None]  # key and value; None: nothing describes it, or it is an index


@frozen
class Span:
    """Two layouts in one history."""

    history: History
    old: int  # version; 0: none of the history
    new: int


def span(was: Types, recorded: History, now: Types, wished: History) -> Span:
    """`recorded` is what the old layout was committed with, `wished` what comes with the new one; each ends with the
    version it is of."""
    found = [
        Span(history=h, old=_version(h, was, recorded), new=_version(h, now, wished))
        for h in _histories(recorded, wished)
    ]
    return max(found, key=lambda s: bool(s.old) + bool(s.new))


def same_schema(recorded: History, wished: History) -> bool:
    """Whether their numbers can be compared at all."""
    return bool(recorded and wished) and recorded[-1].schema == wished[-1].schema


def edited(recorded: History, wished: History) -> tuple[int, tuple[str, ...]]:
    """The first version that the two mean different layouts by, and what differs; 0: they agree."""
    known = {v.version: v for v in recorded} if same_schema(recorded, wished) else {}
    for now in wished:
        was = known.get(now.version)
        found = _unlike(was, now) if was else ()
        if found:
            return now.version, found
    return 0, ()


def _unlike(was: LayoutVersion, now: LayoutVersion) -> tuple[str, ...]:
    sides = (("key", was.key, now.key), ("value", was.value, now.value))
    return tuple(str(d) for path, old, new in sides for d in differences(old, new, path=path))


def _histories(recorded: History, wished: History) -> list[History]:
    if recorded and wished and not same_schema(recorded, wished):
        return [wished, recorded]
    known = {v.version: v for v in (*recorded, *wished)}
    return [tuple(known[number] for number in sorted(known))]


def _version(history: History, types: Types, own: Sequence[LayoutVersion]) -> int:
    """Of the versions with this layout its own, else the newest."""
    alike = {v.version for v in history if _has(v, types)}
    if own and history and own[-1].schema == history[-1].schema and own[-1].version in alike:
        return own[-1].version
    return max(alike, default=0)


def _has(version: LayoutVersion, types: Types) -> bool:
    sides = zip((version.key, version.value), types, strict=True)
    return all(tree is None or identity(tree) == identity(recorded) for recorded, tree in sides)
