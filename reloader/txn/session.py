"""What the commands ask of the engine, per pipeline: plan, apply, rollback, remove. Recovers first.

Called by cli.py and follow/. Imports observe, plan, records, txn's own modules.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING, Protocol

from reloader import records
from reloader.errors import (
    KernelError,
    NotFoundError,
    NothingSwapped,
    NoWayBack,
    RefusedChange,
    ReloaderError,
    RolledBack,
)
from reloader.files import listing
from reloader.frozen import frozen
from reloader.interrupts import Held
from reloader.kernel import Kernel
from reloader.layout import PIPELINE_NAME, Layout
from reloader.lock import WriterLock
from reloader.observe import Observed, observe
from reloader.pin_folders import require_own_folders
from reloader.plan.conversion import Pair
from reloader.plan.entries import EntryDiff, entry_diff
from reloader.plan.foreign import Foreign
from reloader.plan.model import Plan
from reloader.plan.planner import Request, load_reason, make_plan
from reloader.plan.removal import make_removal
from reloader.records import Cause, Current, Generation, OutcomeKind, Trial, TrialOutcome
from reloader.spec.model import Role
from reloader.spec.wish import Wish
from reloader.standing import in_force
from reloader.txn import storage, trial
from reloader.txn.apply import Bench, silent
from reloader.txn.commit import records_of
from reloader.txn.conversions import conversions, counts, memory_cgroup, require_recorded
from reloader.txn.intake import Intake
from reloader.txn.panic import panicking
from reloader.txn.privilege import privileged
from reloader.txn.recover import recover, stopped
from reloader.txn.rescue import write_script
from reloader.txn.several import each
from reloader.txn.sharing import readers_of
from reloader.txn.strangers import in_config, in_load, listings, overwritten
from reloader.txn.transaction import Progress, Trip, left_out, run
from reloader.txn.way_back import known, rollback_target

if TYPE_CHECKING:
    from reloader.txn.proving import Result as Proof

__all__ = ["Intake", "Result", "apply", "plan", "ready", "recover_all", "remove", "rollback"]

FORGOTTEN = "nobody confirmed it in time, and its guard is gone"


@frozen
class Result:
    pipeline: str
    changed: bool
    generation: int
    plan: Plan | None  # None: the fast check found nothing to do
    seconds: dict[str, float] = field(default_factory=dict)  # per kind of op, and "total"
    recovered: tuple[str, ...] = ()
    proof: tuple[Proof, ...] = ()  # how its tests ended
    unconfirmed: float = 0.0  # seconds that its generation is on trial for; 0: it is not
    outcome: str = ""  # of the trial, in words
    bridge: dict[str, int] = field(default_factory=dict)  # what it did while state moved, where not zero
    left_out: dict[str, int] = field(default_factory=dict)  # state map -> entries given up, having no place in it
    interrupted: bool = False  # a signal came when it was too late to go back: nothing more is to be done


class Post(Protocol):
    """Who watches over what is about to be swapped; on_trial.py has one."""

    def stand(self, made: Plan, seen: Observed) -> None:
        """Before anything is done. An error here leaves everything as it was."""

    def trial(self) -> Trial | None:
        """Asked for the commit record; None: this change needs no trial."""


quiet: Progress = silent


def is_unchanged(kernel: Kernel, layout: Layout, pipeline: str, wish_digest: str) -> bool:
    """The fast check: records, links and config contents say that this very wish is in force. Reads only."""
    return in_force(kernel, layout, pipeline, wish_digest) > 0


def plan(kernel: Kernel, layout: Layout, intake: Intake) -> Plan:
    """What apply would do now. Changes nothing; RefusedChange or MissingFeature when it cannot be done."""
    return _plan(kernel, layout, intake)[0]


def _plan(kernel: Kernel, layout: Layout, intake: Intake) -> tuple[Plan, Observed, Request]:
    require_own_folders(kernel, layout, intake.wish.pipeline)
    seen = observe(kernel, layout, intake.wish, intake.wish.pipeline)
    unknown = sorted(set(intake.reset) - {m.name for m in intake.wish.maps})
    if unknown:
        raise NotFoundError(f"--reset names no map of {intake.wish.pipeline}: {', '.join(unknown)}")
    foreign = sorted(m.name for m in intake.wish.maps if m.role is Role.EXTERNAL and m.name in intake.reset)
    if foreign:
        why = f"{intake.wish.pipeline}: --reset {', '.join(foreign)}: an external map is not ours to empty"
        raise RefusedChange(why, hint="whoever pinned it empties it; nothing was touched")
    require_recorded(intake, seen)
    readers = readers_of(layout, intake.wish, must_exist=not intake.origin)
    wanted = listings(layout, intake, seen)
    found = in_config(kernel, layout, intake, seen, wanted)
    diffs = _diffs(intake.wish, seen, wanted, found)
    request = Request(
        reset=intake.reset,
        diffs=diffs,
        foreign=found,
        overwritten=overwritten(kernel, layout, seen, diffs, found),
        prune=intake.prune,
        way_back=intake.way_back,
        conversions=_conversions(kernel, intake, seen),
        counts=counts(kernel, seen, intake.reset),
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
        request = replace(request, foreign={**found, **in_load(kernel, layout, intake, seen)})
    return make_plan(intake.wish, seen, layout, request), seen, request


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


def ready(kernel: Kernel, layout: Layout, pipeline: str, lock: WriterLock) -> list[str]:
    """What every change does first: end what a dead predecessor left, and take back what nobody confirmed in time.
    NoWayBack when that cannot be done; it is not tried again."""
    return _ready(kernel, layout, pipeline, lock)[0]


def _ready(
    kernel: Kernel, layout: Layout, pipeline: str, lock: WriterLock, progress: Progress = quiet
) -> tuple[list[str], Result | None]:
    """What was done, and the result of taking a forgotten version back, if there was one."""
    require_own_folders(kernel, layout, pipeline)
    done = recover(kernel, layout, pipeline, lock, progress)
    current = records.read_current(layout, pipeline)
    if current is None or not current.trial or not trial.overdue(current.trial, kernel.boot_id()):
        return done, None
    with Held() as held:
        sent = end_or_give_up(kernel, layout, current, FORGOTTEN, lock)
    if held.interrupted:
        raise KeyboardInterrupt
    done.append(f"{pipeline}: generation {current.trial.generation}: {FORGOTTEN}; {home(current, sent)}")
    return done, sent


def apply(
    kernel: Kernel,
    layout: Layout,
    intake: Intake,
    lock: WriterLock,
    *,
    progress: Progress = quiet,
    post: Post | None = None,
) -> Result:
    """Make the kernel look like the wish, or leave it as it was (see transaction.run for the errors)."""
    recovered = tuple(ready(kernel, layout, intake.wish.pipeline, lock))
    current = records.read_current(layout, intake.wish.pipeline)
    if current is not None and current.trial:
        raise trial.refuse(current, kernel.boot_id())
    return _apply(kernel, layout, intake, lock, progress=progress, post=post, recovered=recovered)


def _apply(
    kernel: Kernel,
    layout: Layout,
    intake: Intake,
    lock: WriterLock,
    *,
    progress: Progress = quiet,
    post: Post | None = None,
    recovered: tuple[str, ...] = (),
) -> Result:
    started = time.monotonic()
    name = intake.wish.pipeline
    if not intake.reset and not intake.take_over and is_unchanged(kernel, layout, name, intake.wish.digest()):
        found = unchanged(layout, name, None, recovered)
        if intake.blobs:
            stored = records.read_generation(layout, name, found.generation)
            storage.store_again(layout, stored, intake.blobs, write_script)
        return found
    made, seen, request = _plan(kernel, layout, intake)
    if seen.generation is not None:
        storage.store_again(layout, seen.generation, intake.blobs, write_script)
    if not made.changes:
        note_attempt(layout, name, intake.source, intake.wish.digest(), "", lock)
        return unchanged(layout, name, made, recovered)
    blobs, diffs = {**intake.blobs, **made.blobs}, _planned(intake.wish, request)
    bench = Bench(kernel=kernel, layout=layout, pipeline=name, wish=intake.wish, blobs=blobs, diffs=diffs, seen=seen)
    bench.left_out |= made.left_out
    if post is not None:
        post.stand(made, seen)

    def finish(done: Bench) -> tuple[Generation, Current]:
        generation, current = records_of(done, made, seen, intake)
        return generation, replace(current, trial=post.trial() if post is not None else None)

    trip = Trip(plan=made, bench=bench, finish=finish, progress=progress)
    with privileged(kernel, made):
        run(trip, kernel, layout, lock)
    seconds = {**trip.seconds, "total": time.monotonic() - started}
    return Result(
        pipeline=name, changed=True, generation=made.generation, plan=made, seconds=seconds, recovered=recovered,
        proof=bench.proof, bridge=bench.bridged, left_out=bench.left_out, interrupted=bench.interrupted,
    )  # fmt: skip


def _planned(wish: Wish, request: Request) -> dict[tuple[str, str], EntryDiff]:
    """The differences by map and wanted entries, so that carrying them out need not work them out again."""
    return {
        (m.name, m.entries.digest): request.diffs[m.name] for m in wish.maps if m.entries and m.name in request.diffs
    }


def unchanged(layout: Layout, name: str, made: Plan | None = None, recovered: tuple[str, ...] = ()) -> Result:
    """The result of finding nothing to do."""
    current = records.read_current(layout, name)
    generation = current.generation if current else 0
    return Result(pipeline=name, changed=False, generation=generation, plan=made, recovered=recovered)


def note_attempt(layout: Layout, pipeline: str, source: str, digest: str, error: str, lock: WriterLock) -> None:
    """Remember what a source tried last and how that went; without a digest it was no wish at all."""
    assert lock.fd >= 0
    before = records.read_current(layout, pipeline)
    if before is None:
        return
    tried = {**before.tried, source: digest} if source and digest else before.tried
    after = replace(before, tried=tried, last_error=error, orphaned=before.orphaned and not source)
    if after != before:
        records.write_current(layout, after)


def note_orphan(layout: Layout, pipeline: str, lock: WriterLock) -> int:
    """Remember that a pipeline's file is gone: the generation that runs on; 0 when that is no news."""
    assert lock.fd >= 0
    before = records.read_current(layout, pipeline)
    if before is None or before.orphaned or not before.generation:
        return 0
    records.write_current(layout, replace(before, orphaned=True))
    return before.generation


