"""A change whose new version has to prove itself: a guard is posted before the swap, the trial is written with the
commit, and the command may wait for the outcome.

The command's side; duty.py is the guard's. Called by commands/ and daemon/.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from reloader.disk.lock import Writer, wait_for_lock
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.transaction import Progress
from reloader.errors import NeedsHuman, NoWayBack, RefusedChange, RolledBack
from reloader.kernel.host import Host, OnHost
from reloader.lifecycle import trial_record
from reloader.lifecycle.apply import apply as apply_version
from reloader.lifecycle.carry_out import Result
from reloader.lifecycle.recover import recover
from reloader.lifecycle.return_to_previous import describe_return, end_or_give_up
from reloader.observe.in_force import in_force
from reloader.observe.pipeline import Observed
from reloader.pipeline.checks import Health
from reloader.pipeline.wish import Wish
from reloader.plan.model import Plan
from reloader.process.interrupts import HungUp, once_more
from reloader.store import records, trial_terms
from reloader.store.records import OutcomeKind, Trial, TrialOutcome
from reloader.trial import duty, guard, texts
from reloader.trial.guard import Channel, Guard, Message
from reloader.trial.judge import Figures, compared
from reloader.trial.look import Subject, counting, longest_look, look_before, require_counters, require_statistics

GRACE = 30.0  # seconds that a guard may need to take a version back
LONGEST_BEFORE = 2.0  # seconds in which the version before is measured, at most
PATIENCE = 60.0  # seconds to wait for the writer lock once our guard is gone


@dataclass(slots=True)
class PendingTrial(OnHost):
    """One change, and the guard of it. See carry_out.Post."""

    host: Host
    wish: Wish
    confirm: float = 0.0  # seconds in which a person has to say so; 0: none needs to
    before: Sequence[Figures] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    guard: Guard | None = None  # None: no trial was needed, so far
    generation: int = 0  # of the version on trial
    _back_to: int = 0

    def stand(self, made: Plan, seen: Observed) -> None:
        serving = seen.generation
        if serving is not None and serving.wish.digest() == self.wish.digest():
            return  # a repair: what it brings back has proved itself, or never had to
        if serving is not None and serving.rebuilt:
            raise RefusedChange(texts.REBUILT_BEFORE(pipeline=self.wish.pipeline, generation=serving.number))
        self._require_own_hooks(made)
        self._back_to, self.generation = serving.number if serving else 0, made.generation
        task = duty.GuardTask(
            host=self.host, pipeline=self.wish.pipeline, health=self.wish.health,
            before=self.before, commands=self.commands,
        )  # fmt: skip
        self.guard = guard.post(partial(duty.serve, task))

    def _require_own_hooks(self, made: Plan) -> None:
        """What is taken over is kept until the commit only: a trial that fails could not give it back."""
        taken = [attachment for op in made.ops if (attachment := op.displaces())]
        if taken:
            raise RefusedChange(texts.TAKE_OVER_ON_TRIAL(pipeline=self.wish.pipeline, attachments=taken))

    def trial(self) -> Trial | None:
        if self.guard is None:
            return None
        began, window = trial_terms.now(), self.wish.health.window if self.wish.health else 0.0
        return Trial(
            generation=self.generation, back_to=self._back_to, boot_id=self.kernel.boot_id(),
            healthy_at=began + window, until=began + max(window, self.confirm), confirm=self.confirm > 0,
            grace=GRACE + longest_look(self.wish.health),
            guard=self.guard.pid, guard_born=self.guard.born,
        )  # fmt: skip

    def committed(self) -> bool:
        """Whether our generation is on trial, as the records have it."""
        current = records.read_current(self.paths, self.wish.pipeline)
        ours = self.guard.pid if self.guard else 0
        return bool(current and current.trial and current.trial.guard == ours)


def prepare(host: Host, wish: Wish, confirm: float = 0.0) -> PendingTrial | None:
    """What has to be known before the swap, found out without the writer lock: the host's commands, the counters,
    and what the version that serves does, where a check compares. None: this wish needs no trial."""
    health, current = wish.health, records.read_current(host.paths, wish.pipeline)
    if current is not None and current.trial and not trial_terms.overdue(current.trial, host.kernel.boot_id()):
        raise trial_record.refuse(current, host.kernel.boot_id())
    if health is None:
        return PendingTrial(host, wish, confirm) if confirm else None
    commands = checkable(host, wish)
    before = _before(host, wish, health) if health.compares else ()
    return PendingTrial(host, wish, confirm, before, commands)


def checkable(host: Host, wish: Wish) -> Mapping[str, tuple[str, ...]]:
    """The host's commands that the checks name. An error says what of the checks this host cannot do: a command it
    does not declare, a counter its interface has not."""
    if wish.health is None:
        return {}
    require_counters(host.kernel, wish.health)
    require_statistics(host.kernel, wish.health)
    if not wish.health.commands:
        return {}
    from reloader.pipeline.host_file import commands

    return commands(host.paths.host_file, wish.health.commands)


def _before(host: Host, wish: Wish, health: Health) -> Sequence[Figures]:
    """Two looks at the version that serves, about an interval apart; nothing where there is none, or it is this one."""
    current = records.read_current(host.paths, wish.pipeline)
    if current is None or not current.generation or in_force(host, wish.pipeline, wish.digest()):
        return ()
    subject = Subject(
        kernel=host.kernel,
        generation=records.read_generation(host.paths, wish.pipeline, current.generation),
        commands={},
    )
    with counting(host.kernel, health):
        first = look_before(subject, health)
        time.sleep(min(health.interval, LONGEST_BEFORE))
        return compared([first, look_before(subject, health)])


def apply(writer: Writer, intake: ApplyRequest, watched: PendingTrial | None, *, progress: Progress) -> Result:
    """lifecycle_apply.apply, under guard. A guard is left behind exactly when a generation is on trial."""
    if watched is None:
        return apply_version(writer, intake, progress=progress)
    try:
        result = apply_version(writer, intake, progress=progress, post=watched)
    except NeedsHuman:
        leave(watched)  # what is committed stands: the guard looks into the records and ends what we could not
        raise
    except KeyboardInterrupt:
        if watched.guard is None or not watched.committed():
            _dismiss(watched)
        raise  # too late for the transaction, but not for the trial: `take_back`, once the lock is let go
    except BaseException:
        _dismiss(watched)
        raise
    if watched.guard is None:
        return result
    if result.interrupted:
        raise KeyboardInterrupt  # as above
    watched.guard.channel.say(go=True)
    now = watched.trial()
    return replace(result, unconfirmed=now.until - trial_terms.now() if now else 0.0)


def take_back(watched: PendingTrial | None) -> None:
    """After an interrupt, wherever it struck, and without the writer lock: RolledBack once our guard has taken the
    version back, if it is on trial."""
    if watched is None or watched.guard is None or not watched.committed():
        return
    channel = watched.guard.channel
    channel.say(go=True)
    channel.say(back=True)
    once_more()
    made = Result(pipeline=watched.wish.pipeline, changed=True, generation=watched.generation, plan=None)
    try:
        _heard(watched, made, channel, lambda _: None)
    finally:
        leave(watched)


def leave(watched: PendingTrial) -> None:
    """Its guard does the rest; the records tell the outcome."""
    if watched.guard:
        watched.guard.channel.close()
    watched.guard = None


def _dismiss(watched: PendingTrial) -> None:
    if watched.guard:
        watched.guard.channel.say(go=False)
        watched.guard.channel.close()
    watched.guard = None


def outcome(watched: PendingTrial, result: Result, say: Callable[[str], None]) -> Result:
    """Wait for the health window to end, without the lock: others write meanwhile. RolledBack when the version was
    taken back, NeedsHuman when that failed. An interrupt asks the guard to take it back at once; a second one leaves
    it to the guard."""
    if watched.guard is None or watched.wish.health is None:
        leave(watched)
        return result
    channel = watched.guard.channel
    try:
        return _heard(watched, result, channel, say)
    except HungUp:
        raise
    except KeyboardInterrupt:
        once_more()
        say(texts.ROLLING_BACK(pipeline=result.pipeline, generation=result.generation))
        channel.say(back=True)
        return _heard(watched, result, channel, say)
    finally:
        leave(watched)


def _heard(watched: PendingTrial, result: Result, channel: Channel, say: Callable[[str], None]) -> Result:
    while True:
        word = channel.hear()
        if word is None:
            return _take_over(watched, result)
        if "say" in word:
            say(f"{result.pipeline}: {word['say']}")
        if "end" in word:
            return _ended(watched, result, word)


def _ended(watched: PendingTrial, result: Result, word: Message) -> Result:
    name, generation = result.pipeline, result.generation
    match word["end"]:
        case "confirmed":
            return replace(result, outcome=_outcome_of(word), unconfirmed=0.0)
        case "healthy":  # but still to be confirmed
            return replace(result, outcome=_outcome_of(word), unconfirmed=_left(watched))
        case "home":
            why, told = word["reason"], word["told"]
            raise RolledBack(texts.TRIAL_FAILED(pipeline=name, generation=generation, why=why, result=told))
        case "stuck":
            raise NoWayBack(word["why"], hint=word["hint"])
    return _decided(watched, result)


def _outcome_of(word: Message) -> TrialOutcome:
    return TrialOutcome(kind=OutcomeKind(word["kind"]), words=word["outcome"])


def _left(watched: PendingTrial) -> float:
    current = records.read_current(watched.paths, watched.wish.pipeline)
    return trial_terms.left(current.trial, watched.kernel.boot_id()) if current and current.trial else 0.0


def _decided(watched: PendingTrial, result: Result) -> Result:
    """Somebody else has ended the trial meanwhile."""
    current = records.read_current(watched.paths, watched.wish.pipeline)
    if current is not None and current.generation == result.generation:
        ended = records.read_generation(watched.paths, current.pipeline, current.generation).outcome
        return replace(result, outcome=ended or trial_record.CONFIRMED, unconfirmed=0.0)
    raise RolledBack(texts.ANOTHER_DECIDED(pipeline=result.pipeline, generation=result.generation))


def _take_over(watched: PendingTrial, result: Result) -> Result:
    """The guard is dead and nobody judges any more: back, while we can."""
    with wait_for_lock(watched.host, PATIENCE) as writer:
        recover(writer, watched.wish.pipeline)
        current = records.read_current(watched.paths, watched.wish.pipeline)
        if current is None or not current.trial or current.trial.generation != result.generation:
            return _decided(watched, result)
        sent = end_or_give_up(writer, current, texts.GUARD_KILLED())
    if sent is None:
        return replace(result, outcome=trial_record.PANICKED, unconfirmed=0.0)
    told, why = describe_return(current, sent), texts.GUARD_KILLED()
    raise RolledBack(texts.TRIAL_FAILED(pipeline=result.pipeline, generation=result.generation, why=why, result=told))
