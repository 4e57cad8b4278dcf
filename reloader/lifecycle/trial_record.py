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
from reloader.lifecycle import texts
from reloader.paths import Paths
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import Current, OutcomeKind, TrialOutcome
from reloader.store.rollback_targets import known
from reloader.store.trial_terms import born, guarded, left, now, overdue

__all__ = [
    "born", "conclude", "confirm", "guarded", "left", "lock_in_turn", "note_outcome", "now", "overdue", "refuse",
    "rolled_back",
]  # fmt: skip

CONFIRMED = TrialOutcome(kind=OutcomeKind.CONFIRMED, words=texts.CONFIRMED())
PANICKED = TrialOutcome(kind=OutcomeKind.PANICKED, words=texts.PANICKED())
REMOVED = TrialOutcome(kind=OutcomeKind.REMOVED, words=texts.REMOVED())
ROLLED_BACK_BY_HAND = TrialOutcome(kind=OutcomeKind.BACK, words=texts.ROLLED_BACK_BY_HAND())
PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds between two tries for the writer lock


def refuse(current: Current, boot_id: str) -> LockedError:
    """Return the error of a change to a pipeline on trial: a rollback of that change would restore a version that has
    not proved itself."""
    trial = current.trial
    assert trial is not None
    back, seconds = "rollback" if trial.back_to else "remove", left(trial, boot_id)
    return LockedError(
        texts.UNCONFIRMED(pipeline=current.pipeline, generation=trial.generation, seconds=seconds, back=back)
    )


def rolled_back(why: str, left_out: str = "") -> TrialOutcome:
    """Return the outcome of a version that was rolled back because it failed."""
    return TrialOutcome(kind=OutcomeKind.BACK, words=texts.ROLLED_BACK_BECAUSE(why=why, left_out=left_out))


def conclude(writer: Writer, current: Current, outcome: TrialOutcome) -> None:
    """The trial is over and its generation stays. The outcome first: without it the trial is only judged again."""
    note_outcome(writer.paths, current, outcome)
    records.write_current(writer.paths, replace(current, trial=None))


def confirm(writer: Writer, pipeline: str) -> int:
    """End the trial of the running version: it stays. Returns its generation; NotFoundError when it is not on trial."""
    current = records.read_current(writer.paths, pipeline)
    if current is None:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(names=pipeline, hint=known(writer.paths)))
    if current.trial is None:
        text = texts.NOTHING_TO_CONFIRM if current.generation else texts.NOTHING_TO_CONFIRM_REMOVED
        raise NotFoundError(text(pipeline=pipeline, generation=current.generation))
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