def rollback(
    kernel: Kernel,
    layout: Layout,
    pipeline: str,
    to: int | None,
    lock: WriterLock,
    *,
    progress: Progress = quiet,
    tests: bool = True,
    leave_out: bool = False,
    reset: Collection[str] = (),
) -> Result:
    """Apply a stored generation's wish again, from stored objects. `to` None: the one before the current. `tests`:
    whether it has to pass its own. `leave_out`: entries of state that its layout has no place for may go. `reset`: maps
    that start empty."""
    recovered, sent = _ready(kernel, layout, pipeline, lock)
    if sent is not None and to is None:  # that was what it was asked for
        return replace(sent, recovered=tuple(recovered))
    target = rollback_target(layout, pipeline, to)
    current = records.read_current(layout, pipeline)
    intake = replace(
        _again(target, f"rollback to {target.number}", Cause.ROLLBACK), tests=tests, leave_out=leave_out, reset=reset
    )
    try:
        result = _apply(kernel, layout, intake, lock, progress=progress, recovered=tuple(recovered))
    except (NothingSwapped, RolledBack) as error:
        if isinstance(error.__cause__, KernelError) and error.__cause__.errno == errno.ERANGE:
            error.hint = "--allow-lossy-rollback leaves these entries out and goes back"
        raise
    if current is not None and current.trial and result.changed:  # its guard sees that it was decided
        trial.note_outcome(layout, current, trial.back(" by hand"))
    return result


