"""Ops that move the entries of state maps into another layout, or out of an exported file. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from reloader.frozen import frozen
from reloader.layouts.nesting import Nesting
from reloader.layouts.rules import Conversion
from reloader.plan.ops.base import NothingOwed, OpBase
from reloader.plan.ops.pins import Unpin


@frozen
class CheckFit(NothingOwed):
    """Look whether the kernel takes the migration program, and every value its narrowed field; changes nothing."""

    TAG: ClassVar[str] = "CheckFit"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion
    nesting: Nesting | None = None  # of maps of maps
    kept: bool = False  # as for Drain
    lossy: bool = False
    entries: int = 0  # as counted for the plan; 0: unknown

    def label(self) -> str:
        return f"checking that the values of {self.map} fit"


@frozen
class CopyOver(NothingOwed):
    """Give the new map every entry of the old, counters at zero, while the old program still serves."""

    TAG: ClassVar[str] = "CopyOver"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion
    nesting: Nesting | None = None  # of maps of maps
    lossy: bool = False  # as for Drain
    entries: int = 0  # as counted for the plan; 0: unknown
    back: bool = False  # an undo: the old map gets what was moved out of it before the old program serves again

    def label(self) -> str:
        return f"copying the entries of {self.map}"


@frozen
class OweDrainBack(OpBase):
    """Mark in the journal that the new map may hold state from here on; the undo drains it back to the old map."""

    TAG: ClassVar[str] = "Convert"
    returns_state: ClassVar[bool] = True
    map: str
    source: str
    target: str
    back: Conversion  # target's layout → source's
    nesting: Nesting | None = None
    kept: bool = False  # as for Drain

    def undo(self) -> Drain:
        return Drain(
            map=self.map,
            source=self.target,
            target=self.source,
            rules=self.back,
            nesting=replace(self.nesting, inner=None) if self.nesting else None,
            kept=self.kept,
            back=not self.kept,
            lossy=True,
        )


@frozen
class Drain(NothingOwed):
    """Move what is left in `source` into `target`, counts exactly once, until nothing is left."""

    TAG: ClassVar[str] = "Drain"
    map: str
    source: str
    target: str
    rules: Conversion
    nesting: Nesting | None = None
    late: bool = False  # after the commit: for what user space wrote to the old map last
    kept: bool = False  # of a config map: counters only, into entries that both maps hold
    lossy: bool = False  # entries without a place in `target` are left out and counted; else they stop it
    entries: int = 0  # as counted for the plan; 0: unknown
    back: bool = False  # an undo: nothing is owed unless a new program may have run
    home: Conversion | None = None  # target's layout → source's: the undo copies ahead by it; None: it need not

    def undo(self) -> CopyOver | None:
        if self.home is None:
            return None
        return CopyOver(map=self.map, source=self.target, target=self.source, rules=self.home, lossy=True, back=True)

    def label(self) -> str:
        return f"moving the entries of {self.map}"


@frozen
class FillFromFile(OpBase):
    """Put one map of an exported file into a map of its own, of the file's layout, that nobody uses, and pin that."""

    TAG: ClassVar[str] = "FillFromFile"
    map: str
    file: str
    path: str
    signature: tuple[int, ...] = ()  # of the file that was judged; another one is not read

    def undo(self) -> Unpin:
        return Unpin(path=self.path)


@frozen
class MergeIntoState(OpBase):
    """Move the entries of `source` into a live state map, each count exactly once; entries without room are dropped."""

    TAG: ClassVar[str] = "Absorb"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion
