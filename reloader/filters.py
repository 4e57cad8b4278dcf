"""What others have on an interface's traffic control, as values: classic filters, and programs on the tcx hook.

A leaf beside kernel.py, whose Links speak of them.
"""

from __future__ import annotations

from reloader.frozen import frozen


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
