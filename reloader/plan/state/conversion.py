"""The ops that carry a state map to another layout, and what a person is told of it. Pure.

With the header's calls (a bridge): the new programs are loaded twice. The bridge build serves first and takes
entries over as packets ask for them, the drain moves the rest, then the clean build serves. Without: entries
are copied ahead with their counters at zero, the programs are swapped, and the counters follow.

Used by plan/planner.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, LRU_TYPES, NESTED_TYPES, PERCPU_TYPES, MapInfo, MapType
from reloader.layouts.nesting import InnerMap, Nesting
from reloader.layouts.rules import (
    MAX_KEY,
    MAX_KEY_RULES,
    MAX_VALUE,
    MAX_VALUE_RULES,
    REMEMBERED,
    Conversion,
    Rule,
    pack_table,
)
from reloader.layouts.rules import Op as How
from reloader.layouts.shape import holds_special
from reloader.pipeline.wish import WishMap
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.plan.state import texts
from reloader.plan.state.compat import type_name
from reloader.wording.message import Message

CONVERTIBLE = frozenset({MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE}) | PERCPU_TYPES | ARRAY_TYPES
UNBRIDGED = ARRAY_TYPES | NESTED_TYPES | {MapType.LPM_TRIE}
EMPTIED = frozenset({MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE})
"""A drain takes their entries away: without a bridge, a way back copies them ahead as the way there does."""
BRIDGE = 1  # enum rl_mode
LOAD_SECONDS = 0.012  # of the migration program
ENTRIES_A_SECOND = {
    MapType.HASH: 2_500_000, MapType.LRU_HASH: 2_000_000, MapType.PERCPU_HASH: 1_200_000,
    MapType.LRU_PERCPU_HASH: 1_000_000, MapType.ARRAY: 15_000_000, MapType.PERCPU_ARRAY: 10_000_000,
}  # fmt: skip
"""What a pass moves on two CPUs, as bench/state_speed.py measures it; for the plan's estimate only."""
UNMEASURED = 1_000_000  # of other types


@frozen
class Held:
    """What is in a live map of maps."""

    maps: int  # distinct ones
    slots: int  # of the outer map that are filled
    entries: int  # in all of them
    fullest: int  # entries of the one that has most
    inner: MapInfo | None  # the largest of them; None: it is empty
    template: int  # max_entries that their object declares; 0: not known
    own: tuple[int, ...] = ()  # ids of others in it: maps of the pipeline itself, which have outcomes of their own
    unlike: Message | None = None  # why they cannot be converted as they are


@frozen
class Pair:
    """Rules for both directions. A rollback by `back` loses what its `lossy` names."""

    forward: Conversion
    back: Conversion
    entries: int  # live ones now
    words: tuple[str, ...] = ()  # field by field, for the plan
    held: Held | None = None  # of a map of maps


@frozen
class Obstacle:
    """Why a state map cannot be converted."""

    why: Message
    detail: tuple[str, ...] = ()  # lines that say more
    cause: Message | None = None  # one of these lines, where it tells the fault more exactly


@frozen
class Move:
    """One map on its way: where it lies, where it goes, by which rules."""

    map: str
    source: str
    target: str
    pair: Pair
    bridge: bool
    inner: InnerMap | None = None  # of a map of maps: what new inner maps look like
    lossy: bool = False  # as for ops.Drain
    kind: int = 0  # MapType

    @property
    def nesting(self) -> Nesting | None:
        held = self.pair.held
        return Nesting(inner=self.inner, template=held.template, own=held.own) if held else None


def seconds(wanted: WishMap, pair: Pair) -> float:
    """How long all entries take, about; for the plan only. Without a bridge they are copied before they are drained.
    Each map in a map of maps is a load of its own, or two."""
    maps, kind = (pair.held.maps if pair.held else 0), MapType(wanted.inner.type if wanted.inner else wanted.type)
    passes = 1 if bridged(wanted, pair) else 2
    return max(passes * pair.entries / ENTRIES_A_SECOND.get(kind, UNMEASURED) + maps * 2 * LOAD_SECONDS, 0.01)


