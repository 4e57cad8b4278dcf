"""What an apply would do: everything a plan is made of, found out from records, kernel and stored entries.

Reads only. Called by carry_out.py and commands/plan.py.
"""

from __future__ import annotations

from dataclasses import replace

from reloader.engine import strangers
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.sharing import readers_of
from reloader.errors import NotFoundError, RefusedChange
from reloader.kernel.host import Host
from reloader.lifecycle import texts
from reloader.lifecycle.conversions import state_inputs
from reloader.observe.pipeline import Observed, observe
from reloader.pins.own_folders import require_own_folders
from reloader.pipeline.model import Role
from reloader.plan.model import Plan
from reloader.plan.planner import PlanInputs, load_reason, make_plan


def plan(host: Host, intake: ApplyRequest) -> Plan:
    """What apply would do now. Changes nothing; RefusedChange or MissingFeature when it cannot be done."""
    return plan_of(host, intake)[0]


def plan_of(host: Host, intake: ApplyRequest) -> tuple[Plan, Observed, PlanInputs]:
    require_own_folders(host, intake.wish.pipeline)
    seen = observe(host, intake.wish, intake.wish.pipeline)
    unknown = sorted(set(intake.reset) - {m.name for m in intake.wish.maps})
    if unknown:
        raise NotFoundError(texts.RESET_UNKNOWN(pipeline=intake.wish.pipeline, maps=unknown))
    foreign = sorted(m.name for m in intake.wish.maps if m.role is Role.EXTERNAL and m.name in intake.reset)
    if foreign:
        raise RefusedChange(texts.RESET_EXTERNAL(pipeline=intake.wish.pipeline, maps=foreign))
    state = state_inputs(host.kernel, intake, seen)
    readers = readers_of(host.paths, intake.wish, must_exist=not intake.origin)
    entries = strangers.look(host, intake, seen)
    request = PlanInputs(
        reset=intake.reset,
        diffs=entries.diffs,
        foreign=entries.foreign,
        overwritten=entries.overwritten,
        prune=intake.prune,
        way_back=intake.way_back,
        conversions=state.conversions,
        counts=state.counts,
        cgroup=state.cgroup,
        lossy_rollback=intake.lossy_rollback,
        leave_out=intake.leave_out,
        tests=intake.tests,
        budget=not intake.origin,
        take_over=intake.take_over,
        group=readers.group,
        notes=readers.notes,
    )
    if load_reason(intake.wish, seen, request):
        in_load = strangers.in_load(host, intake, seen)
        request = replace(request, foreign={**entries.foreign, **in_load})
    return make_plan(intake.wish, seen, host.paths, request), seen, request
