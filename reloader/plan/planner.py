"""make_plan: (wish, observed) → ops and lines. Pure: no I/O, so `plan` is the dry run.

Raises RefusedChange with every refusal at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from reloader.errors import MissingFeature, RefusedChange
from reloader.observe.pipeline import Observed
from reloader.paths import Paths
from reloader.pipeline.model import Apply, Role
from reloader.pipeline.wish import Wish
from reloader.places.place import Sight
from reloader.plan import ops, texts
from reloader.plan.builder import PlanBuilder, PlanInputs
from reloader.plan.config.foreign import Foreign, refusal
from reloader.plan.config.strategy import ways
from reloader.plan.lines import entries_reason, lines_of
from reloader.plan.model import Plan
from reloader.wording.message import Message

__all__ = ["PlanInputs", "load_reason", "make_plan"]


def make_plan(wish: Wish, seen: Observed, paths: Paths, request: PlanInputs) -> Plan:
    """The ops that make the kernel look like `wish`; a plan without ops when it already does."""
    reason = load_reason(wish, seen, request)
    draft = PlanBuilder(wish=wish, seen=seen, paths=paths, request=request, fresh=bool(reason))
    if draft.refusals:
        raise _refused(wish, draft)
    body, after, why = draft.body(), draft.after(), reason or entries_reason(draft)
    if body or after or _unrecorded(wish, seen):
        body = [*draft.blobs(), *draft.body(draft.proof())]
        after = [ops.PutRecord(), *after, ops.Prune()]
    current = seen.current
    return Plan(
        pipeline=wish.pipeline,
        from_generation=current.generation if current else 0,
        generation=(current.last_generation if current else 0) + 1,
        load=draft.load,
        why=why,
        lines=tuple(lines_of(draft)),
        ops=tuple(body),
        after=tuple(after),
        blobs=draft.before,
        left_out=draft.losses.left_out(),
        overwritten=tuple(found.values for found in request.overwritten.values()),
    )


def load_reason(wish: Wish, seen: Observed, request: PlanInputs) -> Message | None:
    """Say why a new load is needed; None when the running one stays."""
    if seen.generation is None:
        return texts.FIRST_LOAD()
    if seen.rebooted:
        return texts.KERNEL_RESTARTED()
    if seen.generation.rebuilt:
        return texts.RECORDS_REBUILT()
    if set(seen.progs) != set(seen.generation.progs):
        return texts.PINS_OF_PROGRAMS_MISSING()
    missing = [n for n, m in seen.generation.maps.items() if n not in seen.maps and n not in seen.lost]
    if missing:
        return texts.PINS_OF_MAPS_MISSING(maps=missing)
    if seen.sides_gone:
        return texts.PINS_OF_SIDES_MISSING(pins=seen.sides_gone)
    if wish.load_digest() != seen.generation.wish.load_digest():
        return _what_changed(wish, seen.generation.wish)
    if request.reset:
        return texts.RESET(maps=sorted(request.reset))
    return _program_reason(wish, seen, request)


def _what_changed(new: Wish, old: Wish) -> Message:
    parts = list[Message]()
    if [o.digest for o in new.objects] != [o.digest for o in old.objects]:
        parts.append(texts.CHANGED_OBJECTS())
    changed = sorted(k for k in {*new.rodata, *old.rodata} if new.rodata.get(k) != old.rodata.get(k))
    if changed:
        parts.append(texts.CHANGED_CONSTANTS(names=changed))
    if new.programs != old.programs:
        parts.append(texts.CHANGED_PROGRAMS())
    return texts.WISH_CHANGED(parts="; ".join(parts) or texts.CHANGED_MAPS())


def _program_reason(wish: Wish, seen: Observed, request: PlanInputs) -> Message | None:
    """Why changed entries need a new load; None when there is another way (or none changed)."""
    for name, way in ways(wish, seen, request.diffs, request.spared).items():
        if way.apply is Apply.PROGRAM:
            return texts.ENTRIES_NEED_LOAD(map=name, why=way.why)
    return None


def _unrecorded(wish: Wish, seen: Observed) -> bool:
    """The kernel already fits, but the recorded wish reads differently (an `apply:` word, say)."""
    return seen.generation is None or seen.generation.wish.digest() != wish.digest()


def _refused(wish: Wish, draft: PlanBuilder) -> RefusedChange | MissingFeature:
    refusals = draft.refusals
    if len(refusals) == sum(c.missing for c in draft.attachments):
        hints = dict.fromkeys(choice.hint for choice in draft.attachments if choice.hint)
        why, hint = (
            "; ".join(r.text() for r in refusals),
            texts.NOTHING_TOUCHED(advice="; ".join(hints)) if hints else "",
        )
        return MissingFeature(texts.PLACE_MISSING(pipeline=wish.pipeline, why=why), hint=hint)
    maps = any(c.refusal and c.wanted.role is not Role.EXTERNAL for c in draft.maps)
    unasked = draft.losses.unasked()
    return RefusedChange(
        texts.REFUSED(pipeline=wish.pipeline),
        detail=[one.text() for one in refusals],
        hint=_way_out(wish, draft) or _asked(unasked) or (texts.DISCARD() if maps else _elsewhere(draft)),
        reason=next((refusal(found).code for found in unasked), ""),
        values=foreign_values(unasked),
        refusals=[one.to_json() for one in refusals],
    )


def _elsewhere(draft: PlanBuilder) -> str:
    """What to do about links of ours that stay at other places: the same hint that `status` prints."""
    found = (draft.seen.attachments[c.wanted.id] for c in draft.attachments if c.refusal)
    return "; ".join(dict.fromkeys(s.blocked.hint for s in found if s.blocked and s.sight is Sight.ELSEWHERE))


def _asked(unasked: Sequence[Foreign]) -> str:
    """What the user can say about entries of others; empty when there are none."""
    handles = ", ".join(f"--reset {found.map}" for found in unasked if found.handles)
    advice = [texts.LIST_OR_KEEP()] if any(not found.handles for found in unasked) else []
    return "; ".join([*advice, *([texts.START_EMPTY(options=handles)] if handles else [])])


def foreign_values(unasked: Sequence[Foreign]) -> dict[str, object]:
    """Count and first keys, over all maps and for each."""
    if not unasked:
        return {}
    return {
        "count": sum(found.count for found in unasked),
        "keys": list(unasked[0].shown),
        "maps": [found.values for found in unasked],
    }


def _way_out(wish: Wish, draft: PlanBuilder) -> str:
    """Pins and no records at all: those can be had back from the kernel."""
    seen = draft.seen
    if seen.current is None and (seen.strays or any(a.link for a in seen.attachments.values())):
        return texts.REBUILD_RECORDS(pipeline=wish.pipeline)
    linked = (a.foreign.pipeline for a in seen.attachments.values() if a.foreign and a.foreign.link_id)
    other = next((name for name in linked if name not in ("", wish.pipeline)), "")
    if other:
        return texts.REMOVE_OTHER(pipeline=wish.pipeline, other=other)
    return ""
