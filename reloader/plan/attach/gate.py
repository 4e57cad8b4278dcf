"""Attachments that change together: later hooks first, the version before within their reach, then the first hook.

While both versions are in use, the packet's own generation says which one judges it (reloader_gate.h). Used by
plan/builder.py. Pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

from reloader.frozen import frozen
from reloader.observe.pipeline import Observed
from reloader.pipeline.enums import GATE, GATE_STATS
from reloader.pipeline.wish import Wish
from reloader.plan import ops
from reloader.plan.attach import texts
from reloader.plan.attach.attachments import AttachmentChoice
from reloader.plan.config.map_exchange import LoadPaths
from reloader.plan.ops import Op
from reloader.wording.message import Message

GRACE = 0.1  # s; how long a packet may be on its way from the first hook to a later one
SWAP_MS = 1  # between two swaps, on a small machine; for the plan's words only


@frozen
class Gate:
    """What a change can do about packets that pass several hooks."""

    open: bool = False  # whether later hooks hand packets of the generation before back to it
    why_not: Message | None = None  # where the author asked for it and it cannot


def gate_of(wish: Wish, seen: Observed, choices: Sequence[AttachmentChoice], *, fresh: bool, converting: bool) -> Gate:
    swaps = [op for c in choices for op in c.ops if isinstance(op, ops.SwapLink)]
    if not wish.gates or len(swaps) < 2 or not fresh:
        return Gate()
    if seen.generation is None or not seen.generation.wish.gates:
        return Gate(why_not=texts.GENERATION_NOT_CARRIED())
    if converting:
        return Gate(why_not=texts.STATE_CONVERTED())
    before = {(c.wanted.program, op.old) for c in choices for op in c.ops if isinstance(op, ops.SwapLink)}
    if len({program for program, _ in before}) < len(before):
        return Gate(why_not=texts.FOLLOWS_SEVERAL())
    return Gate(open=True)


def rodata(wish: Wish, load: int) -> dict[str, bytes]:
    """What the programs of a load write beside their packets: struct rl_carried."""
    return {GATE: struct.pack("=2I", zlib.crc32(wish.pipeline.encode()), load)} if wish.gates else {}


def pins(wish: Wish, place: LoadPaths) -> list[Op]:
    names = [*(f"{GATE}_{program}" for program in wish.gates), GATE_STATS] if wish.gates else []
    return [ops.PinMap(map=n, path=place.engine_map(n)) for n in names]


def handed_back(wish: Wish, place: LoadPaths, choices: Sequence[AttachmentChoice]) -> list[Op]:
    """Before any swap: each later program learns where the version before it is."""
    return [
        ops.SetGate(path=place.engine_map(f"{GATE}_{c.wanted.program}"), program=op.old)
        for c in choices
        for op in c.ops
        if isinstance(op, ops.SwapLink) and c.wanted.program in wish.gates
    ]


def in_order(wish: Wish, choices: Sequence[AttachmentChoice], *, opened: bool) -> list[Op]:
    """Later hooks before first ones. On the way back they wait for packets that still carry the new generation."""
    later = [op for c in choices if c.wanted.program in wish.gates for op in c.ops]
    first = [op for c in choices if c.wanted.program not in wish.gates for op in c.ops]
    if opened:
        later = [replace(op, grace=GRACE) if isinstance(op, ops.SwapLink) else op for op in later]
    settled: list[Op] = [ops.Barrier(grace=GRACE)] if opened else []
    return [*later, *first, *settled]


def closed(wish: Wish, place: LoadPaths) -> list[Op]:
    """After the commit: nobody needs the version before any more."""
    return [ops.ClearGate(path=place.engine_map(f"{GATE}_{program}")) for program in wish.gates]


def told(choices: Sequence[AttachmentChoice], gate: Gate) -> list[AttachmentChoice]:
    """Each swap with what packets can notice of the others."""
    swaps = sum(isinstance(op, ops.SwapLink) for c in choices for op in c.ops)
    if swaps < 2:
        return list(choices)
    mixture = texts.MIXTURE(milliseconds=(swaps - 1) * SWAP_MS)
    words = texts.NONE_GATE() if gate.open else mixture
    notes = (texts.GATE_NOT_USED(why=gate.why_not),) if gate.why_not else ()
    swapped = [any(isinstance(op, ops.SwapLink) for op in c.ops) for c in choices]
    return [
        replace(c, interruption=words, notes=(*c.notes, *notes)) if swaps_here else c
        for c, swaps_here in zip(choices, swapped, strict=True)
    ]
