"""The ops that carry a state map to another layout, and what a person is told of it. Pure.

With the header's calls (a bridge): the new programs are loaded twice. The bridge build serves first and takes
entries over as packets ask for them, the drain moves the rest, then the clean build serves. Without: entries
are copied ahead with their counters at zero, the programs are swapped, and the counters follow.

Used by planner.py; imports plan.ops and state.rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, LRU_TYPES, PERCPU_TYPES, MapType
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.state.rules import Conversion, Rule

CONVERTIBLE = frozenset({MapType.HASH, MapType.LRU_HASH}) | PERCPU_TYPES | ARRAY_TYPES
ENTRIES_A_SECOND = 1_000_000  # what a drain moves on a small machine; for the plan's estimate only


@frozen
class Pair:
    """Rules for both directions. A rollback by `back` loses what its `lossy` names."""

    forward: Conversion
    back: Conversion
    entries: int  # live ones now
    words: tuple[str, ...] = ()  # field by field, for the plan


@frozen
class Move:
    """One map on its way: where it lies, where it goes, by which rules."""

    map: str
    source: str
    target: str
    pair: Pair
    bridge: bool


def before_swap(moves: Sequence[Move]) -> list[Op]:
    """Copies ahead where no bridge will help, then the marks from which on a way back is owed."""
    copies: list[Op] = [
        ops.CopyOver(map=m.map, source=m.source, target=m.target, rules=m.pair.forward) for m in moves if not m.bridge
    ]
    return [*copies, *(ops.Convert(map=m.map, source=m.source, target=m.target, back=m.pair.back) for m in moves)]


def after_swap(moves: Sequence[Move]) -> list[Op]:
    return [ops.Drain(map=m.map, source=m.source, target=m.target, rules=m.pair.forward) for m in moves]


def retire(moves: Sequence[Move]) -> list[Op]:
    """After the commit: stop stale writers, fetch what they wrote last, let go."""
    out: list[Op] = []
    for m in moves:
        drain = ops.Drain(map=m.map, source=m.source, target=m.target, rules=m.pair.forward)
        out += [ops.Freeze(path=m.source), drain, ops.Unpin(path=m.source)]
    return out


def bridge_tables(moves: Sequence[Move]) -> dict[str, bytes]:
    """rodata of the bridge build: for each map the rules, and how a new key is written as an old one."""
    return {f"rl_table_{m.map}": pack_table(1, m.pair.forward.value, m.pair.back.key) for m in moves if m.bridge}


def pack_table(mode: int, value: tuple[Rule, ...], key: tuple[Rule, ...], *, per_cpu: bool = False) -> bytes:
    """struct rl_table of programs/include/reloader_rules.h: 64 rules for values, 16 for keys."""
    head = b"".join(n.to_bytes(4, "little") for n in (mode, len(value), len(key), int(per_cpu)))
    rules = b"".join(r.pack() for r in value).ljust(16 * 64, b"\0")
    return head + rules + b"".join(r.pack() for r in key).ljust(16 * 16, b"\0")


def notes(kind: int, pair: Pair, *, bridge: bool) -> tuple[str, ...]:
    """What the plan says of one conversion."""
    out = [f"{pair.entries} entries, about {max(pair.entries / ENTRIES_A_SECOND, 0.01):.2f} s"]
    if bridge:
        out.append("bridge and drain: counts exact, established entries always found")
    elif kind in ARRAY_TYPES:
        out.append("copied ahead, then drained: counts exact, other fields as of the copy")
    else:
        out.append(
            "copied ahead, then drained: counts exact; entries born during the swap are unknown for milliseconds"
        )
    if kind in LRU_TYPES:
        out.append("recency is lost, and the kernel may evict during the move")
    out += [f"lost: {what}" for what in pair.forward.lossy]
    out += [f"a rollback would lose: {what}" for what in pair.back.lossy]
    return (*out, *pair.words)
