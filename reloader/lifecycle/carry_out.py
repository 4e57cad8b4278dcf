"""One transaction for a pipeline that is ready: recovered, and not on trial. Applied or removed.

Called by lifecycle/apply.py, lifecycle/rollback.py, lifecycle/remove.py and return_to_previous.py.
"""

from __future__ import annotations

import time
from dataclasses import field, replace
from typing import TYPE_CHECKING, Protocol

from reloader.break_glass.script import write_script
from reloader.config_maps.entry_changes import EntryDiff
from reloader.disk.lock import Writer
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.commit import records_of
from reloader.engine.transaction import Progress, Transaction, run
from reloader.engine.workspace import Workspace, silent
from reloader.errors import NotFoundError, RefusedChange
from reloader.frozen import frozen
from reloader.kernel.host import Host
from reloader.lifecycle import texts
from reloader.lifecycle.attempt_record import note_attempt
from reloader.lifecycle.planning import plan_of
from reloader.lifecycle.privilege import privileged
from reloader.observe.in_force import in_force
from reloader.observe.pipeline import Observed, observe
from reloader.paths import Paths
from reloader.pipeline.wish import Wish
from reloader.plan.model import Plan
from reloader.plan.planner import PlanInputs
from reloader.plan.removal import make_removal
from reloader.store import blobs as storage
from reloader.store import records
from reloader.store.records import Current, Generation, Trial, TrialOutcome
from reloader.store.rollback_targets import known

if TYPE_CHECKING:
    from reloader.packet_tests.run import Result as Proof

quiet: Progress = silent


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
    outcome: TrialOutcome | None = None  # of the trial; None: it had none, or goes on
    bridge: dict[str, int] = field(default_factory=dict)  # what it did while state moved, where not zero
    left_out: dict[str, int] = field(default_factory=dict)  # state map -> entries given up, having no place in it
    interrupted: bool = False  # a signal came when it was too late to go back: nothing more is to be done


class TrialStarter(Protocol):
    """Who watches over what is about to be swapped; trial/start.py has one."""

    def stand(self, made: Plan, seen: Observed) -> None:
        """Before anything is done. An error here leaves everything as it was."""

    def trial(self) -> Trial | None:
        """Asked for the commit record; None: this change needs no trial."""


def is_unchanged(host: Host, pipeline: str, wish_digest: str) -> bool:
    """The fast check: records, links and config contents say that this very wish is in force. Reads only."""
    return in_force(host, pipeline, wish_digest) > 0


def apply_when_ready(
    writer: Writer,
    intake: ApplyRequest,
    *,
    progress: Progress = quiet,
    post: TrialStarter | None = None,
    recovered: tuple[str, ...] = (),
) -> Result:
    started = time.monotonic()
    name = intake.wish.pipeline
    if not intake.reset and not intake.take_over and is_unchanged(writer.host, name, intake.wish.digest()):
        found = unchanged(writer.paths, name, None, recovered)
        if intake.blobs:
            stored = records.read_generation(writer.paths, name, found.generation)
            storage.store_again(writer.paths, stored, intake.blobs, write_script)
        return found
    made, seen, request = plan_of(writer.host, intake)
    if seen.generation is not None:
        storage.store_again(writer.paths, seen.generation, intake.blobs, write_script)
    if not made.changes:
        note_attempt(writer, name, intake.source, intake.wish.digest(), "")
        return unchanged(writer.paths, name, made, recovered)
    blobs, diffs = {**intake.blobs, **made.blobs}, _planned(intake.wish, request)
    bench = Workspace(host=writer.host, pipeline=name, wish=intake.wish, blobs=blobs, diffs=diffs, seen=seen)
    bench.left_out |= made.left_out
    if post is not None:
        post.stand(made, seen)

    def finish(done: Workspace) -> tuple[Generation, Current]:
        generation, current = records_of(done, made, seen, intake)
        return generation, replace(current, trial=post.trial() if post is not None else None)

    trip = Transaction(plan=made, bench=bench, finish=finish, progress=progress)
    with privileged(writer.kernel, made):
        run(trip, writer)
    seconds = {**trip.seconds, "total": time.monotonic() - started}
    return Result(
        pipeline=name, changed=True, generation=made.generation, plan=made, seconds=seconds, recovered=recovered,
        proof=bench.proof, bridge=bench.bridged, left_out=bench.left_out, interrupted=bench.interrupted,
    )  # fmt: skip


def _planned(wish: Wish, request: PlanInputs) -> dict[tuple[str, str], EntryDiff]:
    """The differences by map and wanted entries, so that carrying them out need not work them out again."""
    return {
        (m.name, m.entries.digest): request.diffs[m.name] for m in wish.maps if m.entries and m.name in request.diffs
    }


def unchanged(paths: Paths, name: str, made: Plan | None = None, recovered: tuple[str, ...] = ()) -> Result:
    """The result of finding nothing to do."""
    current = records.read_current(paths, name)
    generation = current.generation if current else 0
    return Result(pipeline=name, changed=False, generation=generation, plan=made, recovered=recovered)


def remove_when_ready(
    writer: Writer,
    pipeline: str,
    *,
    drop_state: bool = False,
    failed: str = "",
    progress: Progress = quiet,
) -> Result:
    """`failed`: why it has to go, if nobody asked for it; that is remembered, even where no state is."""
    seen = observe(writer.host, None, pipeline)
    if seen.current is None:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(names=pipeline, hint=known(writer.paths)))
    if not seen.current.generation and not drop_state and not seen.rescued:
        kept = texts.STATE_KEPT() if seen.current.state else texts.HISTORY_KEPT()
        raise RefusedChange(texts.REMOVED_ALREADY(pipeline=pipeline, kept=kept))
    made, after = make_removal(seen, seen.current, writer.paths, drop_state=drop_state, failed=failed)
    wish = seen.generation.wish if seen.generation else None
    bench = Workspace(host=writer.host, pipeline=pipeline, wish=wish)
    run(Transaction(plan=made, bench=bench, finish=lambda _: (None, after), progress=progress), writer)
    return Result(pipeline=pipeline, changed=True, generation=0, plan=made, interrupted=bench.interrupted)
