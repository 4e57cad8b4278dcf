"""Several pipelines, one after the other, under one writer lock that is let go while a version is on trial.

A pipeline that needs a human does not block those behind it; any other failure ends the batch, and what was committed
before stays. Called by commands/apply.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reloader.disk.lock import Writer, wait_for_lock
from reloader.engine.apply_request import ApplyRequest
from reloader.errors import NeedsHuman, ReloaderError
from reloader.kernel.host import Host, OnHost
from reloader.lifecycle.apply import apply as apply_version
from reloader.lifecycle.carry_out import Result
from reloader.lifecycle.each import worst
from reloader.trial import texts

if TYPE_CHECKING:
    from reloader.trial.start import PendingTrial

AGAIN = 60.0  # seconds to wait for the lock after a window: our own work is not given up because others write


class Steps(Protocol):
    """Where progress goes."""

    def __call__(self, text: str, /) -> None: ...

    def done(self) -> None:
        """Nothing is under way."""


@dataclass(slots=True, kw_only=True)
class Batch(OnHost):
    """What is to be applied, and how far that came; the lists tell it also after an error."""

    host: Host
    steps: Steps
    say: Callable[[str], None]
    todo: list[ApplyRequest]
    confirm_within: float  # seconds in which a person has to confirm each; 0: none needs to
    results: list[Result]
    not_started: list[str]  # pipelines whose turn has not come
    failed: list[ReloaderError] = field(default_factory=list)


def apply_each(batch: Batch) -> None:
    """Apply all of `todo` in order. The errors of those that need a human are raised at the end, as one."""
    patience = 0.0
    while batch.todo:
        prepared = _prepared(batch)
        watched: PendingTrial | None = None
        try:
            with wait_for_lock(batch.host, patience) as writer:
                while batch.todo and not (watched and watched.guard):
                    request, watched = batch.todo.pop(0), prepared.pop(0)
                    batch.not_started[:] = [later.wish.pipeline for later in batch.todo]
                    try:
                        batch.results.append(_apply_one(batch, request, watched, writer))
                        if batch.results[-1].interrupted and batch.todo:
                            raise KeyboardInterrupt
                    except NeedsHuman as error:
                        batch.failed.append(error)
                        watched = None
            batch.steps.done()
            if watched and watched.guard:
                batch.results.append(_outcome(batch, watched, batch.results.pop()))
        except NeedsHuman as error:  # it failed its trial and could not be taken back
            batch.failed.append(error)
        except KeyboardInterrupt:
            _take_back(watched, batch.results)
            raise
        patience = AGAIN
    if batch.failed:
        raise worst(batch.failed, [])


def _prepared(batch: Batch) -> list[PendingTrial | None]:
    """One for each pipeline; None: it needs no trial. One that needs a human is taken out, and does not block the
    others."""
    prepared: list[PendingTrial | None] = []
    for request in list(batch.todo):
        if not batch.confirm_within and request.wish.health is None:
            prepared.append(None)
            continue
        from reloader.trial import start

        try:
            prepared.append(start.prepare(batch.host, request.wish, batch.confirm_within))
        except NeedsHuman as error:
            batch.failed.append(error)
            batch.todo.remove(request)
    return prepared


def _apply_one(batch: Batch, request: ApplyRequest, watched: PendingTrial | None, writer: Writer) -> Result:
    if watched is None:
        return apply_version(writer, request, progress=batch.steps)
    from reloader.trial import start

    return start.apply(writer, request, watched, progress=batch.steps)


def _take_back(watched: PendingTrial | None, results: list[Result]) -> None:
    """After an interrupt: what is on trial by this command is not left so."""
    if watched is None or watched.guard is None:
        return
    from reloader.trial import start

    if results and results[-1].pipeline == watched.wish.pipeline:
        results.pop()
    start.take_back(watched)


def _outcome(batch: Batch, watched: PendingTrial, result: Result) -> Result:
    """Wait for it, and say what is waited for."""
    from reloader.trial import start

    health = watched.wish.health
    if health is not None:
        number, checks = result.generation, len(health.checks)
        batch.say(texts.ON_TRIAL(pipeline=result.pipeline, generation=number, window=health.window, checks=checks))
    return start.outcome(watched, result, batch.say)
