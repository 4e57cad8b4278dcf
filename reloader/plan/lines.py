"""What a person reads of a plan: one line per program, attachment and map. Pure.

Called by planner.py with its draft. Imports plan.draft and plan.model.
"""

from __future__ import annotations

from reloader.plan.draft import Draft
from reloader.plan.model import Line, Sign
from reloader.plan.removal import parked_line


def lines_of(draft: Draft) -> list[Line]:
    return [*_program_lines(draft), *(c.line() for c in draft.attachments), *_gone_lines(draft), *_map_lines(draft)]


def entries_reason(draft: Draft) -> str:
    changed = [m.name for m, _ in draft.changed_entries()]
    if changed:
        return f"entries of {', '.join(changed)} changed; written in place"
    if lost := sorted({*draft.unpinned(), *draft.unpublished(), *draft.seen.unpinned_progs}):
        return f"pins of {', '.join(lost)} were gone; pinned again"
    return "attachments changed" if any(c.ops for c in draft.attachments) or draft.detach() else "nothing to do"


def _program_lines(draft: Draft) -> list[Line]:
    if not draft.fresh:
        notes = ("its pin was gone, the program was not",)
        again = draft.seen.unpinned_progs
        return [Line(sign=Sign.CHANGE, kind="program", name=p, action="pin again", notes=notes) for p in again]
    old = set(draft.seen.generation.progs) if draft.seen.generation else set()
    new = set(draft.wish.programs)
    kept = [
        Line(sign=Sign.REPLACE if p in old else Sign.ADD, kind="program", name=p, action=f"load {draft.load}")
        for p in sorted(new)
    ]
    return [*kept, *(Line(sign=Sign.REMOVE, kind="program", name=p, action="unload") for p in sorted(old - new))]


def _gone_lines(draft: Draft) -> list[Line]:
    wished = {a.id for a in draft.wish.attachments}
    return [
        Line(sign=Sign.REMOVE, kind="attachment", name=a, action="detach", interruption="the program stops there")
        for a in draft.recorded_attachments()
        if a not in wished
    ]


def _map_lines(draft: Draft) -> list[Line]:
    lines = [c.line() for c in draft.maps]
    lines += [
        Line(sign=Sign.CHANGE, kind="map", name=n, action="pin again", notes=("its pin was gone, the map was not",))
        for n in sorted({*draft.unpinned(), *draft.unpublished()})
    ]
    for wanted, diff in draft.changed_entries():
        order = "deletes first, the map is too full" if diff.tight else "written in place, in batches"
        action = f"{diff.added} added, {len(diff.put) - diff.added} changed, {len(diff.delete)} deleted"
        lines.append(Line(sign=Sign.CHANGE, kind="map", name=wanted.name, action=f"entries: {action}", notes=(order,)))
    wished = {m.name for m in draft.wish.maps}
    parked = [n for n in (draft.seen.current.state if draft.seen.current else {}) if n not in wished]
    return [*lines, *(parked_line(n, draft.seen) for n in parked)]
