"""Ops on config maps: entries in place, spare maps and sides, and what other processes wrote. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from reloader.frozen import frozen
from reloader.plan.ops.base import NothingOwed, OpBase
from reloader.plan.ops.pins import Unpin


@frozen
class SetEntries(OpBase):
    """Make a live map hold exactly (prune) or at least the entries of a stored file, by the difference."""

    TAG: ClassVar[str] = "SetEntries"
    visible: ClassVar[bool] = True
    map: str
    path: str
    entries: str  # digest
    before: str  # digest of what it held when planned
    prune: bool
    back: bool = False  # an undo: only keys that going from `entries` to `before` wrote are touched

    def undo(self) -> SetEntries:
        return replace(self, entries=self.before, before=self.entries, back=True)

    def label(self) -> str:
        return f"writing {self.map}"


@frozen
class CreateSpareMap(OpBase):
    """Create a map like the one pinned at `like`, fill, check and pin it; packets do not see it yet."""

    TAG: ClassVar[str] = "MakeInner"
    map: str
    like: str  # pin path of the live one
    path: str
    entries: str  # digest

    def undo(self) -> Unpin:
        return Unpin(path=self.path)

    def label(self) -> str:
        return f"writing {self.map}"


@frozen
class PutSlot(OpBase):
    """Put a map on one side of a config map's two. What is there already is left alone."""

    TAG: ClassVar[str] = "PutSlot"
    map: str
    path: str  # pin of the pair of slots
    side: int
    inner: str  # pin path
    before: str  # pin path of what goes there on the way back

    def undo(self) -> PutSlot:
        return replace(self, inner=self.before, before=self.inner)


@frozen
class FlipSide(OpBase):
    """One store: from now on packets look at the other side of every config map."""

    TAG: ClassVar[str] = "FlipSide"
    visible: ClassVar[bool] = True
    path: str  # pin of the word
    side: int

    def undo(self) -> FlipSide:
        return replace(self, side=1 - self.side)

    def label(self) -> str:
        return "swapping"


@frozen
class CheckEntries(NothingOwed):
    """Refuse the change when a map that is about to be retired holds what reloader did not put there."""

    TAG: ClassVar[str] = "CheckEntries"
    map: str
    path: str  # pin of the live map
    entries: str = ""  # digest of the new listing, if its keys mean the same; empty: nothing of the map stays
    recorded: str = ""  # digest of the recorded listing; empty: reloader wrote none of its entries


@frozen
class CarryEntries(OpBase):
    """Copy the entries that others wrote to a retired map since the plan into its successor; listed ones stay."""

    TAG: ClassVar[str] = "CarryEntries"
    map: str
    source: str  # pin path
    target: str  # pin path
    entries: str  # digest of the listing
    recorded: str = ""  # as for CheckEntries
