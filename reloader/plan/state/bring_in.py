"""The plan of `state import`: which rules carry each exported map into the live one, and what stands against it.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reloader.errors import RefusedChange
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, LRU_TYPES
from reloader.layouts import shape
from reloader.layouts.archive import Exported
from reloader.layouts.emit import ATOMIC, MERGES, merge_problem, merge_word
from reloader.layouts.rule_table import StateRefused, between
from reloader.layouts.rules import Conversion, LayoutVersion
from reloader.layouts.shape import Atom
from reloader.observe.pipeline import SeenMap
from reloader.paths import Paths
from reloader.plan import ops
from reloader.plan.model import Line, Plan, Refusal, Sign
from reloader.plan.ops import Op
from reloader.plan.state import layout_history, texts
from reloader.plan.state.compat import MapShape, map_differences, seen_shape, type_name
from reloader.plan.state.conversion import CONVERTIBLE, Obstacle
from reloader.store.records import Current, Generation
from reloader.structs.tree import TypeTree, layout_digest
from reloader.wording.message import Message

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
class ImportInputs:
    file: str
    signature: tuple[int, ...]  # of the file that was read
    merge: str | None  # how fields without a recorded rule are joined; None: nothing may be there
    cpus: int  # possible ones of this machine


def make_import(
    incoming: Sequence[Incoming], asked: ImportInputs, current: Current, generation: Generation, paths: Paths
) -> Plan:
    """RefusedChange with everything that stands against it."""
    refusals, lines, before, after = list[Refusal](), list[Line](), list[Op](), list[Op]()
    for one in incoming:
        rules = _rules(one, asked)
        if isinstance(rules, Obstacle):
            refusals.append(_refusal(one, rules))
            continue
        first, second = _ops(one, rules, asked, paths, current.pipeline)
        before, after = [*before, *first], [*after, *second]
        lines.append(_line(one, rules))
    if refusals:
        raise RefusedChange(
            texts.IMPORT_REFUSED(pipeline=current.pipeline),
            detail=[one.text() for one in refusals],
            refusals=[one.to_json() for one in refusals],
        )
    return Plan(
        pipeline=current.pipeline, from_generation=generation.number, generation=generation.number,
        load=generation.load, why=texts.IMPORT_WHY(file=asked.file), lines=tuple(lines), ops=tuple(before),
        after=(ops.PutRecord(), *after), blobs={},
    )  # fmt: skip


def _refusal(one: Incoming, found: Obstacle) -> Refusal:
    message = texts.MAP_IMPORT_REFUSED(map=one.exported.map, why=found.why, hint=found.why.hint)
    return Refusal(message=message, detail=found.detail, cause=found.cause or found.why)


def _ops(
    one: Incoming, rules: Conversion, asked: ImportInputs, paths: Paths, pipeline: str
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
    notes = (texts.TAKEN_AT(created=one.exported.created), *(texts.LOST(what=what) for what in rules.lossy))
    return Line(
        sign=Sign.CHANGE,
        kind="map",
        name=one.exported.map,
        action=texts.IMPORT_STATE(count=one.entries),
        notes=notes,
        detail=rules.changed(),
    )


def _rules(one: Incoming, asked: ImportInputs) -> Conversion | Obstacle:
    """From the file's layout to the live one, or what stands against it."""
    if why := _obstacle(one, asked):
        return Obstacle(why=why)
    found = _described(one)
    if found is None:
        return Obstacle(why=texts.UNDESCRIBED_ENTRIES())
    was, now = found
    theirs = one.exported.versions
    number, differing = layout_history.edited(theirs, one.versions)
    if number:
        return Obstacle(why=texts.FILE_VERSION_DIFFERS(version=number), detail=differing)
    indexed = one.live.info.type in ARRAY_TYPES
    span = layout_history.span(
        (None, was[1]) if indexed else was, theirs, (None, now[1]) if indexed else now, one.versions
    )
    if span.old and span.new:
        return _between(span.history, span.old, span.new, asked.merge)
    if layout_digest(*was) != layout_digest(*now):
        missing = texts.RULES_NOT_RECORDED()
        detail = (*_differences(one), missing.with_hint())
        return Obstacle(why=texts.FILE_LAYOUT_DIFFERS(), detail=detail, cause=missing)
    alone = LayoutVersion(schema="", map=one.exported.map, version=UNSAID, key=now[0], value=now[1])
    return _between([alone], UNSAID, UNSAID, asked.merge)


def _between(history: Sequence[LayoutVersion], old: int, new: int, merge: str | None) -> Conversion | Obstacle:
    try:
        return between([_merging(version, merge) for version in history], old, new)
    except StateRefused as refused:
        first, *more = refused.reasons
        return Obstacle(why=first, detail=tuple(more))


def _obstacle(one: Incoming, asked: ImportInputs) -> Message | None:
    was, live = one.exported, one.live.info
    if was.type != live.type:
        return texts.FILE_TYPE_DIFFERS(found=type_name(was.type), type=type_name(live.type))
    if live.type not in CONVERTIBLE:
        return texts.TYPE_NOT_IMPORTABLE(type=type_name(live.type))
    if was.cpus > asked.cpus:
        return texts.CPUS_TOO_MANY(found=was.cpus, cpus=asked.cpus)
    if live.type in ARRAY_TYPES and was.max_entries > live.max_entries:
        return texts.SLOTS_TOO_MANY(found=was.max_entries, max_entries=live.max_entries)
    if one.there and asked.merge is None:
        return texts.ALREADY_HOLDS(count=one.there)
    if live.type not in {*ARRAY_TYPES, *LRU_TYPES} and one.there + one.fresh > live.max_entries:
        return texts.NOT_ENOUGH_ROOM(count=one.there, more=one.fresh, max_entries=live.max_entries)
    return None


def _described(one: Incoming) -> tuple[tuple[TypeTree, TypeTree], tuple[TypeTree, TypeTree]] | None:
    """Key and value in the file and in the kernel; None when nothing describes them."""
    was, now = one.exported, one.live
    index = INDEX if was.type in ARRAY_TYPES else None  # libbpf describes no key of .bss
    keys = was.key or index, now.key or index
    if keys[0] is None or was.value is None or keys[1] is None or now.value is None:
        return None
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


def _differences(one: Incoming) -> Iterator[str]:
    was = one.exported
    shape_of = MapShape(
        type=was.type, key_size=was.key_size, value_size=was.value_size, max_entries=one.live.info.max_entries,
        map_flags=one.live.info.map_flags, key=was.key, value=was.value,
    )  # fmt: skip
    yield from map(str, map_differences(shape_of, seen_shape(one.live)))
