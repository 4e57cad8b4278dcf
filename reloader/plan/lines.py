"""What a person reads of a plan: one line per program, attachment and map. Pure.

Called by planner.py with its draft.
"""

from __future__ import annotations

from dataclasses import replace

from reloader.config_maps.entry_changes import EntryDiff
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan import ops, texts
from reloader.plan.builder import PlanBuilder
from reloader.plan.config.foreign import Foreign
from reloader.plan.config.map_exchange import Flip
from reloader.plan.config.strategy import Way
from reloader.plan.map_choices import fields_kept
from reloader.plan.model import Line, Sign
from reloader.plan.removal import parked_line
from reloader.plan.state_costs import alone, size, with_facts
from reloader.wording.message import Message

ENTRIES_A_MS = 2000  # what a batch writes on a small machine; for the plan's estimate only


def lines_of(draft: PlanBuilder) -> list[Line]:
    kept = [
        *_program_lines(draft),
        *_constant_lines(draft),
        *(c.line() for c in draft.attachments),
        *_gone_lines(draft),
        *_map_lines(draft),
    ]
    return [*kept, *_share_lines(draft), *_test_lines(draft), *_health_lines(draft)]


def _share_lines(draft: PlanBuilder) -> list[Line]:
    """Who may open the published maps, when that changes."""
    share, notes = draft.wish.share, draft.request.notes
    if not draft.sharing() and not notes:
        return []
    if share is None or draft.request.group < 0:
        action = texts.SHARE_ENDS() if draft.seen.readers != -1 else texts.SHARE_STAYS_PRIVATE()
        return [Line(sign=Sign.REMOVE, kind="share", name=share.group if share else "pub", action=action, notes=notes)]
    sign = Sign.KEEP if not draft.sharing() else Sign.CHANGE if draft.seen.readers != -1 else Sign.ADD
    return [Line(sign=sign, kind="share", name=share.group, action=texts.SHARE_ALLOWED(), notes=notes)]


def _health_lines(draft: PlanBuilder) -> list[Line]:
    """What a new version has to prove afterwards; a repair has to prove nothing."""
    health, serving = draft.wish.health, draft.seen.generation
    if health is None or (serving is not None and serving.wish.digest() == draft.wish.digest()):
        return []
    action = texts.CHECKS_UNCONFIRMED(window=health.window, interval=health.interval)
    back = texts.OTHERWISE_RESTORED(generation=serving.number) if serving else texts.OTHERWISE_DETACHED()
    checks = tuple(check.text() for check in health.checks)
    return [Line(sign=Sign.KEEP, kind="health", name="checks", action=action, notes=(back,), detail=checks)]


def entries_reason(draft: PlanBuilder) -> str:
    """Say what made a plan without a new load necessary."""
    if entries := [*_written_in_place(draft), *_written_anew(draft)]:
        return "; ".join(entries)
    if lost := sorted({*draft.unpinned(), *draft.unpublished(), *draft.seen.unpinned_progs}):
        return texts.PINS_RESTORED(names=lost)
    if any(c.ops for c in draft.attachments) or draft.detach():
        return texts.ATTACHMENTS_CHANGED()
    if draft.sharing():
        return texts.READERS_CHANGED()
    before = draft.seen.generation.wish if draft.seen.generation else None
    return texts.TESTS_CHANGED() if _tests(draft.wish) != _tests(before) else texts.NOTHING_TO_DO()


def _written_in_place(draft: PlanBuilder) -> list[Message]:
    changed = [m.name for m, _ in draft.changed_entries()]
    why = draft.ways[changed[0]].why if len(changed) == 1 and changed[0] in draft.ways else None
    if why is not None:
        return [texts.ENTRIES_IN_PLACE_BECAUSE(maps=changed, why=why)]
    return [texts.ENTRIES_IN_PLACE(maps=changed)] if changed else []


def _written_anew(draft: PlanBuilder) -> list[Message]:
    names = [f.wanted.name for f in draft.flipping()]
    return [texts.ENTRIES_BY_NEW_MAP(map=n, why=draft.ways[n].why) for n in names]


def _tests(wish: Wish | None) -> str:
    return wish.tests.digest if wish and wish.tests else ""


def _program_lines(draft: PlanBuilder) -> list[Line]:
    if not draft.fresh:
        again, action, notes = draft.seen.unpinned_progs, texts.PIN_AGAIN(), (texts.PROGRAM_IN_USE(),)
        return [Line(sign=Sign.CHANGE, kind="program", name=p, action=action, notes=notes) for p in again]
    old = set(draft.seen.generation.progs) if draft.seen.generation else set()
    new = set(draft.wish.programs)
    load, unload = texts.LOAD(load=draft.load), texts.UNLOAD()
    kept = [Line(sign=Sign.REPLACE if p in old else Sign.ADD, kind="program", name=p, action=load) for p in sorted(new)]
    return [*kept, *(Line(sign=Sign.REMOVE, kind="program", name=p, action=unload) for p in sorted(old - new))]


def _constant_lines(draft: PlanBuilder) -> list[Line]:
    """One line for each field of a constant that gets another value."""
    serving = draft.seen.generation.wish if draft.seen.generation else None
    if not draft.fresh or (serving is not None and serving.rodata == draft.wish.rodata and not draft.wish.constants):
        return []
    from reloader.pipeline.constant_values import changes  # late: most plans have none

    compiled = (texts.CONSTANT_COMPILED(),)
    return [
        Line(sign=Sign.CHANGE, kind="rodata", name=c.path, action=c.text(), notes=() if c.set else compiled)
        for c in changes(serving, draft.wish)
    ]


