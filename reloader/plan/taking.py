"""Ops on programs that others attached: held by a pin, taken off a hook, given back. Part of ops.py. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.filters import Filter
from reloader.frozen import frozen
from reloader.spec.wish import WishAttachment


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
