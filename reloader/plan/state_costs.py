"""What a plan knows of each state map: how it gets there, what it holds, what it costs, who can notice. Pure.

Memory now is the kernel's own figure; that of a map which does not exist yet is scaled from it by the sizes of both.
Used by lines.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reloader.kernel import ARRAY_TYPES, LRU_TYPES, NESTED_TYPES, PERCPU_TYPES, MapInfo, MapType
from reloader.layouts.rules import REMEMBERED
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishMap
from reloader.plan import texts
from reloader.plan.map_choices import MapChoice
from reloader.plan.model import Line, Method, Outcome, StateFacts
from reloader.plan.state.conversion import Pair, bridged, seconds
from reloader.wording.message import Message
from reloader.wording.printable import counted

BOOKKEEPING = 56  # bytes: struct htab_elem and its share of a bucket


def with_facts(choice: MapChoice, counts: Mapping[str, int], cgroup: str, cpus: int) -> Line:
    """The line of one map; of a state map with its facts, the costly ones among the notes. `counts`: live entries of
    maps that are to be emptied. `cpus`: how many are possible."""
    line = choice.line()
    if choice.wanted.role is not Role.STATE:
        return line
    facts = _facts(choice, counts, cgroup, cpus)
    first, *rest = line.notes or ("",)
    if choice.outcome is Outcome.CONVERT:
        notes = (first, _charged(facts, _keys(choice, cpus)), *rest)
        hidden = facts.method is Method.BRIDGE
        return replace(line, notes=notes, state=facts, interruption=texts.NONE() if hidden else texts.SEE_BELOW())
    more = [texts.ENTRIES_DROPPED(count=facts.entries)] if facts.entries and choice.outcome is Outcome.RESET else []
    more += [texts.MEMORY(size=size(facts.bytes_now))] if facts.bytes_now else []
    return replace(line, notes=(*line.notes, *more), state=facts)


def _charged(facts: StateFacts, keys: int) -> Message:
    """The memory of a conversion; `keys`: bytes that the set of copied keys takes of it."""
    now, new, cgroup = size(facts.bytes_now), size(facts.bytes_new), facts.cgroup
    if not cgroup:
        return texts.MEMORY_NOW(size=now)
    if keys:
        return texts.CHARGED_WITH_KEYS(now=now, new=new, keys=size(keys), cgroup=cgroup)
    return texts.CHARGED(now=now, new=new, cgroup=cgroup)


def _facts(choice: MapChoice, counts: Mapping[str, int], cgroup: str, cpus: int) -> StateFacts:
    wanted, pair = choice.wanted, choice.pair
    now = choice.seen.memory if choice.seen else 0
    if pair is None or choice.seen is None:
        unmoved = Method.NONE if choice.reused else Method.START_EMPTY
        method = Method.RESET if choice.outcome is Outcome.RESET else unmoved
        held = counts.get(wanted.name)
        return StateFacts(method=method, entries=held, bytes_now=now, bytes_new=0, cgroup="", seconds=0.0, noticed="")
    serving = bridged(wanted, pair)
    return StateFacts(
        method=Method.BRIDGE if serving else Method.COPY,
        entries=pair.entries,
        bytes_now=now,
        bytes_new=estimate(now, choice.seen.info, wanted, cpus) + _keys(choice, cpus),
        cgroup=cgroup,
        seconds=seconds(wanted, pair),
        noticed=_noticed(wanted, pair, bridge=serving),
    )


def _noticed(wanted: WishMap, pair: Pair, *, bridge: bool) -> str:
    """What packets of established flows can meet."""
    took = seconds(wanted, pair)
    if wanted.type in ARRAY_TYPES and not bridge:
        return texts.ARRAY_COUNTS_FOLLOW(seconds=took)
    misses = texts.MISSES_INNER if pair.held else texts.MISSES
    noticed = texts.NOTHING() if bridge else misses(seconds=took)
    return texts.EVICTION(noticed=noticed) if wanted.type in LRU_TYPES else noticed


def estimate(now: int, live: MapInfo, wanted: WishMap, cpus: int) -> int:
    """Bytes of the map that takes over, from the kernel's figure for the one that serves."""
    old = _slot(live.type, live.key_size, live.value_size, cpus) * live.max_entries
    new = alone(wanted, cpus)
    if live.type in NESTED_TYPES:  # the maps in it are not among the kernel's figure
        return now
    return round(now * new / old) if old else 0


def alone(wanted: WishMap, cpus: int) -> int:
    """Bytes of a map of which none like it is there to scale from."""
    return _slot(wanted.type, wanted.key_size, wanted.value_size, cpus) * wanted.max_entries


def _keys(choice: MapChoice, cpus: int) -> int:
    """Bytes of the set of keys that were copied ahead, where one is kept: as many elements as there are entries."""
    wanted, pair, seen = choice.wanted, choice.pair, choice.seen
    if pair is None or seen is None or wanted.type not in REMEMBERED or bridged(wanted, pair):
        return 0
    return _slot(MapType.HASH, seen.info.key_size, 4, cpus) * pair.entries


def _slot(kind: int, key_size: int, value_size: int, cpus: int) -> int:
    """What one entry takes in the kernel, about."""
    value = (value_size + 7) // 8 * 8
    if kind in PERCPU_TYPES:
        value = value * cpus + 8
    return value if kind in ARRAY_TYPES else BOOKKEEPING + (key_size + 7) // 8 * 8 + value


def size(count: int) -> str:
    """Bytes for people."""
    if count >= 1 << 20:
        return f"{count / (1 << 20):.1f} MiB"
    return f"{count / 1024:.0f} KiB" if count >= 1024 else counted(count, "byte")
