"""The plan of `state import`: which rules carry each exported map into the live one, and what stands against it.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reloader.errors import RefusedChange
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, LRU_TYPES, MapType
from reloader.layouts import shape
from reloader.layouts.archive import Exported
from reloader.layouts.emit import ATOMIC, MERGES, merge_problem, merge_word
from reloader.layouts.rule_table import StateRefused, between
from reloader.layouts.rules import Conversion, LayoutVersion
from reloader.layouts.shape import Atom
from reloader.observe.pipeline import SeenMap
from reloader.paths import Paths
from reloader.plan import ops
from reloader.plan.model import Line, Plan, Sign
from reloader.plan.ops import Op
from reloader.plan.state import layout_history
from reloader.plan.state.compat import MapShape, map_differences, seen_shape
from reloader.plan.state.conversion import CONVERTIBLE
from reloader.store.records import Current, Generation
from reloader.structs.tree import TypeTree, layout_digest
from reloader.wording.printable import Block, counted, lines_of

INDEX = TypeTree(kind="int", name="unsigned int", size=4)
UNSAID = 1  # the version of a layout that no registry records


@frozen
class Incoming:
    """One map of the file beside the live one."""

    exported: Exported
    entries: int  # in the file
    live: SeenMap
    there: int  # entries in the live map that are not zero
    fresh: int  # entries in the file, at most, whose key is not in the live map
    versions: tuple[LayoutVersion, ...]  # what the serving generation knows of it


@frozen
class Asked:
    file: str
    signature: tuple[int, ...]  # of the file that was read
    merge: str | None  # how fields without a recorded rule are joined; None: nothing may be there
    cpus: int  # possible ones of this machine


def make_import(
    incoming: Sequence[Incoming], asked: Asked, current: Current, generation: Generation, paths: Paths
) -> Plan:
    """RefusedChange with everything that stands against it."""
    refusals, lines, before, after = list[str](), list[Line](), list[Op](), list[Op]()
    for one in incoming:
        try:
            rules = _rules(one, asked)
        except StateRefused as refused:
            head, *more = (line for reason in refused.reasons for line in lines_of(reason))
            refusals.append(Block(f"state map {one.exported.map}: {head}", *(f"    {why}" for why in more)))
            continue
        first, second = _ops(one, rules, asked, paths, current.pipeline)
        before, after = [*before, *first], [*after, *second]
        lines.append(_line(one, rules))
    if refusals:
        raise RefusedChange(f"{current.pipeline}: the import is refused; nothing was touched", detail=refusals)
    return Plan(
        pipeline=current.pipeline, from_generation=generation.number, generation=generation.number,
        load=generation.load, why=f"import of {asked.file}", lines=tuple(lines), ops=tuple(before),
        after=(ops.PutRecord(), *after), blobs={},
    )  # fmt: skip


def _ops(
    one: Incoming, rules: Conversion, asked: Asked, paths: Paths, pipeline: str
) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    name, target = one.exported.map, one.live.pin
    held = paths.import_pin(pipeline, name)
    lost = one.live.unpinned  # a program of the load holds it, so it can be pinned again
    first: tuple[Op, ...] = (
        *((ops.PinAgain(kind="map", name=name, id=one.live.info.id, path=target),) if lost else ()),
        ops.FillFromFile(map=name, file=asked.file, path=held, signature=asked.signature),
        ops.CheckFit(map=name, source=held, target=target, rules=rules),
    )
    return first, (ops.MergeIntoState(map=name, source=held, target=target, rules=rules), ops.Unpin(path=held))


def _line(one: Incoming, rules: Conversion) -> Line:
    count = f"{one.entries} {'entry' if one.entries == 1 else 'entries'}"
    notes = (f"as of {one.exported.created}", *(f"lost: {what}" for what in rules.lossy))
    return Line(
        sign=Sign.CHANGE,
        kind="map",
        name=one.exported.map,
        action=f"state: import {count}",
        notes=notes,
        detail=rules.changed(),
    )


def _rules(one: Incoming, asked: Asked) -> Conversion:
    """From the file's layout to the live one; StateRefused with the reasons when there is no way."""
    if why := _obstacle(one, asked):
        raise StateRefused((why,))
    was, now = _described(one)
    theirs = one.exported.versions
    number, differing = layout_history.edited(theirs, one.versions)
    if number:
        raise StateRefused((f"version {number} in the file is another layout than version {number} here", *differing))
    indexed = one.live.info.type in ARRAY_TYPES
    span = layout_history.span(
        (None, was[1]) if indexed else was, theirs, (None, now[1]) if indexed else now, one.versions
    )
    if span.old and span.new:
        return between([_merging(v, asked.merge) for v in span.history], span.old, span.new)
    if layout_digest(*was) != layout_digest(*now):
        raise StateRefused((_told(one), "no rules: no registry records both layouts"))
    alone = LayoutVersion(schema="", map=one.exported.map, version=UNSAID, key=now[0], value=now[1])
    return between([_merging(alone, asked.merge)], UNSAID, UNSAID)


