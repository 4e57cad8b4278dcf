"""What the engine is given to apply. Made by commands/sources.py and daemon/."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field

from reloader.errors import Problem
from reloader.frozen import frozen
from reloader.pipeline.wish import Wish
from reloader.store.records import Cause


@frozen
class ApplyRequest:
    """One pipeline to be applied: the wish, the bytes read with it, and why."""

    wish: Wish
    blobs: Mapping[str, bytes] = field(default_factory=dict)  # digest -> contents, for what is not stored yet
    reason: str = "apply"  # in words
    cause: Cause = Cause.APPLY
    reset: Collection[str] = ()
    lossy_rollback: bool = False  # accept state rules whose way back loses something
    leave_out: bool = False  # entries of state without a place in the layout that is gone to are given up and counted
    prune: bool = False  # entries of config maps that reloader did not write may be deleted
    take_over: bool = False  # somebody else's programs on our hooks give way
    source: str = ""  # the file it came from
    unrecorded: Mapping[str, Sequence[Problem]] = field(default_factory=dict)  # state map -> why it needs a reset
    tests: bool = True  # False: do not run the wish's tests
    origin: int = 0  # rollback: the generation whose wish this is

    @property
    def way_back(self) -> bool:
        """Whether an earlier version returns: by a rollback, at the end of a trial, after a restart."""
        return self.origin > 0