def _again(target: Generation, reason: str, cause: Cause) -> Intake:
    """A stored generation's wish, to be applied once more."""
    origin = target.origin or target.number
    return Intake(wish=target.wish, reason=reason, cause=cause, origin=origin, lossy_rollback=True)


def end_trial(kernel: Kernel, layout: Layout, current: Current, reason: str, lock: WriterLock) -> Result | None:
    """Nobody vouches for the generation on trial: it goes. None: a panic serves, which only a person ends; the trial
    is over then, and the version stays below it."""
    if panicking(kernel, layout, current.pipeline):
        words = f"{trial.PANICKED.words} ({reason})"
        trial.conclude(layout, current, replace(trial.PANICKED, words=words), lock)
        return None
    return _send_home(kernel, layout, current, reason, lock)


def _send_home(kernel: Kernel, layout: Layout, current: Current, reason: str, lock: WriterLock) -> Result:
    """What served before serves again, with the state as it is now; where nothing did, the version is taken off and
    its state parked."""
    on_trial = current.trial
    assert on_trial is not None
    trial.note_outcome(layout, current, trial.back(f": {reason}"))
    failed = f"generation {on_trial.generation} failed: {reason}"
    if not on_trial.back_to:
        return _remove(kernel, layout, current.pipeline, lock, failed=failed)
    target = records.read_generation(layout, current.pipeline, on_trial.back_to)
    # it served; what it is measured against is what failed
    again = _again(target, f"rollback to {target.number}: {failed}", Cause.TRIAL)
    intake = replace(again, tests=False, leave_out=True)
    sent = _apply(kernel, layout, intake, lock)
    trial.note_outcome(layout, current, trial.back(f": {reason}{left_out(sent.left_out)}"))
    return sent


