"""The end of a trial that failed: the version before serves again, or a person has to decide.

Called by ready.py, and by trial/duty.py and trial/start.py.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reloader.break_glass.panic import panicking
from reloader.disk.lock import Writer
from reloader.engine.apply_request import Intake
from reloader.engine.transaction import left_out
from reloader.errors import NoWayBack, ReloaderError
from reloader.lifecycle import trial_record
from reloader.lifecycle.carry_out import Result, apply_when_ready, remove_when_ready
from reloader.store import records
from reloader.store.records import Cause, Current, Generation, OutcomeKind, TrialOutcome

FORGOTTEN = "nobody confirmed it in time, and its guard is gone"


def again(target: Generation, reason: str, cause: Cause) -> Intake:
    """A stored generation's wish, to be applied once more."""
    origin = target.origin or target.number
    return Intake(wish=target.wish, reason=reason, cause=cause, origin=origin, lossy_rollback=True)


def end_trial(writer: Writer, current: Current, reason: str) -> Result | None:
    """Nobody vouches for the generation on trial: it goes. None: a panic serves, which only a person ends; the trial
    is over then, and the version stays below it."""
    if panicking(writer.host, current.pipeline):
        words = f"{trial_record.PANICKED.words} ({reason})"
        trial_record.conclude(writer, current, replace(trial_record.PANICKED, words=words))
        return None
    return _send_home(writer, current, reason)


def _send_home(writer: Writer, current: Current, reason: str) -> Result:
    """What served before serves again, with the state as it is now; where nothing did, the version is taken off and
    its state parked."""
    on_trial = current.trial
    assert on_trial is not None
    trial_record.note_outcome(writer.paths, current, trial_record.back(f": {reason}"))
    failed = f"generation {on_trial.generation} failed: {reason}"
    if not on_trial.back_to:
        return remove_when_ready(writer, current.pipeline, failed=failed)
    target = records.read_generation(writer.paths, current.pipeline, on_trial.back_to)
    # it served; what it is measured against is what failed
    once_more = again(target, f"rollback to {target.number}: {failed}", Cause.TRIAL)
    intake = replace(once_more, tests=False, leave_out=True)
    sent = apply_when_ready(writer, intake)
    trial_record.note_outcome(writer.paths, current, trial_record.back(f": {reason}{left_out(sent.left_out)}"))
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
    told = f"{reason}; taking it back failed: {failure}"
    with suppress(ReloaderError, OSError):
        now = records.read_current(writer.paths, name)
        if now is not None and now.trial == current.trial:  # it may have got as far as its commit
            outcome = TrialOutcome(kind=OutcomeKind.STAYS, words=f"failed, and stays: {told}")
            trial_record.conclude(writer, replace(now, last_error=told), outcome)
    why = f"{name}: generation {number} failed: {reason}; taking it back failed: {failure}"
    return NoWayBack(why, hint=f"it serves; mend the cause, then `reloader rollback {name}` or apply another version")


def home(before: Current, result: Result | None) -> str:
    """What stands after `end_trial`, in words."""
    assert before.trial is not None
    if result is None:
        return trial_record.PANICKED.words
    if not before.trial.back_to:
        return "taken off, as nothing served before"
    return (
        f"rolled back, generation {result.generation} serves as {before.trial.back_to} did{left_out(result.left_out)}"
    )
