"""Which rules carry a live state map to the wished layout: from the histories that wish and record carry.

Asked by lifecycle/planning.py before a plan; counts live entries, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from reloader.engine.apply_request import Intake
from reloader.errors import InputError
from reloader.kernel import ARRAY_TYPES, NESTED_TYPES, PLAIN_TYPES, Fd, Kernel, MapInfo, MapType
from reloader.layouts.rule_table import StateRefused, between
from reloader.layouts.shape import holds_bound
from reloader.observe.pipeline import Observed, SeenMap, opened
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan.state import layout_history
from reloader.plan.state.compat import map_differences, seen_shape, wished_shape
from reloader.plan.state.conversion import Held, Pair
from reloader.plan.state.layout_history import History
from reloader.structs.btf import Btf
from reloader.structs.tree import entry_of, identity
from reloader.wording.printable import Block


def conversions(kernel: Kernel, wish: Wish, seen: Observed) -> dict[str, Pair | str]:
    """For every state map that cannot serve on as it is: the rules both ways, or why there are none."""
    found: dict[str, Pair | str] = {}
    for wanted in wish.maps:
        live = seen.maps.get(wanted.name)
        if wanted.role is not Role.STATE or live is None:
            continue
        if why := _bound(live, wanted, seen):
            found[wanted.name] = why
            continue
        recorded = _recorded(wanted.name, seen)
        if why := _edited(recorded, wanted, seen):
            found[wanted.name] = why
        elif _differs(live, wanted, seen) or _meant_otherwise(recorded, wanted.versions):
            ours = {m.info.id for m in seen.maps.values()}
            found[wanted.name] = _rules(kernel, wanted, live, recorded, ours)
    return found


def require_recorded(intake: Intake, seen: Observed) -> None:
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


CHOICES = "keep the layout, take it out, or give the contents up with --reset"
_ELSEWHERE = {
    MapType.SK_STORAGE: "lies in the sockets and goes with them",
    MapType.TASK_STORAGE: "lies in the tasks and goes with them",
    MapType.INODE_STORAGE: "lies in the inodes and goes with them",
    MapType.CGRP_STORAGE: "lies in the cgroups and goes with them",
    MapType.CGROUP_STORAGE: "lies in the cgroups and goes with them",
    MapType.PERCPU_CGROUP_STORAGE: "lies in the cgroups and goes with them",
    MapType.QUEUE: "can be taken out and not listed",
    MapType.STACK: "can be taken out and not listed",
    MapType.BLOOM_FILTER: "cannot be listed",
}
"""Maps whose contents nobody can carry, and why."""


def _bound(live: SeenMap, wanted: WishMap, seen: Observed) -> str:
    """What keeps a map from being converted by any rules, and the choices; empty when nothing does."""
    if not _differs(live, wanted, seen):
        return ""
    kind = MapType(wanted.type) if wanted.type in list(MapType) else MapType.UNSPEC
    if live.info.type not in PLAIN_TYPES | NESTED_TYPES:
        why = _ELSEWHERE.get(kind, "is not of a type that can be converted")
        return f"what a {kind.name.lower()} holds {why}: {CHOICES}"
    for which, tree in (("live", live.value), ("new", wanted.value)):
        if tree is not None and (held := holds_bound(tree)):
            return f"the {which} layout holds a {held}, which only the kernel may write: {CHOICES}"
    return ""


def counts(kernel: Kernel, seen: Observed, names: Collection[str]) -> dict[str, int]:
    """Live entries of maps that are named for a reset."""
    found = {}
    for name in set(names) & seen.maps.keys():
        if seen.maps[name].info.type in PLAIN_TYPES:
            with opened(kernel, seen.maps[name]) as fd:
                found[name] = kernel.maps.count(fd)
    return found


def memory_cgroup() -> str:
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


def _edited(recorded: History, wanted: WishMap, seen: Observed) -> str:
    """Why the registry cannot be believed: a number by which it means another layout now; empty when it can."""
    number, differing = layout_history.edited(recorded, wanted.versions)
    if not number or seen.generation is None:
        return ""
    return Block(
        f"version {number} in the registry is not the version {number} that generation {seen.generation.number} was"
        " committed with:",
        *(f"        {d}" for d in differing),
        "    a version once applied is not edited: put its file back as it was, and add a new version"
        " (`reloader state new OBJECT --schema SCHEMA`)",
    )


def _rules(kernel: Kernel, wanted: WishMap, live: SeenMap, recorded: History, ours: Collection[int]) -> Pair | str:
    indexed = live.info.type in ARRAY_TYPES  # an index needs no description, and libbpf describes none of .bss
    was, now = (None if indexed else live.key, live.value), (None if indexed else wanted.key, wanted.value)
    span = layout_history.span(was, recorded, now, wanted.versions)
    history, old, new = span.history, span.old, span.new
    if not history:
        return "no rules: name a stateSchema that records its layouts (`reloader state new OBJECT --schema SCHEMA`)"
    if not old or not new:
        which = "new" if old else "live"
        return f"no rules: the {which} layout is none of versions {history[0].version}–{history[-1].version}"
    try:
        forward, back = between(history, old, new), between(history, new, old)
    except StateRefused as refused:
        first, *more = refused.reasons
        return Block(f"no rules: {first}", *(f"    {why}" for why in more))
    words = forward.changed()
    with opened(kernel, live) as fd:
        held = _held(kernel, fd, live, ours) if live.info.type in NESTED_TYPES else None
        entries = kernel.maps.count(fd) if held is None else held.entries
    return Pair(forward=forward, back=back, entries=entries, words=(f"version {old} → {new}", *words), held=held)


def _held(kernel: Kernel, outer: Fd, live: SeenMap, ours: Collection[int]) -> Held:
    from reloader.convert import nested

    filled = nested.slots(kernel, outer)
    infos, counts, wrong = list[MapInfo](), list[int](), ""
    for inner in dict.fromkeys(i for i in filled.values() if i not in ours):
        with kernel.maps.by_id(inner) as fd:
            infos.append(kernel.maps.info(fd))
            counts.append(kernel.maps.count(fd))
        wrong = wrong or _unlike(kernel, infos[-1], live)
    return Held(
        maps=len(infos), slots=len(filled), entries=sum(counts), fullest=max(counts, default=0),
        inner=max(infos, key=lambda i: i.max_entries, default=None), wrong=wrong,
        template=live.inner.max_entries if live.inner else 0, own=tuple(sorted(set(filled.values()) & set(ours))),
    )  # fmt: skip


def _unlike(kernel: Kernel, found: MapInfo, live: SeenMap) -> str:
    """Why a map in a map of maps is not what the rules are for; empty when it is."""
    recorded = live.inner
    if recorded and (found.type, found.key_size, found.value_size) != (
        recorded.type, recorded.key_size, recorded.value_size,
    ):  # fmt: skip
        return f"a map in it ({found.name}, id {found.id}) has other sizes than recorded"
    if found.btf_value_type_id and live.key is not None and live.value is not None:
        tree = Btf.parse(kernel.maps.btf(found.btf_id)).tree(found.btf_value_type_id)
        if identity(tree) != identity(entry_of(live.key, live.value)[1]):
            return f"a map in it ({found.name}, id {found.id}) has another layout than recorded"
    return ""