def bridged(wanted: WishMap, pair: Pair) -> bool:
    """Whether the program takes entries over on a miss: not an array's, not where several become one, and not a trie's,
    where a prefix that has not moved yet is no miss but a hit of the one that covers it."""
    return wanted.bridge and wanted.type not in UNBRIDGED and not pair.forward.collides


def before_swap(moves: Sequence[Move]) -> list[Op]:
    """All that can be known to fail before anything is swapped; copies ahead where no bridge will help; then the marks
    from which on a way back is owed."""
    first: list[Op] = []
    for m in moves:
        ahead = (ops.CheckFit,) if m.bridge else (ops.CheckFit, ops.CopyOver)
        first += [
            op(
                map=m.map,
                source=m.source,
                target=m.target,
                rules=m.pair.forward,
                nesting=m.nesting,
                lossy=m.lossy,
                entries=m.pair.entries,
            )
            for op in ahead
        ]
    return [*first, *map(_convert, moves)]


def _convert(m: Move) -> ops.OweDrainBack:
    return ops.OweDrainBack(map=m.map, source=m.source, target=m.target, back=_back(m), nesting=m.nesting)


def _back(m: Move) -> Conversion:
    return replace(m.pair.back, value=tuple(map(_newer, m.pair.back.value)))


def _newer(rule: Rule) -> Rule:
    """On the way back the map to be emptied is the newer one: what the new program wrote replaces what an entry that
    was copied, or taken over, still holds of before. Counters move as ever, and a constant makes nothing up."""
    return replace(rule, op=How.KEEP_OLD) if rule.op is How.COPY else rule


def outlived(rules: Conversion) -> Conversion:
    """The same for a way back that was cut short: the old program has served since, and what it holds is newer."""
    value = tuple(replace(r, op=How.COPY) if r.op is How.KEEP_OLD else r for r in rules.value)
    return replace(rules, value=value)


def after_swap(moves: Sequence[Move]) -> list[Op]:
    return [replace(_drain(m), home=None if m.bridge or m.kind not in EMPTIED else _back(m)) for m in moves]


def _drain(m: Move, *, late: bool = False) -> ops.Drain:
    return ops.Drain(
        map=m.map,
        source=m.source,
        target=m.target,
        rules=m.pair.forward,
        nesting=m.nesting,
        late=late,
        lossy=m.lossy or late,  # after the commit no way leads back
        entries=0 if late else m.pair.entries,
    )


def retire(moves: Sequence[Move]) -> list[Op]:
    """After the commit: stop stale writers, fetch what they wrote last, let go."""
    out: list[Op] = []
    for m in moves:
        own = m.pair.held.own if m.pair.held else ()
        out += [ops.Freeze(path=m.source, own=own), _drain(m, late=True), ops.Unpin(path=m.source)]
    return out


def bridge_tables(moves: Sequence[Move]) -> dict[str, bytes]:
    """rodata of the bridge build: for each map the rules, and how a new key is written as an old one."""
    return {f"rl_table_{m.map}": pack_table(BRIDGE, m.pair.forward.value, m.pair.back.key) for m in moves if m.bridge}


