"""Ops that look at a retired map once more, for what other processes put there. Part of ops.py. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen


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
