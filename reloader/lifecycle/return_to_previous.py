"""The end of a trial that failed: the version before serves again, or a person has to decide.

Called by ready.py, and by trial/duty.py and trial/start.py.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reloader.break_glass.panic import panicking
from reloader.disk.lock import Writer
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.transaction import left_out
from reloader.errors import NoWayBack, ReloaderError
from reloader.lifecycle import texts, trial_record
from reloader.lifecycle.carry_out import Result, apply_when_ready, remove_when_ready
from reloader.store import records
from reloader.store.records import Cause, Current, Generation, OutcomeKind, TrialOutcome
from reloader.wording.message import Message


def again(target: Generation, reason: str, cause: Cause) -> ApplyRequest:
    """A stored generation's wish, to be applied once more."""
    origin = target.origin or target.number
    return ApplyRequest(wish=target.wish, reason=reason, cause=cause, origin=origin, lossy_rollback=True)


def end_trial(writer: Writer, current: Current, reason: str) -> Result | None:
    """Nobody vouches for the generation on trial: it goes. None: a panic serves, which only a person ends; the trial
    is over then, and the version stays below it."""
    if panicking(writer.host, current.pipeline):
        because = texts.PANICKED_BECAUSE(why=reason)
        trial_record.conclude(writer, current, replace(trial_record.PANICKED, words=because))
        return None
    return _send_home(writer, current, reason)


def _send_home(writer: Writer, current: Current, reason: str) -> Result:
    """What served before serves again, with the state as it is now; where nothing did, the version is taken off and
    its state parked."""
    on_trial = current.trial
    assert on_trial is not None
    trial_record.note_outcome(writer.paths, current, trial_record.rolled_back(reason))
    failed = texts.GENERATION_FAILED(generation=on_trial.generation, why=reason)
    if not on_trial.back_to:
        return remove_when_ready(writer, current.pipeline, failed=failed)
    target = records.read_generation(writer.paths, current.pipeline, on_trial.back_to)
    # it served; what it is measured against is what failed
    once_more = again(target, texts.ROLLBACK_TO_BECAUSE(generation=target.number, why=failed), Cause.TRIAL)
    intake = replace(once_more, tests=False, leave_out=True)
    sent = apply_when_ready(writer, intake)
    trial_record.note_outcome(writer.paths, current, trial_record.rolled_back(reason, left_out(sent.left_out)))
    return sent


def end_or_give_up(writer: Writer, current: Current, reason: str) -> Result | None:
    """The same; when it cannot be done, the trial ends there: the version stays, and a person decides."""
    try:
        return end_trial(writer, current, reason)
    except (ReloaderError, OSError) as failure:
        raise give_up(writer, current, reason, failure) from failure


def give_up(writer: Writer, current: Current, reason: str, failure: Exception) -> NoWayBack:
    """The records say that the version stays although it failed; the error to raise."""
    assert current.trial is not None
    name, number = current.pipeline, current.trial.generation
    failed = texts.ROLLBACK_FAILED(why=reason, failure=failure)
    with suppress(ReloaderError, OSError):
        now = records.read_current(writer.paths, name)
        if now is not None and now.trial == current.trial:  # it may have got as far as its commit
            outcome = TrialOutcome(kind=OutcomeKind.STAYS, words=texts.STAYS(why=failed))
            trial_record.conclude(writer, replace(now, last_error=failed), outcome)
    return NoWayBack(texts.NO_WAY_BACK(pipeline=name, generation=number, why=reason, failure=failure))


def describe_return(before: Current, result: Result | None) -> Message:
    """Say what is live after `end_trial`."""
    assert before.trial is not None
    if result is None:
        return texts.PANICKED()
    if not before.trial.back_to:
        return texts.DETACHED()
    dropped = left_out(result.left_out)
    return texts.RESTORED(generation=result.generation, source=before.trial.back_to, left_out=dropped)
