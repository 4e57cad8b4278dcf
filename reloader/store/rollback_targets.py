"""Which stored generation may run again without a trial: for `rollback`, and after a restart of the kernel.

One that failed its trial may not; a person can still choose it by its number. Called by lifecycle/rollback.py and
lifecycle/boot.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from reloader.errors import NeedsHuman, NotFoundError
from reloader.paths import Paths
from reloader.store import records, texts
from reloader.store.records import Current, Generation
from reloader.store.trial_terms import failed
from reloader.wording.message import Message


def ways_back(
    paths: Paths, pipeline: str, newest: int, *, without: Collection[str] = (), pass_damaged: bool = False
) -> Iterator[Generation]:
    """Generations up to `newest`, the newest first, each wish once; of several trials of a wish the last one counts."""
    judged: dict[str, bool] = {}
    told = set(without)
    for number in reversed(records.generation_numbers(paths, pipeline)):
        try:
            generation = records.read_generation(paths, pipeline, number)
        except NeedsHuman:
            if number > newest or pass_damaged:
                continue
            raise
        digest = generation.wish.digest()
        bad = judged.setdefault(digest, failed(generation.outcome))
        if number <= newest and not bad and not generation.rebuilt and digest not in told:
            yield generation
            told.add(digest)


def rollback_target(paths: Paths, pipeline: str, to: int | None) -> Generation:
    """The generation a rollback goes to; NotFoundError when there is none."""
    current = records.read_current(paths, pipeline)
    if current is None:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(pipeline=pipeline, hint=known(paths)))
    if to is not None:
        return _loadable(records.read_generation(paths, pipeline, to))
    if not current.generation:
        return _last(paths, current)
    serving = records.read_generation(paths, pipeline, current.generation)
    since, digest = serving.origin or serving.number, serving.wish.digest()
    for target in ways_back(paths, pipeline, since - 1, without=[digest]):
        return target
    raise NotFoundError(texts.NOTHING_TO_ROLL_BACK_TO(pipeline=pipeline, generation=since))


def _last(paths: Paths, current: Current) -> Generation:
    """Of a pipeline that is removed."""
    name, newest = current.pipeline, current.last_generation
    for target in ways_back(paths, name, newest):
        return target
    _loadable(records.read_generation(paths, name, newest))
    raise NotFoundError(texts.ONLY_FAILED_GENERATIONS(pipeline=name, generation=newest))


def _loadable(target: Generation) -> Generation:
    if target.rebuilt:
        raise NotFoundError(texts.GENERATION_REBUILT(pipeline=target.wish.pipeline, generation=target.number))
    return target


def known(paths: Paths) -> Message:
    return texts.KNOWN_PIPELINES(names=records.pipelines(paths) or "none")
