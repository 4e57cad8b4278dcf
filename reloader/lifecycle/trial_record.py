"""A generation on trial, as recorded: how its trial ends, and what else is refused until then.

The trial is written with the commit that swaps, so that no swapped version is ever without an owner of its
deadline. Used by lifecycle/apply.py, return_to_previous.py, trial/duty.py, trial/start.py and commands.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reloader.disk.lock import Writer
from reloader.errors import LockedError, NotFoundError
from reloader.lifecycle import texts
from reloader.paths import Paths
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import Current, OutcomeKind, TrialOutcome
from reloader.store.rollback_targets import known
from reloader.store.trial_terms import left

CONFIRMED = TrialOutcome(kind=OutcomeKind.CONFIRMED, words=texts.CONFIRMED())
PANICKED = TrialOutcome(kind=OutcomeKind.PANICKED, words=texts.PANICKED())
REMOVED = TrialOutcome(kind=OutcomeKind.REMOVED, words=texts.REMOVED())
ROLLED_BACK_BY_HAND = TrialOutcome(kind=OutcomeKind.BACK, words=texts.ROLLED_BACK_BY_HAND())


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
