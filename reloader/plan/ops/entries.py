"""Ops on config maps: entries in place, spare maps and sides, and what other processes wrote. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen


@frozen
class SetEntries:
    """Make a live map hold exactly (prune) or at least the entries of a stored file, by the difference."""

    TAG: ClassVar[str] = "SetEntries"
    map: str
    path: str
    entries: str  # digest
    before: str  # digest of what it held when planned
    prune: bool
    back: bool = False  # an undo: only keys that going from `entries` to `before` wrote are touched


@frozen
class MakeInner:
    """A new map like the one pinned at `like`, filled and checked, and pinned; packets do not see it yet."""

    TAG: ClassVar[str] = "MakeInner"
    map: str
    like: str  # pin path of the live one
    path: str
    entries: str  # digest


@frozen
class PutSlot:
    """Put a map on one side of a config map's two. What is there already is left alone."""

    TAG: ClassVar[str] = "PutSlot"
    map: str
    path: str  # pin of the pair of slots
    side: int
    inner: str  # pin path
    before: str  # pin path of what goes there on the way back


@frozen
class FlipSide:
    """One store: from now on packets look at the other side of every config map."""

    TAG: ClassVar[str] = "FlipSide"
    path: str  # pin of the word
    side: int


@frozen
class CheckEntries:
    """Refuse the change when a map that is about to be retired holds what reloader did not put there."""

    TAG: ClassVar[str] = "CheckEntries"
    map: str
    path: str  # pin of the live map
    entries: str = ""  # digest of the new listing, if its keys mean the same; empty: nothing of the map stays
    recorded: str = ""  # digest of the recorded listing; empty: reloader wrote none of its entries


@frozen
class CarryEntries:
    """Copy the entries that others wrote to a retired map since the plan into its successor; listed ones stay."""

    TAG: ClassVar[str] = "CarryEntries"
    map: str
    source: str  # pin path
    target: str  # pin path
    entries: str  # digest of the listing
    recorded: str = ""  # as for CheckEntries
