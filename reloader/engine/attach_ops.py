"""Ops on attachments: what each attaches or swaps, and where a program of others gives way or comes back.

links.py and the places do it. Called by engine/execute.py's match.
"""

from __future__ import annotations

import os

from reloader.engine import links
from reloader.engine.workspace import Workspace
from reloader.kernel import Kernel
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of
from reloader.places.place import ClearsOthers, TakesOver
from reloader.plan import ops


def swap(bench: Workspace, op: ops.SwapLink) -> None:
    """Swap the program behind a pinned link."""
    wished = bench.wish.attachments if bench.wish else ()
    attachment = next((a for a in wished if a.id == op.attachment), None)
    wanted = links.Swap(name=op.attachment, path=op.path, new=op.new, old=op.old, waits=op.waits, back=op.back)
    links.swap(bench.kernel, wanted, attachment)


def take_over(bench: Workspace, op: ops.TakeOver | ops.GiveBack | ops.RemoveFilter) -> None:
    """Somebody else's program gives way to ours, or comes back."""
    kernel = bench.kernel
    match op:
        case ops.TakeOver():
            _take(kernel, op)
        case ops.GiveBack():
            _give_back(kernel, op)
        case ops.RemoveFilter(back=True):
            _restore(kernel, op)
        case ops.RemoveFilter():
            _clearing(op.attachment).remove(kernel, op.filter)


def _take(kernel: Kernel, op: ops.TakeOver) -> None:
    pins, attachment = kernel.pins, op.attachment
    pins.mkdir(os.path.dirname(op.path))
    pins.unpin(op.path)  # of a place that is missing: the plan saw no living link of ours
    with pins.get(op.theirs) as theirs, pins.get(op.program) as program:
        link = _taking(attachment).take(kernel, program, attachment.program, theirs=theirs, how=op.mode)
    with link:
        pins.pin(link, op.path)


def _give_back(kernel: Kernel, op: ops.GiveBack) -> None:
    """Whether or not it was taken: our link goes if it runs our program, theirs comes unless it sits there."""
    _let_go(kernel, op)
    if kernel.pins.exists(op.theirs):
        with kernel.pins.get(op.theirs) as theirs:
            _taking(op.attachment).give_back(kernel, theirs, op.mode)


def _let_go(kernel: Kernel, op: ops.GiveBack) -> None:
    pins = kernel.pins
    if not pins.exists(op.path) or not pins.exists(op.program):
        return
    with pins.get(op.path) as link, pins.get(op.program) as program:
        if kernel.links.info(link).prog_id == kernel.progs.info(program).id:
            kernel.links.detach(link)
            pins.unpin(op.path)


def _restore(kernel: Kernel, op: ops.RemoveFilter) -> None:
    if kernel.pins.exists(op.theirs):
        with kernel.pins.get(op.theirs) as theirs:
            _clearing(op.attachment).restore(kernel, op.filter, theirs)


def _taking(attachment: WishAttachment) -> TakesOver:
    place = place_of(attachment.type, attachment.target)
    assert isinstance(place, TakesOver), f"{attachment.id}: no program gives way there"
    return place


def _clearing(attachment: WishAttachment) -> ClearsOthers:
    place = place_of(attachment.type, attachment.target)
    assert isinstance(place, ClearsOthers), f"{attachment.id}: no filter is removed there"
    return place
