"""Facts that every op states about itself.

A new op is two edits: a class in this room, which overrides the facts that differ and is listed in `Op`,
and its execution in engine/execute.py. mypy reports an op of `Op` without execution. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from reloader.plan.ops import Op


class OpBase:
    """Hold the default facts: those of an op that may only follow the commit and may be run again without harm."""

    __slots__ = ()

    TAG: ClassVar[str]  # name of the op in journals and plans; independent of the name of the class
    on_disk: ClassVar[bool] = False  # outlives a restart of the kernel
    visible: ClassVar[bool] = False  # traffic can notice it
    serving: ClassVar[bool] = False  # from here on new programs may write to new maps
    privileged: ClassVar[bool] = False  # needs CAP_BPF and CAP_NET_ADMIN
    one_call: ClassVar[bool] = False  # a single system call: after a KernelError it has not happened
    clean_refusal: ClassVar[bool] = False  # after an AttachRefused, traffic has noticed nothing
    returns_state: ClassVar[bool] = False  # its undo moves state back, after the undos of all links

    def undo(self) -> Op | None:
        """Return the op that takes this one back, or None if nothing is owed.

        LookupError for an op that may only follow the commit.
        """
        raise LookupError(f"{self.TAG} has no undo and may only follow the commit")

    def label(self) -> str:
        """Return the text that progress shows while this op runs."""
        return "working"

    def displaces(self) -> str:
        """Return the attachment that takes the place of another owner's program; empty if there is none."""
        return ""


class NothingOwed(OpBase):
    """Mark an op before the commit that needs no undo: its result ends with the process, or it may stay."""

    __slots__ = ()

    def undo(self) -> Op | None:
        """Return None; an op that owes an undo in some cases overrides this."""
        return None
