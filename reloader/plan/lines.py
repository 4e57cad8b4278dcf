"""What a person reads of a plan: one line per program, attachment and map. Pure.

Called by planner.py with its draft.
"""

from __future__ import annotations

from dataclasses import replace

from reloader.config_maps.entry_changes import EntryDiff
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan import ops
from reloader.plan.builder import Draft
from reloader.plan.config.foreign import Foreign, entries
from reloader.plan.config.map_exchange import Flip
from reloader.plan.config.strategy import Way
from reloader.plan.model import Line, Sign
from reloader.plan.removal import parked_line
from reloader.plan.state_costs import alone, size, with_facts

ENTRIES_A_MS = 2000  # what a batch writes on a small machine; for the plan's estimate only
PIN_AGAIN = "pin again"


def lines_of(draft: Draft) -> list[Line]:
    kept = [
        *_program_lines(draft),
        *_constant_lines(draft),
        *(c.line() for c in draft.attachments),
        *_gone_lines(draft),
        *_map_lines(draft),
    ]
    return [*kept, *_share_lines(draft), *_test_lines(draft), *_health_lines(draft)]


def _share_lines(draft: Draft) -> list[Line]:
    """Who may open the published maps, when that changes."""
    share, notes = draft.wish.share, draft.request.notes
    if not draft.sharing() and not notes:
        return []
    if share is None or draft.request.group < 0:
        action = "pub/ becomes private" if draft.seen.readers != -1 else "pub/ stays private"
        return [Line(sign=Sign.REMOVE, kind="share", name=share.group if share else "pub", action=action, notes=notes)]
    sign = Sign.KEEP if not draft.sharing() else Sign.CHANGE if draft.seen.readers != -1 else Sign.ADD
    return [Line(sign=sign, kind="share", name=share.group, action="the group may read the maps in pub/", notes=notes)]


def _health_lines(draft: Draft) -> list[Line]:
    """What a new version has to prove afterwards; a repair has to prove nothing."""
    health, serving = draft.wish.health, draft.seen.generation
    if health is None or (serving is not None and serving.wish.digest() == draft.wish.digest()):
        return []
    action = f"on trial for {health.window:g} s, a look every {health.interval:g} s"
    back = f"else generation {serving.number} comes back" if serving else "else it is taken off"
    checks = tuple(check.text() for check in health.checks)
    return [Line(sign=Sign.KEEP, kind="health", name="checks", action=action, notes=(back,), detail=checks)]


def entries_reason(draft: Draft) -> str:
    changed = [m.name for m, _ in draft.changed_entries()]
    whys = {draft.ways[n].why for n in changed if n in draft.ways} - {""}
    because = f", because {next(iter(whys))}" if len(changed) == 1 and whys else ""
    told = [f"entries of {', '.join(changed)} changed; written in place{because}"] if changed else []
    told += [
        f"entries of {f.wanted.name} changed; a new map, because {draft.ways[f.wanted.name].why}"
        for f in draft.flipping()
    ]
    if told:
        return "; ".join(told)
    if lost := sorted({*draft.unpinned(), *draft.unpublished(), *draft.seen.unpinned_progs}):
        return f"pins of {', '.join(lost)} were gone; pinned again"
    if any(c.ops for c in draft.attachments) or draft.detach():
        return "attachments changed"
    if draft.sharing():
        return "other users may read the published maps"
    before = draft.seen.generation.wish if draft.seen.generation else None
    return "tests changed" if _tests(draft.wish) != _tests(before) else "nothing to do"


def _tests(wish: Wish | None) -> str:
    return wish.tests.digest if wish and wish.tests else ""


def _program_lines(draft: Draft) -> list[Line]:
    if not draft.fresh:
        notes = ("its pin was gone, the program was not",)
        again = draft.seen.unpinned_progs
        return [Line(sign=Sign.CHANGE, kind="program", name=p, action=PIN_AGAIN, notes=notes) for p in again]
    old = set(draft.seen.generation.progs) if draft.seen.generation else set()
    new = set(draft.wish.programs)
    kept = [
        Line(sign=Sign.REPLACE if p in old else Sign.ADD, kind="program", name=p, action=f"load {draft.load}")
        for p in sorted(new)
    ]
    return [*kept, *(Line(sign=Sign.REMOVE, kind="program", name=p, action="unload") for p in sorted(old - new))]


def _constant_lines(draft: Draft) -> list[Line]:
    """One line for each field of a constant that gets another value."""
    serving = draft.seen.generation.wish if draft.seen.generation else None
    if not draft.fresh or (serving is not None and serving.rodata == draft.wish.rodata and not draft.wish.constants):
        return []
    from reloader.pipeline.constant_values import changes  # late: most plans have none

    return [
        Line(
            sign=Sign.CHANGE, kind="rodata", name=c.path, action=c.text(), notes=() if c.set else ("not set: compiled",)
        )
        for c in changes(serving, draft.wish)
    ]


