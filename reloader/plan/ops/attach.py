"""Ops that attach programs and swap them, take over hooks from others, and wait for packets. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from reloader.frozen import frozen
from reloader.pipeline.wish import WishAttachment
from reloader.plan.ops.base import NothingOwed, OpBase
from reloader.plan.ops.pins import Unpin


@frozen
class CreateLink(OpBase):
    """Attach where nothing of ours is attached, and pin the link."""

    TAG: ClassVar[str] = "CreateLink"
    visible: ClassVar[bool] = True
    serving: ClassVar[bool] = True
    privileged: ClassVar[bool] = True
    clean_refusal: ClassVar[bool] = True
    attachment: WishAttachment
    program: str  # pin path
    path: str  # the link's pin

    def undo(self) -> Unpin:
        return Unpin(path=self.path)

    def label(self) -> str:
        return "swapping"


@frozen
class SwapLink(OpBase):
    """Compare-and-swap the program behind a pinned link."""

    TAG: ClassVar[str] = "SwapLink"
    visible: ClassVar[bool] = True
    serving: ClassVar[bool] = True
    privileged: ClassVar[bool] = True
    one_call: ClassVar[bool] = True
    clean_refusal: ClassVar[bool] = True
    attachment: str
    path: str  # the link's pin
    new: str  # program pin path
    old: str  # program pin path; what must be running there
    waits: float = 0.0  # s before it, after a barrier: for packets between two hooks
    grace: float = 0.0  # s that its undo has to wait
    back: bool = False  # an undo: a program that is neither is somebody else's doing since, and stays

    def undo(self) -> SwapLink:
        return SwapLink(
            attachment=self.attachment, path=self.path, new=self.old, old=self.new, waits=self.grace, back=True
        )

    def label(self) -> str:
        return "swapping"


@frozen
class HoldForeign(OpBase):
    """Pin somebody else's program, so that it can be put back."""

    TAG: ClassVar[str] = "HoldForeign"
    id: int  # kernel id
    path: str

    def undo(self) -> Unpin:
        return Unpin(path=self.path)


@frozen
class TakeOver(OpBase):
    """Put our link in the place of a program that was attached by netlink: the kernel has no swap for this."""

    TAG: ClassVar[str] = "TakeOver"
    visible: ClassVar[bool] = True
    serving: ClassVar[bool] = True
    attachment: WishAttachment
    program: str  # pin path
    path: str  # the link's pin
    theirs: str  # pin path; what must sit there
    mode: str  # how theirs is attached, as the place says it

    def undo(self) -> GiveBack:
        return GiveBack(
            attachment=self.attachment, program=self.program, path=self.path, theirs=self.theirs, mode=self.mode
        )

    def displaces(self) -> str:
        return self.attachment.id


@frozen
class GiveBack(OpBase):
    """Take our link off, and attach theirs by netlink unless something sits there."""

    TAG: ClassVar[str] = "GiveBack"
    attachment: WishAttachment
    program: str
    path: str
    theirs: str
    mode: str


@frozen
class RemoveFilter(OpBase):
    """Delete a classic filter of somebody else's, once a link of ours sits on the same hook."""

    TAG: ClassVar[str] = "RemoveFilter"
    visible: ClassVar[bool] = True
    attachment: WishAttachment
    filter: dict[str, Any]  # as the place that found it describes it
    theirs: str  # pin path of the program that it must run
    back: bool = False  # an undo: make it again, unless its place is taken or missing

    def undo(self) -> RemoveFilter:
        return replace(self, back=True)

    def displaces(self) -> str:
        return self.attachment.id


@frozen
class Barrier(NothingOwed):
    """Wait until no instance of a replaced program still runs."""

    TAG: ClassVar[str] = "Barrier"
    grace: float = 0.0  # s more: for packets on their way from one hook to another


@frozen
class SetGate(NothingOwed):
    """Let a later hook's new program find the version before it, for packets of that generation."""

    TAG: ClassVar[str] = "SetGate"
    path: str  # pin of the program array
    program: str  # pin path of the version before


@frozen
class ClearGate(OpBase):
    """Let go of the version before."""

    TAG: ClassVar[str] = "ClearGate"
    path: str
