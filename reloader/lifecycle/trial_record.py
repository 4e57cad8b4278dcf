"""A generation on trial, written: how it ends, what else is refused meanwhile, and the lock waited for.

The trial is written with the commit that swaps, so that no swapped version is ever without an owner of its
deadline. Used by lifecycle/apply.py, return_to_previous.py, trial/duty.py, trial/start.py and commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from reloader.disk.lock import Writer, writer_of
from reloader.errors import LockedError, NotFoundError
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import Current, OutcomeKind, TrialOutcome
from reloader.store.trial_terms import born, guarded, left, now, overdue

__all__ = [
    "back", "born", "conclude", "confirm", "guarded", "left", "lock_in_turn", "note_outcome", "now", "overdue",
    "refuse",
]  # fmt: skip

CONFIRMED = TrialOutcome(kind=OutcomeKind.CONFIRMED, words="confirmed")
PANICKED = TrialOutcome(kind=OutcomeKind.PANICKED, words="a panic ended its trial")
REMOVED = TrialOutcome(kind=OutcomeKind.REMOVED, words="removed before its trial was over")
PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds between two tries for the writer lock


def refuse(current: Current, boot_id: str) -> LockedError:
    """What a change to a pipeline on trial meets. It must not be built on what has not proved itself: the way back
    would lead to a version that nobody vouches for."""
    trial, name = current.trial, current.pipeline
    assert trial is not None
    why = f"{name}: generation {trial.generation} is unconfirmed for another {left(trial, boot_id):.0f} s"
    back = "rollback" if trial.back_to else "remove"
    keep = f"`reloader confirm {name}` keeps it, `reloader {back} {name}` takes it back at once"
    return LockedError(why, hint=f"wait for the outcome; or {keep}")


def back(how: str) -> TrialOutcome:
    """It was taken back."""
    return TrialOutcome(kind=OutcomeKind.BACK, words=f"rolled back{how}")


def conclude(writer: Writer, current: Current, outcome: TrialOutcome) -> None:
    """The trial is over and its generation stays. The outcome first: without it the trial is only judged again."""
    note_outcome(writer.paths, current, outcome)
    records.write_current(writer.paths, replace(current, trial=None))


def confirm(writer: Writer, pipeline: str) -> int:
    """A person says that what serves may stay: the generation. NotFoundError when nothing waits for that."""
    current = records.read_current(writer.paths, pipeline)
    if current is None:
        known = ", ".join(records.pipelines(writer.paths)) or "none"
        raise NotFoundError(f"no pipeline {pipeline}", hint=f"known pipelines: {known}")
    if current.trial is None:
        where = f"generation {current.generation} serves" if current.generation else "it is removed"
        raise NotFoundError(f"{pipeline} has nothing to confirm: {where}", hint=f"see `reloader history {pipeline}`")
    with Held():  # two records: a signal that comes between them is too late
        conclude(writer, current, CONFIRMED)
    return current.generation


def note_outcome(paths: Paths, current: Current, outcome: TrialOutcome) -> None:
    """Remember with the generation how its trial ended, for history."""
    assert current.trial is not None
    with suppress(NotFoundError):
        generation = records.read_generation(paths, current.pipeline, current.trial.generation)
        if generation.outcome != outcome:
            records.write_generation(paths, replace(generation, outcome=outcome))


@contextmanager
def lock_in_turn(host: Host, patience: float = float("inf")) -> Iterator[Writer]:
    """The writer lock, waited for: a guard's duty does not go away because another writes. LockedError when the
    patience is over."""
    with ExitStack() as held:
        yield _taken(host, held, time.monotonic() + patience)


def _taken(host: Host, held: ExitStack, end: float) -> Writer:
    pause = PAUSE
    while True:
        try:
            return held.enter_context(writer_of(host))
        except LockedError:
            if time.monotonic() >= end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