def _test_lines(draft: PlanBuilder) -> list[Line]:
    """Kept in the plan, not in the history: they leave nothing behind."""
    counts = [op.count for op in draft.proof() if isinstance(op, ops.RunTests)]
    action = texts.TESTS_RUN()
    return [Line(sign=Sign.KEEP, kind="tests", name=str(count), action=action) for count in counts]


def _gone_lines(draft: PlanBuilder) -> list[Line]:
    wished = {a.id for a in draft.wish.attachments}
    action, interruption = texts.DETACH(), texts.PROGRAM_STOPS()
    return [
        Line(sign=Sign.REMOVE, kind="attachment", name=a, action=action, interruption=interruption)
        for a in draft.recorded_attachments()
        if a not in wished
    ]


def _map_lines(draft: PlanBuilder) -> list[Line]:
    lines = [with_facts(c, draft.request.counts, draft.request.cgroup, draft.seen.cpus) for c in draft.maps]
    lines += [_written(wanted, diff) for wanted, diff in draft.changed_entries()]
    lines += [
        _flipped(f, draft.request.diffs[f.wanted.name], draft.ways[f.wanted.name], draft.seen.cpus)
        for f in draft.flipping()
    ]
    lines, made = _foreign_notes(draft, lines), len(draft.maps)
    lines = [*lines[:made], *_pinned_again(draft), *lines[made:]]
    wished = {m.name for m in draft.wish.maps}
    parked = [n for n in (draft.seen.current.state if draft.seen.current else {}) if n not in wished]
    return [*lines, *(parked_line(n, draft.seen) for n in parked)]


def _pinned_again(draft: PlanBuilder) -> list[Line]:
    action, notes = texts.PIN_AGAIN(), (texts.MAP_IN_USE(),)
    names = sorted({*draft.unpinned(), *draft.unpublished()})
    return [Line(sign=Sign.CHANGE, kind="map", name=n, action=action, notes=notes) for n in names]


def _foreign_notes(draft: PlanBuilder, lines: list[Line]) -> list[Line]:
    """The same, and on each map's line what becomes of entries that reloader did not write."""
    lost = {found.map: found for found in draft.losses.lost()}
    kept = {n: draft.request.foreign[n] for n in draft.request.spared}
    notes = {n: [texts.ENTRIES_KEPT(count=len(found.spare))] for n, found in kept.items()}
    for name, found in lost.items():
        if name in kept:
            notes[name].append(texts.ENTRIES_DO_NOT_FIT(count=found.count - len(found.spare)))
        else:
            notes[name] = [texts.ENTRIES_DELETED(entries=found.words)]
    for name, found in draft.request.overwritten.items():
        notes.setdefault(name, []).append(texts.ENTRIES_OVERWRITTEN(entries=found.words))
    at = {n: max((i for i, line in enumerate(lines) if line.name == n), default=-1) for n in notes}
    for name, index in at.items():
        if index < 0:  # nothing is written to it, or the new version has no such map
            stays = name in kept or name not in lost
            sign, action = (Sign.KEEP, texts.UNCHANGED()) if stays else (Sign.REMOVE, texts.UNLOAD())
            line = Line(sign=sign, kind="map", name=name, action=action)
            lines, index = [*lines, line], len(lines)
        line = lines[index]
        noticed = _noticed(lost[name]) if name in lost else None
        lines[index] = replace(line, notes=(*line.notes, *notes[name]), interruption=noticed or line.interruption)
    return lines


def _noticed(lost: Foreign) -> Message | None:
    """What packets meet once these entries are missing."""
    if not lost.handles:
        return None
    tail = any(isinstance(one, dict) and "program" in one for one in lost.shown)
    return (texts.TAIL_CALLS_STOP if tail else texts.ENTRIES_MISSING)(count=lost.count)


def _written(wanted: WishMap, diff: EntryDiff) -> Line:
    order = texts.DELETES_FIRST() if diff.tight else texts.WRITTEN_IN_PLACE()
    mixture = texts.MIXTURE(milliseconds=max(1, diff.size // ENTRIES_A_MS)) if diff.size > 1 else texts.NONE()
    notes = (order, *fields_kept(wanted))
    action = texts.ENTRIES_WRITTEN(counts=_counts(diff))
    return Line(
        sign=Sign.CHANGE, kind="map", name=wanted.name, action=action, interruption=mixture, notes=notes
    )  # fmt: skip


def _flipped(flip: Flip, diff: EntryDiff, way: Way, cpus: int) -> Line:
    wanted = flip.wanted
    room = texts.TWICE_UNTIL_COMMIT(size=size(alone(wanted, cpus)))
    why = (way.why,) if way.why else ()
    notes = (texts.NEW_MAP(), *why, room, *fields_kept(wanted))
    action = texts.MAP_REPLACED(counts=_counts(diff))
    return Line(sign=Sign.REPLACE, kind="map", name=wanted.name, action=action, notes=notes)


def _counts(diff: EntryDiff) -> Message:
    changed = len(diff.put) - diff.added
    return texts.COUNTS(added=diff.added, changed=changed, deleted=len(diff.delete))
