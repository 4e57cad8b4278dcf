"""What a guard does: look at the new version until its window is over, wait for a person's word if one is wanted,
and take the version back when it fails, or nobody speaks in time.

Runs in the process that guard.py starts. The records, read under the writer lock, decide whether it still has a
duty; whoever confirmed, rolled back or removed meanwhile has ended it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from reloader.break_glass.panic import panicking
from reloader.disk.lock import wait_for_lock
from reloader.errors import NeedsHuman, ReloaderError
from reloader.frozen import frozen
from reloader.kernel.host import Host, OnHost
from reloader.lifecycle import trial_record
from reloader.lifecycle.ready import ready
from reloader.lifecycle.recover import recover
from reloader.lifecycle.return_to_previous import describe_return, end_trial, give_up
from reloader.pipeline.checks import Health
from reloader.store import records, trial_terms
from reloader.store.records import Current, OutcomeKind, Trial, TrialOutcome
from reloader.trial import texts
from reloader.trial.guard import Channel
from reloader.trial.judge import Figures, HealthProgress, judge
from reloader.trial.look import Commands, Subject, counting, detached_reason, look

POLL = 0.2  # seconds between two looks at the records
TRIES = 4  # of taking a version back, before it is left to the next command
TOLD = 10.0  # seconds between two words that all is well


class TrialEnded(Exception):
    """The trial was ended by somebody else."""


@frozen
class GuardTask(OnHost):
    host: Host
    pipeline: str
    health: Health | None
    before: Sequence[Figures]  # what the version before did; empty: nothing is known of it
    commands: Commands


def serve(duty: GuardTask, channel: Channel) -> None:
    """From the command's first word to the end of the trial."""
    word = channel.hear()
    if word is not None and not word.get("go"):
        return  # nothing was swapped
    if word is None:  # the command was killed: what it left is ended first, one way or the other
        with wait_for_lock(duty.host) as writer, contextlib.suppress(ReloaderError, OSError):
            ready(writer, duty.pipeline)
    try:
        reason = _watch(duty, channel)
    except TrialEnded:
        channel.say(end="over")
        return
    except BaseException as error:  # a mistake of ours must not leave an unproven version without a guard
        _send_home(duty, channel, texts.GUARD_FAILED(error=repr(error)))
        raise
    if reason:
        _send_home(duty, channel, reason)


def _mine(duty: GuardTask) -> tuple[Current, Trial]:
    """The records, while they name this process as the guard; else Over."""
    current = records.read_current(duty.paths, duty.pipeline)
    if current is None or current.trial is None or current.trial.guard != os.getpid():
        raise TrialEnded
    return current, current.trial


def _watch(duty: GuardTask, channel: Channel) -> str:
    """Why the version has to go; empty when it may stay."""
    _, terms = _mine(duty)
    if duty.health is not None:
        with counting(duty.kernel, duty.health):
            failed = _look_on(duty, channel, duty.health)
        if failed:
            return failed
        told = texts.HEALTHY(window=duty.health.window)
        if not terms.confirm:
            return _conclude(duty, channel, TrialOutcome(kind=OutcomeKind.HEALTHY, words=told))
        _say_end(channel, "healthy", TrialOutcome(kind=OutcomeKind.HEALTHY, words=told))
    while (left := terms.until - trial_terms.now()) > 0:
        if _rest(duty, channel, left):
            return texts.INTERRUPTED()
    return texts.NOT_CONFIRMED()


