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
from reloader.plan.map_choices import MapChoice
from reloader.plan.model import Line, Outcome, StateFacts
from reloader.plan.state.conversion import Pair, bridged, seconds
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
        keys = f" ({size(keys)} of it for the keys copied)" if (keys := _keys(choice, cpus)) else ""
        new = (
            f"; about {size(facts.bytes_new)} more until the commit{keys}, charged to cgroup {cgroup}" if cgroup else ""
        )
        told = (first, f"{size(facts.bytes_now)} now{new}", *rest)
        hidden = choice.pair is not None and bridged(choice.wanted, choice.pair)
        return replace(line, notes=told, state=facts, interruption="none" if hidden else "see below")
    more = [f"{counted(facts.entries, 'entry')} dropped"] if facts.entries and choice.outcome is Outcome.RESET else []
    more += [size(facts.bytes_now)] if facts.bytes_now else []
    return replace(line, notes=(*line.notes, *more), state=facts)


def _facts(choice: MapChoice, counts: Mapping[str, int], cgroup: str, cpus: int) -> StateFacts:
    wanted, pair = choice.wanted, choice.pair
    now = choice.seen.memory if choice.seen else 0
    if pair is None or choice.seen is None:
        method = "reset" if choice.outcome is Outcome.RESET else "none" if choice.reused else "start empty"
        held = counts.get(wanted.name)
        return StateFacts(method=method, entries=held, bytes_now=now, bytes_new=0, cgroup="", seconds=0.0, noticed="")
    serving = bridged(wanted, pair)
    return StateFacts(
        method="bridge and drain" if serving else "copy, swap, drain",
        entries=pair.entries,
        bytes_now=now,
        bytes_new=estimate(now, choice.seen.info, wanted, cpus) + _keys(choice, cpus),
        cgroup=cgroup,
        seconds=seconds(wanted, pair),
        noticed=_noticed(wanted, pair, bridge=serving),
    )


def _noticed(wanted: WishMap, pair: Pair, *, bridge: bool) -> str:
    """What packets of established flows can meet."""
    lru = "; the kernel may evict some" if wanted.type in LRU_TYPES else ""
    if bridge:
        return f"nothing{lru}"
    if wanted.type in ARRAY_TYPES:
        return f"values without counts for about {seconds(wanted, pair):.2f} s, other fields as of the copy"
    since = "since the copy of their map" if pair.held else "since the copy"
    return f"those born {since}: unknown for about {seconds(wanted, pair):.2f} s; other fields as of the copy{lru}"


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
