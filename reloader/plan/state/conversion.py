"""The ops that carry a state map to another layout, and what a person is told of it. Pure.

With the header's calls (a bridge): the new programs are loaded twice. The bridge build serves first and takes
entries over as packets ask for them, the drain moves the rest, then the clean build serves. Without: entries
are copied ahead with their counters at zero, the programs are swapped, and the counters follow.

Used by planner.py.
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
from reloader.wording.printable import counted

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
    wrong: str = ""  # why they cannot be converted as they are


@frozen
class Pair:
    """Rules for both directions. A rollback by `back` loses what its `lossy` names."""

    forward: Conversion
    back: Conversion
    entries: int  # live ones now
    words: tuple[str, ...] = ()  # field by field, for the plan
    held: Held | None = None  # of a map of maps


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


def obstacle(live: MapInfo, wanted: WishMap, pair: Pair) -> str:
    """Why these rules cannot be carried out on these maps; empty when they can."""
    name = MapType(wanted.type).name.lower()
    if live.type != wanted.type:
        return f"a {MapType(live.type).name.lower()} cannot become a {name}"
    if pair.held is not None:
        return _nested_obstacle(wanted, pair, pair.held)
    if wanted.type not in CONVERTIBLE:
        return f"a {name} cannot be converted"
    sizes = (live.key_size, wanted.key_size), (live.value_size, wanted.value_size)
    for (old, new), most, what in zip(sizes, (MAX_KEY, MAX_VALUE), ("keys", "values"), strict=True):
        if max(old, new) > most:
            return f"{what} of more than {most} bytes cannot be converted"
    if wanted.type in ARRAY_TYPES and pair.forward.key:
        return "an array's keys are its indices"
    if wanted.type == MapType.LPM_TRIE and pair.forward.key:
        return "a trie's key is a prefix: its bytes mean the same only where they are"
    rules = (pair.forward, pair.back)
    if any(len(r.value) > MAX_VALUE_RULES or len(r.key) > MAX_KEY_RULES for r in rules):
        return f"it takes more than {MAX_VALUE_RULES} rules for a value, or {MAX_KEY_RULES} for a key"
    if pair.entries > wanted.max_entries:
        return f"it holds {counted(pair.entries, 'entry')}, {wanted.max_entries} is too small"
    return ""


def _nested_obstacle(wanted: WishMap, pair: Pair, held: Held) -> str:
    """The same for the maps in a map of maps, as if each were alone."""
    if held.wrong or held.slots > wanted.max_entries:
        return held.wrong or f"it holds {counted(held.slots, 'map')}, {wanted.max_entries} is too small"
    inner = wanted.inner
    if inner is None or held.inner is None:
        return "" if inner else "the object does not say what the maps in it look like"
    if wanted.value is not None and holds_special(wanted.value):
        return f"the maps in it hold a {holds_special(wanted.value)}, which only maps that a load makes can have"
    room = inner.room(held.inner.max_entries, held.template)
    alone = replace(
        wanted, type=inner.type, key_size=inner.key_size, value_size=inner.value_size, max_entries=room, inner=None
    )
    why = obstacle(held.inner, alone, replace(pair, entries=held.fullest, held=None))
    return f"of the maps in it: {why}" if why else ""


def notes(wanted: WishMap, pair: Pair) -> tuple[str, ...]:
    """What the plan says of one conversion."""
    kind = wanted.type
    out = [f"{counted(pair.entries, 'entry')}, about {seconds(wanted, pair):.2f} s"]
    if bridged(wanted, pair):
        out.append("bridge and drain: counts exact, established entries always found")
        if kind in PERCPU_TYPES:
            out.append("what another CPU has of an entry follows within the drain")
    else:
        out.append(f"{_ahead(pair)}{_births_and_deaths(wanted, pair)}")
    if wanted.past_bridge:
        users = ", ".join(wanted.past_bridge)
        out.append(f"RELOADER_STATE is declared, but {users} reaches it by plain map calls: no bridge")
    if kind in LRU_TYPES:
        out.append("recency is lost, and the kernel may evict during the move")
    out += [f"lost: {what}" for what in (*pair.forward.lossy, *pair.forward.misread)]
    out += [f"entries have a place only where {what}" for what in pair.forward.demands]
    out += [f"a rollback would lose: {what}" for what in pair.back.lossy]
    out += [
        f"a rollback refuses entries unless {what}, or leaves them out with --allow-lossy-rollback"
        for what in pair.back.demands
    ]
    return tuple(out)


def _ahead(pair: Pair) -> str:
    first = f"{counted(pair.held.maps, 'map')} in it, each with a successor that is " if pair.held else ""
    return f"{first}copied ahead, then drained: counts exact, other fields as of the copy"


def _births_and_deaths(wanted: WishMap, pair: Pair) -> str:
    """What comes and goes between the copy and the drain, where entries do."""
    kind = wanted.type
    if kind in ARRAY_TYPES:
        return ""
    about = f"about {seconds(wanted, pair):.2f} s"
    born = f"entries born since are unknown until the drain comes to them, {about}"
    if kind == MapType.LPM_TRIE:
        born = f"packets of a prefix added since meet the one that covers it until the drain comes to it, {about}"
    fate = "stays deleted" if kind in REMEMBERED else "before the drain comes back with the counts of the old"
    return (
        f"; {born}; one that the old program deleted since comes back without counts, one that the new deletes {fate}"
    )
