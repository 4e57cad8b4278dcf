"""What others have on an interface's traffic control, as values: classic filters, and programs on the tcx hook.

The Links of kernel/ speak of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from reloader.frozen import frozen

if TYPE_CHECKING:
    from reloader.kernel import Fd


@frozen
class Filter:
    """A classic traffic control filter, as `tc filter show` lists it: all that tells it from others."""

    kind: str  # "bpf", "flower", …
    pref: int
    handle: int
    chain: int = 0
    protocol: int = 3  # ETH_P_*, host order; 3: all
    prog_id: int = 0  # of kind bpf; 0: none
    name: str = ""  # of kind bpf: what `tc` noted of the object
    flags: int = 0  # TCA_BPF_FLAGS
    flags_gen: int = 0  # TCA_BPF_FLAGS_GEN
    classid: int = 0
    exact: bool = False  # all of it is known here, so that it can be made again as it was


@frozen
class TcxEntry:
    """One program on an interface's tcx hook; they run in the order of the list."""

    prog_id: int
    link_id: int  # 0: attached without a link


class TrafficControl(Protocol):
    """What kernel.Links may be asked of an interface's traffic control. remove and restore are lasting effects."""

    def tcx_entries(self, *, ifindex: int, direction: str, netns: str | None) -> tuple[TcxEntry, ...]:
        """The programs on a tcx hook in the order in which they run; none where the kernel has no such hook."""

    def filters(self, *, ifindex: int, direction: str, netns: str | None) -> tuple[Filter, ...]:
        """The classic filters of a direction, by preference. They run where tcx lets a packet pass on."""

    def remove_filter(self, found: Filter, *, ifindex: int, direction: str, netns: str | None) -> None:
        """Delete exactly this filter; EEXIST when another program sits at its place, ENOENT when none does."""

    def restore_filter(self, found: Filter, prog: Fd, *, ifindex: int, direction: str, netns: str | None) -> None:
        """Make a filter again as it was, running `prog`; EEXIST when its place is taken."""