def obstacle(live: MapInfo, wanted: WishMap, pair: Pair) -> Message | None:
    """Say why these rules cannot be carried out on these maps; None when they can."""
    if live.type != wanted.type:
        return texts.TYPE_CHANGES(old=type_name(live.type), new=type_name(wanted.type))
    if pair.held is not None:
        return _nested_obstacle(wanted, pair, pair.held)
    if wanted.type not in CONVERTIBLE:
        return texts.TYPE_NOT_CONVERTIBLE(type=type_name(wanted.type))
    sizes = (live.key_size, wanted.key_size), (live.value_size, wanted.value_size)
    for (old, new), most, part in zip(sizes, (MAX_KEY, MAX_VALUE), ("keys", "values"), strict=True):
        if max(old, new) > most:
            return texts.BYTES_TOO_MANY(part=part, most=most)
    if wanted.type in ARRAY_TYPES and pair.forward.key:
        return texts.ARRAY_KEYS()
    if wanted.type == MapType.LPM_TRIE and pair.forward.key:
        return texts.TRIE_KEYS()
    rules = (pair.forward, pair.back)
    if any(len(r.value) > MAX_VALUE_RULES or len(r.key) > MAX_KEY_RULES for r in rules):
        return texts.TOO_MANY_RULES(value_rules=MAX_VALUE_RULES, key_rules=MAX_KEY_RULES)
    if pair.entries > wanted.max_entries:
        return texts.ENTRIES_TOO_MANY(count=pair.entries, max_entries=wanted.max_entries)
    return None


def _nested_obstacle(wanted: WishMap, pair: Pair, held: Held) -> Message | None:
    """The same for the maps in a map of maps, as if each were alone."""
    if held.unlike:
        return held.unlike
    if held.slots > wanted.max_entries:
        return texts.MAPS_TOO_MANY(count=held.slots, max_entries=wanted.max_entries)
    inner = wanted.inner
    if inner is None:
        return texts.INNER_UNDECLARED()
    if held.inner is None:
        return None
    if wanted.value is not None and holds_special(wanted.value):
        return texts.INNER_SPECIAL(special=holds_special(wanted.value))
    room = inner.room(held.inner.max_entries, held.template)
    alone = replace(
        wanted, type=inner.type, key_size=inner.key_size, value_size=inner.value_size, max_entries=room, inner=None
    )
    why = obstacle(held.inner, alone, replace(pair, entries=held.fullest, held=None))
    return texts.INNER_MAPS(why=why) if why else None


def notes(wanted: WishMap, pair: Pair) -> tuple[Message, ...]:
    """List what the plan says of one conversion."""
    kind = wanted.type
    out = [texts.COSTS(count=pair.entries, seconds=seconds(wanted, pair))]
    if bridged(wanted, pair):
        out.append(texts.BRIDGED())
        if kind in PERCPU_TYPES:
            out.append(texts.CPUS_FOLLOW())
    else:
        out += [_ahead(pair), *_created_and_deleted(wanted, pair)]
    if wanted.past_bridge:
        out.append(texts.NOT_BRIDGED(programs=wanted.past_bridge))
    if kind in LRU_TYPES:
        out.append(texts.EVICTION())
    out += [texts.LOST(what=what) for what in (*pair.forward.lossy, *pair.forward.misread)]
    out += [texts.ENTRIES_CONVERTED(demand=demand) for demand in pair.forward.demands]
    out += [texts.ROLLBACK_LOSES(what=what) for what in pair.back.lossy]
    out += [texts.ROLLBACK_LEAVES_OUT(demand=demand) for demand in pair.back.demands]
    return tuple(out)


def _ahead(pair: Pair) -> Message:
    return texts.INNER_COPIED_AHEAD(count=pair.held.maps) if pair.held else texts.COPIED_AHEAD()


def _created_and_deleted(wanted: WishMap, pair: Pair) -> list[Message]:
    """What becomes of entries that are created or deleted between the copy and the drain."""
    kind = wanted.type
    if kind in ARRAY_TYPES:
        return []
    created = texts.PREFIX_CREATED_LATER if kind == MapType.LPM_TRIE else texts.CREATED_LATER
    deleted = texts.DELETED_BY_NEW_STAYS_DELETED if kind in REMEMBERED else texts.DELETED_BY_NEW_REAPPEARS
    return [created(seconds=seconds(wanted, pair)), texts.DELETED_BY_OLD_REAPPEARS(), deleted()]
