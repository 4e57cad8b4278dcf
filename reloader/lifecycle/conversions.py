"""Which rules carry a live state map to the wished layout: from the histories that wish and record carry.

Asked by lifecycle/planning.py before a plan; counts live entries, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from reloader.engine.apply_request import ApplyRequest
from reloader.errors import InputError
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, NESTED_TYPES, PLAIN_TYPES, Fd, Kernel, MapInfo, MapType
from reloader.layouts.rule_table import StateRefused, between
from reloader.layouts.shape import holds_bound
from reloader.observe.pipeline import Observed, SeenMap, opened
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan.state import layout_history, texts
from reloader.plan.state.compat import map_differences, seen_shape, type_name, wished_shape
from reloader.plan.state.conversion import Held, Obstacle, Pair
from reloader.plan.state.layout_history import History
from reloader.structs.btf import Btf
from reloader.structs.tree import entry_of, identity
from reloader.wording.message import Message


@frozen
class StateInputs:
    """What a plan has to know of the state maps besides what was seen of them."""

    conversions: dict[str, Pair | Obstacle]
    counts: dict[str, int]  # live entries of maps that are named for a reset
    cgroup: str  # that maps of this process, and of its children, are charged to


def state_inputs(kernel: Kernel, intake: ApplyRequest, seen: Observed) -> StateInputs:
    """Find out what becomes of the state maps. InputError when the registry does not have the layout of one."""
    _require_recorded(intake, seen)
    return StateInputs(
        conversions=conversions(kernel, intake.wish, seen),
        counts=_counts(kernel, seen, intake.reset),
        cgroup=_memory_cgroup(),
    )


def conversions(kernel: Kernel, wish: Wish, seen: Observed) -> dict[str, Pair | Obstacle]:
    """For every state map that cannot serve on as it is: the rules both ways, or why there are none."""
    found: dict[str, Pair | Obstacle] = {}
    for wanted in wish.maps:
        live = seen.maps.get(wanted.name)
        if wanted.role is not Role.STATE or live is None:
            continue
        if why := _bound(live, wanted, seen):
            found[wanted.name] = Obstacle(why=why)
            continue
        recorded = _recorded(wanted.name, seen)
        if obstacle := _edited(recorded, wanted, seen):
            found[wanted.name] = obstacle
        elif _differs(live, wanted, seen) or _meant_otherwise(recorded, wanted.versions):
            ours = {m.info.id for m in seen.maps.values()}
            found[wanted.name] = _rules(kernel, wanted, live, recorded, ours)
    return found


def _require_recorded(intake: ApplyRequest, seen: Observed) -> None:
    """InputError unless the registry has the layout of every state map, but for those that are reset, and those that
    were reset to this very layout before."""
    kept = set(intake.reset) | {name for name in intake.unrecorded if _kept_unrecorded(intake.wish.map(name), seen)}
    problems = [p for name, found in intake.unrecorded.items() if name not in kept for p in found]
    if problems:
        raise InputError(problems)


def _kept_unrecorded(wanted: WishMap, seen: Observed) -> bool:
    live, generation = seen.maps.get(wanted.name), seen.generation
    known = generation is not None and any(m.name == wanted.name and m.unrecorded for m in generation.wish.maps)
    return known and live is not None and not _differs(live, wanted, seen)


def _differs(live: SeenMap, wanted: WishMap, seen: Observed) -> bool:
    shapes = seen_shape(live), wished_shape(wanted)
    return bool(map_differences(*shapes, cpus=seen.cpus, page_size=seen.page_size))


_OWNERS = {
    MapType.SK_STORAGE: "sockets",
    MapType.TASK_STORAGE: "tasks",
    MapType.INODE_STORAGE: "inodes",
    MapType.CGRP_STORAGE: "cgroups",
    MapType.CGROUP_STORAGE: "cgroups",
    MapType.PERCPU_CGROUP_STORAGE: "cgroups",
}
"""Maps whose entries are stored with objects of the kernel, and which objects."""
_UNLISTED = (MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER)


def _bound(live: SeenMap, wanted: WishMap, seen: Observed) -> Message | None:
    """What keeps a map from being converted by any rules; None when nothing does."""
    if not _differs(live, wanted, seen):
        return None
    kind = MapType(wanted.type) if wanted.type in list(MapType) else MapType.UNSPEC
    if live.info.type not in PLAIN_TYPES | NESTED_TYPES:
        if kind in _OWNERS:
            return texts.STORED_WITH_OWNER(type=type_name(kind), owners=_OWNERS[kind])
        unfit = texts.CANNOT_BE_LISTED if kind in _UNLISTED else texts.TYPE_NOT_CONVERTIBLE
        return unfit(type=type_name(wanted.type))
    for layout, tree in (("live", live.value), ("new", wanted.value)):
        if tree is not None and (held := holds_bound(tree)):
            return texts.HOLDS_BOUND(layout=layout, special=held)
    return None


def _counts(kernel: Kernel, seen: Observed, names: Collection[str]) -> dict[str, int]:
    """Live entries of maps that are named for a reset."""
    found = {}
    for name in set(names) & seen.maps.keys():
        if seen.maps[name].info.type in PLAIN_TYPES:
            with opened(kernel, seen.maps[name]) as fd:
                found[name] = kernel.maps.count(fd)
    return found


def _memory_cgroup() -> str:
    """The cgroup that maps of this process, and of its children, are charged to."""
    with open("/proc/self/cgroup", errors="replace", newline="\n") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    of = {controllers: path for _, controllers, path in rows}
    first = next((path for names, path in of.items() if "memory" in names.split(",")), None)
    return first if first is not None else of.get("", "/")


def _recorded(name: str, seen: Observed) -> History:
    """The history that the serving generation was committed with."""
    generation = seen.generation
    return generation.wish.map(name).versions if generation and name in generation.maps else ()


def _meant_otherwise(recorded: History, wished: History) -> bool:
    """Whether two versions of one schema are meant, whatever their layouts."""
    return layout_history.same_schema(recorded, wished) and recorded[-1].version != wished[-1].version


def _edited(recorded: History, wanted: WishMap, seen: Observed) -> Obstacle | None:
    """Why the registry cannot be believed: a number by which it means another layout now; None when it can."""
    number, differing = layout_history.edited(recorded, wanted.versions)
    if not number or seen.generation is None:
        return None
    return Obstacle(why=texts.VERSION_EDITED(version=number, generation=seen.generation.number), detail=differing)


def _rules(kernel: Kernel, wanted: WishMap, live: SeenMap, recorded: History, ours: Collection[int]) -> Pair | Obstacle:
    indexed = live.info.type in ARRAY_TYPES  # an index needs no description, and libbpf describes none of .bss
    was, now = (None if indexed else live.key, live.value), (None if indexed else wanted.key, wanted.value)
    span = layout_history.span(was, recorded, now, wanted.versions)
    history, old, new = span.history, span.old, span.new
    if not history:
        return Obstacle(why=texts.NO_STATE_SCHEMA())
    if not old or not new:
        layout, versions = "new" if old else "live", (history[0].version, history[-1].version)
        return Obstacle(why=texts.VERSION_UNKNOWN(layout=layout, first=versions[0], last=versions[1]))
    try:
        forward, back = between(history, old, new), between(history, new, old)
    except StateRefused as refused:
        first, *more = refused.reasons
        return Obstacle(why=texts.NO_RULES(why=first), detail=tuple(more))
    words = forward.changed()
    with opened(kernel, live) as fd:
        held = _held(kernel, fd, live, ours) if live.info.type in NESTED_TYPES else None
        entries = kernel.maps.count(fd) if held is None else held.entries
    return Pair(forward=forward, back=back, entries=entries, words=(f"version {old} → {new}", *words), held=held)


def _held(kernel: Kernel, outer: Fd, live: SeenMap, ours: Collection[int]) -> Held:
    from reloader.convert import nested

    filled = nested.slots(kernel, outer)
    infos, counts, unlike = list[MapInfo](), list[int](), None
    for inner in dict.fromkeys(i for i in filled.values() if i not in ours):
        with kernel.maps.by_id(inner) as fd:
            infos.append(kernel.maps.info(fd))
            counts.append(kernel.maps.count(fd))
        unlike = unlike or _unlike(kernel, infos[-1], live)
    return Held(
        maps=len(infos), slots=len(filled), entries=sum(counts), fullest=max(counts, default=0),
        inner=max(infos, key=lambda i: i.max_entries, default=None), unlike=unlike,
        template=live.inner.max_entries if live.inner else 0, own=tuple(sorted(set(filled.values()) & set(ours))),
    )  # fmt: skip


def _unlike(kernel: Kernel, found: MapInfo, live: SeenMap) -> Message | None:
    """Why a map in a map of maps is not what the rules are for; None when it is."""
    recorded = live.inner
    if recorded and (found.type, found.key_size, found.value_size) != (
        recorded.type, recorded.key_size, recorded.value_size,
    ):  # fmt: skip
        return texts.INNER_SIZES_DIFFER(name=found.name, id=found.id)
    if found.btf_value_type_id and live.key is not None and live.value is not None:
        tree = Btf.parse(kernel.maps.btf(found.btf_id)).tree(found.btf_value_type_id)
        if identity(tree) != identity(entry_of(live.key, live.value)[1]):
            return texts.INNER_LAYOUT_DIFFERS(name=found.name, id=found.id)
    return None
