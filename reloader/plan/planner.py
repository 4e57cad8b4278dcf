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
from reloader.plan import ops
from reloader.plan.builder import Draft, Request
from reloader.plan.config.foreign import ENTRIES, HANDLES, Foreign
from reloader.plan.config.strategy import ways
from reloader.plan.lines import entries_reason, lines_of
from reloader.plan.model import Plan

__all__ = ["Request", "load_reason", "make_plan"]


def make_plan(wish: Wish, seen: Observed, paths: Paths, request: Request) -> Plan:
    """The ops that make the kernel look like `wish`; a plan without ops when it already does."""
    reason = load_reason(wish, seen, request)
    draft = Draft(wish=wish, seen=seen, paths=paths, request=request, fresh=bool(reason))
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


def load_reason(wish: Wish, seen: Observed, request: Request) -> str:
    """Why a new load is needed, in words; empty when the running one serves on."""
    if seen.generation is None:
        return "first load"
    if seen.rebooted:
        return "the kernel was restarted"
    if seen.generation.rebuilt:
        return "its records were rebuilt from the kernel"
    if set(seen.progs) != set(seen.generation.progs):
        return "pinned programs of the running load are missing"
    missing = [n for n, m in seen.generation.maps.items() if n not in seen.maps and n not in seen.lost]
    if missing:
        return f"pinned maps are missing: {', '.join(missing)}"
    if seen.sides_gone:
        return f"pins of what says which side of a config map packets look at are missing: {', '.join(seen.sides_gone)}"
    if wish.load_digest() != seen.generation.wish.load_digest():
        return _what_changed(wish, seen.generation.wish)
    if request.reset:
        return f"reset of {', '.join(sorted(request.reset))}"
    return _program_reason(wish, seen, request)


def _what_changed(new: Wish, old: Wish) -> str:
    parts = []
    if [o.digest for o in new.objects] != [o.digest for o in old.objects]:
        parts.append("objects")
    changed = sorted(k for k in {*new.rodata, *old.rodata} if new.rodata.get(k) != old.rodata.get(k))
    if changed:
        parts.append(f"rodata {', '.join(changed)}")
    if new.programs != old.programs:
        parts.append("programs")
    return f"changed: {'; '.join(parts) or 'map declarations'}"


def _program_reason(wish: Wish, seen: Observed, request: Request) -> str:
    """Why changed entries need a new load; empty when there is another way (or none changed)."""
    for name, way in ways(wish, seen, request.diffs, request.spared).items():
        if way.apply is Apply.PROGRAM:
            return f"entries of {name} changed and {way.why}"
    return ""


def _unrecorded(wish: Wish, seen: Observed) -> bool:
    """The kernel already fits, but the recorded wish reads differently (an `apply:` word, say)."""
    return seen.generation is None or seen.generation.wish.digest() != wish.digest()


def _refused(wish: Wish, draft: Draft) -> RefusedChange | MissingFeature:
    refusals = draft.refusals
    if len(refusals) == sum(c.missing for c in draft.attachments):
        hints = dict.fromkeys(choice.hint for choice in draft.attachments if choice.hint)
        hint = f"nothing was touched; {'; '.join(hints) or '`reloader doctor --features` shows what this kernel has'}"
        return MissingFeature(f"{wish.pipeline}: {'; '.join(refusals)}", hint=hint)
    maps = any(c.refusal and c.wanted.role is not Role.EXTERNAL for c in draft.maps)
    unasked = draft.losses.unasked()
    return RefusedChange(
        f"{wish.pipeline}: the change is refused; nothing was touched",
        detail=refusals,
        hint=_way_out(wish, draft) or _asked(unasked) or (_RESET if maps else ""),
        reason=_reason(unasked),
        values=foreign_values(unasked),
    )


_RESET = "to give up a map's contents on purpose, name it: --reset MAP"


def _asked(unasked: Sequence[Foreign]) -> str:
    """What the user can say about entries of others; empty when there are none."""
    handles = ", ".join(f"--reset {found.map}" for found in unasked if found.handles)
    deleted = "list them in the YAML, keep them with `prune: false`, or delete them with --prune"
    told = [deleted] if any(not found.handles for found in unasked) else []
    return "; ".join(
        [*told, *([f"{handles} starts empty; the process that filled it fills it again"] if handles else [])]
    )


def _reason(unasked: Sequence[Foreign]) -> str:
    return next((HANDLES if found.handles else ENTRIES for found in unasked), "")


def foreign_values(unasked: Sequence[Foreign]) -> dict[str, object]:
    """Count and first keys, over all maps and for each."""
    if not unasked:
        return {}
    return {
        "count": sum(found.count for found in unasked),
        "keys": list(unasked[0].shown),
        "maps": [found.values for found in unasked],
    }


def _way_out(wish: Wish, draft: Draft) -> str:
    """Pins and no records at all: those can be had back from the kernel."""
    seen = draft.seen
    if seen.current is None and (seen.strays or any(a.link for a in seen.attachments.values())):
        return f"`reloader recover {wish.pipeline}` rebuilds its records from the kernel"
    linked = (a.foreign.pipeline for a in seen.attachments.values() if a.foreign and a.foreign.link_id)
    other = next((name for name in linked if name not in ("", wish.pipeline)), "")
    if other:
        return (
            f"if {wish.pipeline} is to take its place: `reloader remove {other}`, then apply; state does not move along"
        )
    return ""