def _test_lines(draft: Draft) -> list[Line]:
    """Kept in the plan, not in the history: they leave nothing behind."""
    counts = [op.count for op in draft.proof() if isinstance(op, ops.RunTests)]
    action = "run on scratch maps before the swap"
    return [Line(sign=Sign.KEEP, kind="tests", name=str(count), action=action) for count in counts]


def _gone_lines(draft: Draft) -> list[Line]:
    wished = {a.id for a in draft.wish.attachments}
    return [
        Line(sign=Sign.REMOVE, kind="attachment", name=a, action="detach", interruption="the program stops there")
        for a in draft.recorded_attachments()
        if a not in wished
    ]


def _map_lines(draft: Draft) -> list[Line]:
    lines = [with_facts(c, draft.request.counts, draft.request.cgroup, draft.seen.cpus) for c in draft.maps]
    lines += [
        Line(sign=Sign.CHANGE, kind="map", name=n, action=PIN_AGAIN, notes=("its pin was gone, the map was not",))
        for n in sorted({*draft.unpinned(), *draft.unpublished()})
    ]
    lines += [_written(wanted, diff) for wanted, diff in draft.changed_entries()]
    lines += [
        _flipped(f, draft.request.diffs[f.wanted.name], draft.ways[f.wanted.name], draft.seen.cpus)
        for f in draft.flipping()
    ]
    lines = _foreign_notes(draft, lines)
    wished = {m.name for m in draft.wish.maps}
    parked = [n for n in (draft.seen.current.state if draft.seen.current else {}) if n not in wished]
    return [*lines, *(parked_line(n, draft.seen) for n in parked)]


def _foreign_notes(draft: Draft, lines: list[Line]) -> list[Line]:
    """The same, and on each map's line what becomes of entries that reloader did not write."""
    lost = {found.map: found for found in draft.losses.lost()}
    kept = {n: draft.request.foreign[n] for n in draft.request.spared}
    told = {n: f"keeps {entries(len(found.spare))} that reloader did not write" for n, found in kept.items()}
    for name, found in lost.items():
        loses = f"deletes {found.words}" if name not in kept else f"{found.count - len(found.spare)} more do not fit"
        told[name] = "; ".join(filter(None, (told.get(name), loses)))
    for name, found in draft.request.overwritten.items():
        told[name] = "; ".join(filter(None, (told.get(name), f"overwrites {found.words}")))
    places = [(line.name, i) for i, line in enumerate(lines) if line.kind == "map" and line.action != PIN_AGAIN]
    at = {n: max((i for name, i in places if name == n), default=-1) for n in told}
    for name, index in at.items():
        if index < 0:  # nothing is written to it, or the new version has no such map
            stays = name in kept or name not in lost
            sign, action = (Sign.KEEP, "unchanged") if stays else (Sign.REMOVE, "unload")
            line = Line(sign=sign, kind="map", name=name, action=action)
            lines, index = [*lines, line], len(lines)
        line = lines[index]
        noticed = _noticed(lost[name]) if name in lost else ""
        lines[index] = replace(line, notes=(*line.notes, told[name]), interruption=noticed or line.interruption)
    return lines


def _noticed(lost: Foreign) -> str:
    """What packets meet once these entries are missing."""
    if not lost.handles:
        return ""
    tail = any(isinstance(one, dict) and "program" in one for one in lost.shown)
    return f"tail calls into {entries(lost.count)} stop" if tail else f"{entries(lost.count)} missing"


def _written(wanted: WishMap, diff: EntryDiff) -> Line:
    order = "deletes first, the map is too full" if diff.tight else "written in place, in batches"
    mixture = f"a mixture for about {max(1, diff.size // ENTRIES_A_MS)} ms" if diff.size > 1 else "none"
    notes = (order, *_kept(wanted))
    action = f"entries: {_counts(diff)}"
    return Line(
        sign=Sign.CHANGE, kind="map", name=wanted.name, action=action, interruption=mixture, notes=notes
    )  # fmt: skip


def _flipped(flip: Flip, diff: EntryDiff, way: Way, cpus: int) -> Line:
    wanted = flip.wanted
    room = f"about {size(alone(wanted, cpus))} twice until the commit"
    notes = ("a new map, and one store that packets see", way.why, room, *_kept(wanted))
    return Line(sign=Sign.REPLACE, kind="map", name=wanted.name, action=f"map: {_counts(diff)}", notes=notes)


def _counts(diff: EntryDiff) -> str:
    return f"{diff.added} added, {len(diff.put) - diff.added} changed, {len(diff.delete)} deleted"


def _kept(wanted: WishMap) -> tuple[str, ...]:
    return (f"{', '.join(k.name for k in wanted.keep)} carried over",) if wanted.keep else ()
