"""What an apply would do: everything a plan is made of, found out from records, kernel and stored entries.

Reads only. Called by carry_out.py and commands/plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reloader.config_maps.entry_changes import EntryDiff, entry_diff
from reloader.engine.apply_request import Intake
from reloader.engine.sharing import readers_of
from reloader.engine.strangers import in_config, in_load, listings, overwritten
from reloader.errors import NotFoundError, RefusedChange
from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.lifecycle.conversions import conversions, counts, memory_cgroup, require_recorded
from reloader.observe.pipeline import Observed, observe
from reloader.pins.own_folders import require_own_folders
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish
from reloader.plan.config.foreign import Foreign
from reloader.plan.model import Plan
from reloader.plan.planner import Request, load_reason, make_plan
from reloader.plan.state.conversion import Pair


def plan(host: Host, intake: Intake) -> Plan:
    """What apply would do now. Changes nothing; RefusedChange or MissingFeature when it cannot be done."""
    return plan_of(host, intake)[0]


def plan_of(host: Host, intake: Intake) -> tuple[Plan, Observed, Request]:
    require_own_folders(host, intake.wish.pipeline)
    seen = observe(host, intake.wish, intake.wish.pipeline)
    unknown = sorted(set(intake.reset) - {m.name for m in intake.wish.maps})
    if unknown:
        raise NotFoundError(f"--reset names no map of {intake.wish.pipeline}: {', '.join(unknown)}")
    foreign = sorted(m.name for m in intake.wish.maps if m.role is Role.EXTERNAL and m.name in intake.reset)
    if foreign:
        why = f"{intake.wish.pipeline}: --reset {', '.join(foreign)}: an external map is not ours to empty"
        raise RefusedChange(why, hint="whoever pinned it empties it; nothing was touched")
    require_recorded(intake, seen)
    readers = readers_of(host.paths, intake.wish, must_exist=not intake.origin)
    wanted = listings(host.paths, intake, seen)
    found = in_config(host, intake, seen, wanted)
    diffs = _diffs(intake.wish, seen, wanted, found)
    request = Request(
        reset=intake.reset,
        diffs=diffs,
        foreign=found,
        overwritten=overwritten(host, seen, diffs, found),
        prune=intake.prune,
        way_back=intake.way_back,
        conversions=_conversions(host.kernel, intake, seen),
        counts=counts(host.kernel, seen, intake.reset),
        cgroup=memory_cgroup(),
        lossy_rollback=intake.lossy_rollback,
        leave_out=intake.leave_out,
        tests=intake.tests,
        budget=not intake.origin,
        take_over=intake.take_over,
        group=readers.group,
        notes=readers.notes,
    )
    if load_reason(intake.wish, seen, request):
        request = replace(request, foreign={**found, **in_load(host, intake, seen)})
    return make_plan(intake.wish, seen, host.paths, request), seen, request


def _conversions(kernel: Kernel, intake: Intake, seen: Observed) -> dict[str, Pair | str]:
    return conversions(kernel, intake.wish, seen)


def _diffs(
    wish: Wish, seen: Observed, wanted: Mapping[str, dict[bytes, bytes]], foreign: Mapping[str, Foreign]
) -> dict[str, EntryDiff]:
    """What the live config maps lack; a way back leaves alone what it can keep of others."""
    diffs = {}
    for name, target in wanted.items():
        live, one = seen.maps.get(name), wish.map(name)
        if live is None or live.entries is None:
            continue
        if (live.info.key_size, live.info.value_size) != (one.key_size, one.value_size):
            continue
        spare = frozenset(foreign[name].spare) if name in foreign else ()
        diffs[name] = entry_diff(one, live.entries, target, spare=spare)
    return diffs