def _look_on(duty: GuardTask, channel: Channel, health: Health) -> str:
    """Look at every interval until the window is over; why it failed, if it did."""
    current, terms = _mine(duty)
    generation = records.read_generation(duty.paths, duty.pipeline, terms.generation)
    subject = Subject(kernel=duty.kernel, generation=generation, commands=duty.commands)
    standing, due, told = HealthProgress(), trial_terms.now(), trial_terms.now()
    while True:
        began = trial_terms.now()  # a suspension between a look and the end of the window must not pass for health
        standing = judge(health, duty.before, standing, look(subject, health.checks))
        if standing.failed:
            channel.say(say=standing.failed, failed_at=standing.at)
            return standing.failed
        if wrong := _detached(duty, current):
            return wrong
        told = _say_how(channel, standing, health, terms, told)
        if began >= terms.healthy_at:
            return ""
        due = min(max(due + health.interval, trial_terms.now()), terms.healthy_at)
        if _rest(duty, channel, due - trial_terms.now()):
            return texts.INTERRUPTED()


def _detached(duty: GuardTask, current: Current) -> str:
    """Why the version is not healthy whatever its counters say; a panic in its place is no failure of it."""
    wrong = detached_reason(duty.kernel, current.links)
    if wrong and panicking(duty.host, duty.pipeline):
        return ""
    return wrong


def _say_how(channel: Channel, standing: HealthProgress, health: Health, terms: Trial, told: float) -> float:
    """Progress for whoever listens: failures that do not count yet, and now and then that there are none."""
    failing = [
        texts.CHECK_FAILS(check=check.what.text(), streak=streak, failures=check.failures)
        for check, streak in zip(health.checks, standing.streaks, strict=True)
        if streak
    ]
    for text in failing:
        channel.say(say=text)
    if not failing and trial_terms.now() - told >= TOLD:
        channel.say(say=texts.HEALTHY_SO_FAR(seconds=max(0.0, terms.healthy_at - trial_terms.now())))
        return trial_terms.now()
    return told


def _rest(duty: GuardTask, channel: Channel, seconds: float) -> bool:
    """Wait; True when the command asks to go back at once. Over when the records say that it is over."""
    end, listening = trial_terms.now() + seconds, True  # a suspended machine has lost that time
    while (left := end - trial_terms.now()) > 0:
        pause = min(left, POLL)
        word = channel.hear(pause) if listening else None
        if word and word.get("back"):
            return True
        if word is None:
            if listening:
                channel.close()
            listening = False
            time.sleep(pause)
        _mine(duty)
    return False


def _conclude(duty: GuardTask, channel: Channel, outcome: TrialOutcome) -> str:
    with wait_for_lock(duty.host) as writer:
        current, _ = _mine(duty)
        if panicking(duty.host, duty.pipeline):
            outcome = trial_record.PANICKED
        trial_record.conclude(writer, current, outcome)
    _say_end(channel, "confirmed", outcome)
    return ""


def _say_end(channel: Channel, end: str, outcome: TrialOutcome) -> None:
    channel.say(end=end, outcome=outcome.words, kind=outcome.kind)


def _send_home(duty: GuardTask, channel: Channel, reason: str) -> None:
    """Take the version back, more than once if need be: what stands in the way may be passing."""
    failure: ReloaderError | OSError = NeedsHuman(texts.NOT_TRIED())
    for attempt in range(TRIES):
        time.sleep(0.25 * (2**attempt - 1))
        try:
            _take_back(duty, channel, reason)
        except (ReloaderError, OSError) as error:
            failure = error
        except TrialEnded:
            channel.say(end="over")
            return
        else:
            return
    with wait_for_lock(duty.host) as writer, contextlib.suppress(ReloaderError, OSError, TrialEnded):
        current, _ = _mine(duty)
        stuck = give_up(writer, current, reason, failure)
        channel.say(end="stuck", why=stuck.message, hint=stuck.hint)


def _take_back(duty: GuardTask, channel: Channel, reason: str) -> None:
    with wait_for_lock(duty.host) as writer:
        recover(writer, duty.pipeline)  # of a try that failed in the middle
        current, _ = _mine(duty)
        sent = end_trial(writer, current, reason)
        told = describe_return(current, sent)
    if sent is None:
        _say_end(channel, "confirmed", TrialOutcome(kind=OutcomeKind.PANICKED, words=told))
        return
    channel.say(end="home", reason=reason, told=told, at=trial_terms.now())