def _obstacle(one: Incoming, asked: Asked) -> str:
    was, live = one.exported, one.live.info
    kind = MapType(live.type).name.lower() if live.type in set(MapType) else str(live.type)
    if was.type != live.type:
        return f"the file has it as map type {was.type}, it is a {kind}"
    if live.type not in CONVERTIBLE:
        return f"a {kind} cannot be imported"
    if was.cpus > asked.cpus:
        return f"its values are of {was.cpus} CPUs, and this machine has {asked.cpus}"
    if live.type in ARRAY_TYPES and was.max_entries > live.max_entries:
        return f"{was.max_entries} slots, and it has {live.max_entries}"
    if one.there and asked.merge is None:
        return f"it holds {counted(one.there, 'entry')} already (--merge joins them)"
    if live.type not in {*ARRAY_TYPES, *LRU_TYPES} and one.there + one.fresh > live.max_entries:
        held = counted(one.there, "entry")
        return f"it holds {held}, the file {one.fresh} more, and there is room for {live.max_entries}"
    return ""


def _described(one: Incoming) -> tuple[tuple[TypeTree, TypeTree], tuple[TypeTree, TypeTree]]:
    """Key and value in the file and in the kernel; StateRefused when nothing describes them."""
    was, now = one.exported, one.live
    index = INDEX if was.type in ARRAY_TYPES else None  # libbpf describes no key of .bss
    keys = was.key or index, now.key or index
    if keys[0] is None or was.value is None or keys[1] is None or now.value is None:
        raise StateRefused(("no BTF describes its key and value, so equal sizes prove nothing",))
    return (keys[0], was.value), (keys[1], now.value)


def _merging(version: LayoutVersion, word: str | None) -> LayoutVersion:
    """The version, with `word` for fields that have no recorded merge rule and can be merged so."""
    if word is None:
        return version
    said: Mapping[str, str] = version.merge
    more = {a.path: word for a in shape.atoms(version.value) if _can(a, word) and not _said(said, a.path)}
    return replace(version, merge={**more, **said})


def _can(atom: Atom, word: str) -> bool:
    wide = word != "sum" or atom.type.size in ATOMIC
    return wide and not atom.type.special and not merge_problem(atom, MERGES[word])


def _said(merge: Mapping[str, str], path: str) -> bool:
    """Whether a rule is recorded for the field, or for what it is part of."""
    marked = dict.fromkeys(merge, "said")
    return merge_word(marked, path) == "said"


def _told(one: Incoming) -> str:
    was = one.exported
    shape_of = MapShape(
        type=was.type, key_size=was.key_size, value_size=was.value_size, max_entries=one.live.info.max_entries,
        map_flags=one.live.info.map_flags, key=was.key, value=was.value,
    )  # fmt: skip
    differences = map_differences(shape_of, seen_shape(one.live))
    return Block("the file has another layout:", *(f"    {d}" for d in differences))
