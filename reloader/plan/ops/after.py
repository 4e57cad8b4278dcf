"""Ops that only follow the commit: records, what readers open, and cleaning up. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen
from reloader.plan.ops.base import OpBase


@frozen
class EndPanic(OpBase):
    """Unpin the programs of a panic, but for one that a link of ours has come to run again meanwhile; take off what
    a rescue script attached."""

    TAG: ClassVar[str] = "EndPanic"


@frozen
class PutRecord(OpBase):
    """Write the generation and make it current; the content stands in the journal's commit record."""

    TAG: ClassVar[str] = "PutRecord"
    on_disk: ClassVar[bool] = True


@frozen
class Publish(OpBase):
    """Let pub/<map> show the map pinned at `source`, by rename."""

    TAG: ClassVar[str] = "Publish"
    source: str
    path: str
    group: int = -1  # that may read it; -1: none


@frozen
class Share(OpBase):
    """Let a group read the maps below pub/ and pass the folders on the way to them, or take that back."""

    TAG: ClassVar[str] = "Share"
    group: int  # -1: none


@frozen
class Freeze(OpBase):
    """Refuse user-space writes to a retired config map, so that a stale writer sees EPERM."""

    TAG: ClassVar[str] = "Freeze"
    path: str
    own: tuple[int, ...] = ()  # ids of maps in a map of maps that are not retired with it


@frozen
class DropLoad(OpBase):
    """Unpin a retired load's programs and maps."""

    TAG: ClassVar[str] = "DropLoad"
    path: str  # loads/<n>


@frozen
class Prune(OpBase):
    """Forget generations past the newest few, and blobs that no stored generation needs."""

    TAG: ClassVar[str] = "Prune"
    on_disk: ClassVar[bool] = True


@frozen
class DropPipeline(OpBase):
    """Remove what is left of a pipeline: empty directories, and its records unless state is parked."""

    TAG: ClassVar[str] = "DropPipeline"
    on_disk: ClassVar[bool] = True
    records: bool
    sources: tuple[str, ...] = ()  # YAML files it came from, whose compiled form is forgotten too
