"""Ops that attach programs and swap them, take over hooks from others, and wait for packets. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.filters import Filter
from reloader.frozen import frozen
from reloader.spec.wish import WishAttachment


@frozen
class CreateLink:
    """Attach where nothing of ours is attached, and pin the link."""

    TAG: ClassVar[str] = "CreateLink"
    attachment: WishAttachment
    program: str  # pin path
    path: str  # the link's pin


@frozen
class SwapLink:
    """Compare-and-swap the program behind a pinned link."""

    TAG: ClassVar[str] = "SwapLink"
    attachment: str
    path: str  # the link's pin
    new: str  # program pin path
    old: str  # program pin path; what must be running there
    waits: float = 0.0  # s before it, after a barrier: for packets between two hooks
    grace: float = 0.0  # s that its undo has to wait
    back: bool = False  # an undo: a program that is neither is somebody else's doing since, and stays


@frozen
class HoldForeign:
    """Pin somebody else's program, so that it can be put back."""

    TAG: ClassVar[str] = "HoldForeign"
    id: int  # kernel id
    path: str


@frozen
class TakeOver:
    """Put our link in the place of a program that was attached by netlink: the kernel has no swap for this."""

    TAG: ClassVar[str] = "TakeOver"
    attachment: WishAttachment
    program: str  # pin path
    path: str  # the link's pin
    theirs: str  # pin path; what must sit there
    mode: str  # theirs


@frozen
class GiveBack:
    """Take our link off, and attach theirs by netlink unless something sits there."""

    TAG: ClassVar[str] = "GiveBack"
    attachment: WishAttachment
    program: str
    path: str
    theirs: str
    mode: str


@frozen
class RemoveFilter:
    """Delete a classic filter of somebody else's, once a link of ours sits on the same hook."""

    TAG: ClassVar[str] = "RemoveFilter"
    attachment: WishAttachment
    filter: Filter
    theirs: str  # pin path of the program that it must run
    back: bool = False  # an undo: make it again, unless its place is taken or its interface is missing


@frozen
class Barrier:
    """Wait until no instance of a replaced program still runs."""

    TAG: ClassVar[str] = "Barrier"
    grace: float = 0.0  # s more: for packets on their way from one hook to another


@frozen
class SetGate:
    """Let a later hook's new program find the version before it, for packets of that generation."""

    TAG: ClassVar[str] = "SetGate"
    path: str  # pin of the program array
    program: str  # pin path of the version before


@frozen
class ClearGate:
    """Let go of the version before."""

    TAG: ClassVar[str] = "ClearGate"
    path: str
