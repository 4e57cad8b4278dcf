"""Ops that store blobs, load programs beside the running ones, fill fresh maps and run tests. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen


@frozen
class StoreBlob:
    """Keep an object or encoded entries by digest in the record directory, linked to the pipeline."""

    TAG: ClassVar[str] = "StoreBlob"
    blob: str  # "objects", "entries" or "tests"
    digest: str


@frozen
class DropBlob:
    TAG: ClassVar[str] = "DropBlob"
    blob: str
    digest: str


@frozen
class Load:
    """Load programs beside the running ones; lasts only as long as this process until pinned."""

    TAG: ClassVar[str] = "Load"
    load: int
    objects: tuple[str, ...]  # digests
    programs: tuple[str, ...]
    rodata: dict[str, bytes]
    omit: tuple[str, ...]  # the header's own maps, which only a bridge needs
    max_entries: dict[str, int]
    reuse: dict[str, str]  # map -> pin path of the live map that serves on
    metadata: dict[str, str]
    stage: str = "clean"  # or "bridge": a second build of the same programs on the same maps


@frozen
class FillMap:
    """Put a config map's entries into the fresh map of this transaction's load."""

    TAG: ClassVar[str] = "FillMap"
    map: str
    entries: str  # digest


@frozen
class Prove:
    """Run the wish's tests on a load of its own with maps of its own, which go with it: no undo is owed."""

    TAG: ClassVar[str] = "Prove"
    tests: str  # digest
    count: int
    against: int = 0  # the generation that budgets are measured against; 0: none
    unmeasured: str = ""  # why none
