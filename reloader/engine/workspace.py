"""What the ops of one transaction work with: the host, blobs not stored yet, and the descriptors of its loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reloader.config_maps.entry_changes import EntryDiff
from reloader.kernel import Fd, Loaded
from reloader.kernel.host import Host, OnHost
from reloader.observe.pipeline import Observed
from reloader.pipeline.wish import Wish
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.store import records
from reloader.store.records import Current, Generation

if TYPE_CHECKING:
    from reloader.convert.nested import Succession
    from reloader.packet_tests.run import Result as Proof


def silent(_: str) -> None:
    """Progress that goes nowhere."""


@dataclass(slots=True, kw_only=True)
class Workspace(OnHost):
    """What ops work with: the kernel, the stored blobs, and the descriptors of this transaction's load."""

    host: Host
    pipeline: str
    wish: Wish | None
    blobs: dict[str, bytes] = field(default_factory=dict)  # digest -> bytes not stored yet
    seen: Observed | None = None  # what the plan was made of; None: it was made by another process
    diffs: Mapping[tuple[str, str], EntryDiff] = field(default_factory=dict)  # map, wanted entries -> as planned
    loads: dict[str, Loaded] = field(default_factory=dict)  # by stage: "clean", "bridge"
    inner: dict[str, Succession] = field(default_factory=dict)  # map of maps -> which inner map came of which
    commit: tuple[Generation | None, Current] | None = None  # what PutRecord writes
    told: list[str] = field(default_factory=list)  # what ops have to say to the user
    proof: tuple[Proof, ...] = ()  # how the wish's tests ended
    copied: dict[tuple[str, bool], Fd] = field(default_factory=dict)  # map, whether back -> keys that were copied ahead
    bridged: dict[str, int] = field(default_factory=dict)  # what the bridge did, where not zero
    served: bool = True  # on the way back: whether a new program may have run
    resumed: bool = False  # whether an earlier attempt at it had brought the old programs back already
    moved: dict[str, int] = field(default_factory=dict)  # map -> entries that drains found and moved
    left_out: dict[str, int] = field(default_factory=dict)  # map -> entries that drains gave up, having no place
    progress: Callable[[str], None] = silent
    interrupted: bool = False  # by a signal that came after the commit, or just before it
    done: list[Op] = field(default_factory=list)  # what was begun, in order; the last may have failed

    def blob(self, blob: str, digest: str) -> bytes:
        """An object's or entries' bytes: what was read with the wish, else the stored copy."""
        return self.blobs[digest] if digest in self.blobs else records.read_blob(self.paths, blob, digest)

    def remember(self, op: ops.CopyOver, keys: Fd | None) -> None:
        """Which keys a copy found, until the drain that follows; of an attempt before, it is forgotten."""
        former = self.copied.pop((op.map, op.back), None)
        if former is not None:
            former.close()
        if keys is not None:
            self.copied[op.map, op.back] = keys

    def close(self) -> None:
        for loaded in self.loads.values():
            loaded.close()
        self.loads.clear()
        for fd in self.copied.values():
            fd.close()
        self.copied.clear()
