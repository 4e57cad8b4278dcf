"""Ops that store blobs, load programs beside the running ones, fill fresh maps and run tests. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen
from reloader.plan.ops.base import NothingOwed, OpBase
from reloader.wording.printable import counted


@frozen
class StoreBlob(OpBase):
    """Keep an object or encoded entries by digest in the record directory, linked to the pipeline."""

    TAG: ClassVar[str] = "StoreBlob"
    on_disk: ClassVar[bool] = True
    blob: str  # "objects", "entries" or "tests"
    digest: str

    def undo(self) -> DropBlob:
        return DropBlob(blob=self.blob, digest=self.digest)


@frozen
class DropBlob(OpBase):
    """Unlink a stored blob from the pipeline unless a stored generation needs it; the last unlink deletes it."""

    TAG: ClassVar[str] = "DropBlob"
    on_disk: ClassVar[bool] = True
    blob: str
    digest: str


@frozen
class Load(NothingOwed):
    """Load programs beside the running ones; lasts only as long as this process until pinned."""

    TAG: ClassVar[str] = "Load"
    privileged: ClassVar[bool] = True
    load: int
    objects: tuple[str, ...]  # digests
    programs: tuple[str, ...]
    rodata: dict[str, bytes]
    omit: tuple[str, ...]  # the header's own maps, which only a bridge needs
    max_entries: dict[str, int]
    reuse: dict[str, str]  # map -> pin path of the live map that serves on
    metadata: dict[str, str]
    stage: str = "clean"  # or "bridge": a second build of the same programs on the same maps

    def label(self) -> str:
        return f"loading {', '.join(self.programs)}"


@frozen
class FillMap(NothingOwed):
    """Put a config map's entries into the fresh map of this transaction's load."""

    TAG: ClassVar[str] = "FillMap"
    map: str
    entries: str  # digest

    def label(self) -> str:
        return f"writing {self.map}"


@frozen
class RunTests(NothingOwed):
    """Run the wish's tests on a separate load with separate maps. Both end with the op, so no undo is owed."""

    TAG: ClassVar[str] = "Prove"
    tests: str  # digest
    count: int
    against: int = 0  # the generation that budgets are measured against; 0: none
    unmeasured: str = ""  # why none

    def label(self) -> str:
        return f"running {counted(self.count, 'test')}"
