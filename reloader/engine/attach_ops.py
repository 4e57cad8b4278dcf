"""Ops on attachments: what each attaches, swaps or takes over. links.py and takeover.py do it.

Called by engine/execute.py's match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.engine import links
from reloader.kernel import XdpMode
from reloader.plan import ops

if TYPE_CHECKING:
    from reloader.engine.execute import Bench
    from reloader.engine.takeover import Replacement


def swap(bench: Bench, op: ops.SwapLink) -> None:
    """Swap the program behind a pinned link."""
    wished = bench.wish.attachments if bench.wish else ()
    attachment = next((a for a in wished if a.id == op.attachment), None)
    wanted = links.Swap(name=op.attachment, path=op.path, new=op.new, old=op.old, waits=op.waits, back=op.back)
    links.swap(bench.kernel, wanted, attachment)


def take_over(bench: Bench, op: ops.TakeOver | ops.GiveBack | ops.RemoveFilter) -> None:
    """Somebody else's program gives way to ours, or comes back."""
    from reloader.engine import takeover

    kernel, target = bench.kernel, op.attachment.target
    match op:
        case ops.TakeOver():
            takeover.take(kernel, _replacement(op), links.interface_of(kernel, target))
        case ops.GiveBack():
            takeover.give_back(kernel, _replacement(op))
        case ops.RemoveFilter(back=True):
            takeover.restore_filter(kernel, op.filter, target, op.theirs)
        case ops.RemoveFilter():
            takeover.remove_filter(kernel, op.filter, target, links.interface_of(kernel, target))


def _replacement(op: ops.TakeOver | ops.GiveBack) -> Replacement:
    from reloader.engine.takeover import Replacement

    mode = XdpMode(op.mode)
    return Replacement(attachment=op.attachment, program=op.program, path=op.path, theirs=op.theirs, mode=mode)