def end_or_give_up(kernel: Kernel, layout: Layout, current: Current, reason: str, lock: WriterLock) -> Result | None:
    """The same; when it cannot be done, the trial ends there: the version stays, and a person decides."""
    try:
        return end_trial(kernel, layout, current, reason, lock)
    except (ReloaderError, OSError) as failure:
        raise give_up(layout, current, reason, failure, lock) from failure


def give_up(layout: Layout, current: Current, reason: str, failure: Exception, lock: WriterLock) -> NoWayBack:
    """The records say that the version stays although it failed; the error to raise."""
    assert lock.fd >= 0
    assert current.trial is not None
    name, number = current.pipeline, current.trial.generation
    told = f"{reason}; taking it back failed: {failure}"
    with suppress(ReloaderError, OSError):
        now = records.read_current(layout, name)
        if now is not None and now.trial == current.trial:  # it may have got as far as its commit
            outcome = TrialOutcome(kind=OutcomeKind.STAYS, words=f"failed, and stays: {told}")
            trial.conclude(layout, replace(now, last_error=told), outcome, lock)
    why = f"{name}: generation {number} failed: {reason}; taking it back failed: {failure}"
    return NoWayBack(why, hint=f"it serves; mend the cause, then `reloader rollback {name}` or apply another version")


def home(before: Current, result: Result | None) -> str:
    """What stands after `end_trial`, in words."""
    assert before.trial is not None
    if result is None:
        return trial.PANICKED.words
    if not before.trial.back_to:
        return "taken off, as nothing served before"
    return (
        f"rolled back, generation {result.generation} serves as {before.trial.back_to} did{left_out(result.left_out)}"
    )


def remove(
    kernel: Kernel, layout: Layout, pipeline: str, lock: WriterLock, *, drop_state: bool, progress: Progress = quiet
) -> Result:
    """Detach and unpin everything; state maps stay parked unless `drop_state`."""
    ready(kernel, layout, pipeline, lock)
    current = records.read_current(layout, pipeline)
    if current is not None and current.trial:
        trial.note_outcome(
            layout, current, trial.REMOVED
        )  # first: should the removal fail, the trial goes on and ends anew
    return _remove(kernel, layout, pipeline, lock, drop_state=drop_state, progress=progress)


def _remove(
    kernel: Kernel,
    layout: Layout,
    pipeline: str,
    lock: WriterLock,
    *,
    drop_state: bool = False,
    failed: str = "",
    progress: Progress = quiet,
) -> Result:
    """`failed`: why it has to go, if nobody asked for it; that is remembered, even where no state is."""
    seen = observe(kernel, layout, None, pipeline)
    if seen.current is None:
        raise NotFoundError(f"no pipeline {pipeline}", hint=known(layout))
    if not seen.current.generation and not drop_state and not seen.rescued:
        kept = "its state is parked" if seen.current.state else "its history is kept"
        raise RefusedChange(f"{pipeline} is removed already; only {kept}", hint="--state drops that too")
    made, after = make_removal(seen, seen.current, layout, drop_state=drop_state, failed=failed)
    wish = seen.generation.wish if seen.generation else None
    bench = Bench(kernel=kernel, layout=layout, pipeline=pipeline, wish=wish)
    run(Trip(plan=made, bench=bench, finish=lambda _: (None, after), progress=progress), kernel, layout, lock)
    return Result(pipeline=pipeline, changed=True, generation=0, plan=made, interrupted=bench.interrupted)


def recover_all(
    kernel: Kernel, layout: Layout, lock: WriterLock, names: Collection[str], *, progress: Progress = quiet
) -> list[str]:
    """Recover the named pipelines (when none is named, all with an open journal or on trial); one bad one does not
    stop the rest."""
    unknown = sorted(n for n in set(names) if not PIPELINE_NAME.match(n) or not layout.record_dir(n).is_dir())
    if unknown:
        raise NotFoundError(f"no pipeline {', '.join(unknown)}", hint=known(layout))
    todo = sorted(set(names) or {p.name for p in listing(layout.pipelines_dir) if _owes(layout, p.name)})
    return each(todo, lambda name: _recovered(kernel, layout, name, lock, progress))


def _owes(layout: Layout, pipeline: str) -> bool:
    """Whether a pipeline has an open journal, a version on trial, or files that cannot be read."""
    try:
        return bool(records.open_journals(layout, pipeline) or records.on_trial(layout, [pipeline]))
    except OSError:
        return True


def _recovered(kernel: Kernel, layout: Layout, pipeline: str, lock: WriterLock, progress: Progress) -> list[str]:
    try:
        return _ready(kernel, layout, pipeline, lock, progress)[0]
    except OSError as error:
        raise stopped(pipeline, error) from error
