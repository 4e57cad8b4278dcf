"""After a restart of the kernel: what served is loaded again, from stored objects and entries alone.

`recover --boot`, which an init system calls before the network comes up: no YAML, no object file, no compiler.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from reloader.disk.lock import Writer
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.transaction import Progress
from reloader.errors import NotFoundError, NothingSwapped, NoWayBack, ReloaderError, TestsFailed, VerifierRejected
from reloader.kernel.host import Host
from reloader.lifecycle import texts
from reloader.lifecycle.apply import apply as apply_version
from reloader.lifecycle.carry_out import Result, quiet
from reloader.lifecycle.each import each
from reloader.lifecycle.ready import ready
from reloader.paths import Paths
from reloader.store import records
from reloader.store.records import Cause, Current, Generation
from reloader.store.rollback_targets import ways_back
from reloader.store.trial_terms import failed
from reloader.wording.message import Message

REASON = "boot"


def boot(writer: Writer, names: Collection[str], *, progress: Progress = quiet) -> list[Message]:
    """Load the current generation of every pipeline that is not in force; a line for each. One that fails does not
    stop the others."""
    known = records.pipelines(writer.paths)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(names=unknown, hint=texts.KNOWN_PIPELINES(names=known or "none")))
    todo = sorted(names) or known
    return each(todo, lambda name: _boot_one(writer, name, progress))


def _boot_one(writer: Writer, name: str, progress: Progress) -> list[Message]:
    done = _ready(writer, name)
    current = records.read_current(writer.paths, name)
    if current is None or not current.generation:
        return done
    refused: VerifierRejected | TestsFailed | None = None
    for generation in _candidates(writer.host, current):
        try:
            result = apply_version(writer, _intake(generation), progress=progress)
        except (VerifierRejected, TestsFailed) as error:  # this kernel will not have what the last one ran
            refused = refused or error
            continue
        return [*done, _describe(writer.paths, current, generation, result, refused)]
    raise refused or NothingSwapped(texts.OBJECTS_MISSING(pipeline=name, generation=current.generation))


def _ready(writer: Writer, name: str) -> list[Message]:
    """What was unconfirmed goes back first; where this kernel refuses that, any version is better than none."""
    try:
        return ready(writer, name)
    except NoWayBack as error:
        return [texts.NOT_ROLLED_BACK(why=error.message)]


def _candidates(host: Host, current: Current) -> Iterator[Generation]:
    """What served last, then what served before it, each wish once. What failed its trial and could not be taken back
    is left in place while it serves; after a restart it is better than nothing, no more."""
    disproved = list[Generation]()
    with suppress(NotFoundError):
        serving = records.read_generation(host.paths, current.pipeline, current.generation)
        disproved += [serving] if failed(serving.outcome) and not serving.rebuilt else []
    yield from (one for one in disproved if one.boot_id == host.kernel.boot_id())
    yield from ways_back(host.paths, current.pipeline, current.generation, pass_damaged=True)
    yield from disproved


def _intake(generation: Generation) -> ApplyRequest:
    origin = generation.origin or generation.number
    return ApplyRequest(wish=generation.wish, reason=REASON, cause=Cause.BOOT, origin=origin, lossy_rollback=True)


def _describe(
    paths: Paths, before: Current, generation: Generation, result: Result, refused: ReloaderError | None
) -> Message:
    """The line for one pipeline: which generation is live, loaded from which, and why not from the newest."""
    if not result.changed:
        return texts.IN_FORCE(pipeline=before.pipeline, generation=result.generation)
    earlier = generation.number < before.generation or refused is not None
    more: str
    if refused:
        more = texts.NEWER_REFUSED(why=refused.message)
    else:
        empty = _emptied(paths, before.pipeline, result.generation)
        more = texts.NEWER_FAILED(generation=before.generation) if earlier else ""
        more += texts.STATE_EMPTY(maps=empty) if empty else ""
    text = texts.BOOTED_FROM if earlier else texts.BOOTED
    return text(pipeline=before.pipeline, generation=result.generation, source=generation.number, more=more)


def _emptied(paths: Paths, pipeline: str, number: int) -> list[str]:
    """State maps that started empty with this generation, in the order of its YAML."""
    current, made = records.read_current(paths, pipeline), records.read_generation(paths, pipeline, number)
    when = current.restarted if current else {}
    return [m.name for m in made.wish.maps if when.get(m.name) == made.created]
