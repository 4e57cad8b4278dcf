"""One attempt at a file: compile it, compare with what was tried, apply under the lock, remember how it went.

The engine behind loop.py.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reloader.break_glass.panic import panicking
from reloader.daemon import texts
from reloader.disk.lock import Writer, writer_of
from reloader.engine.apply_request import ApplyRequest
from reloader.errors import (
    InputError,
    KernelError,
    LockedError,
    MissingFeature,
    NeedsHuman,
    NotFoundError,
    PermissionRefused,
    Problem,
    ReloaderError,
)
from reloader.frozen import frozen
from reloader.kernel.host import Host, OnHost
from reloader.lifecycle.attempt_record import note_attempt, note_orphan
from reloader.lifecycle.carry_out import Result, is_unchanged
from reloader.observe.in_force import link_at
from reloader.paths import Paths
from reloader.pipeline.wish import Compiled, Wish
from reloader.places import place_of
from reloader.places.place import Place, Wake
from reloader.store import records
from reloader.store.records import Cause, Current
from reloader.store.trial_terms import failed
from reloader.trial import start

Stray = frozenset[tuple[str, int, bool]]  # (pin, link id, attached) of links that are not at their places
World = tuple[object, ...]  # what, besides the text, decides how an attempt ends


class Steps(Protocol):
    """Progress of slow steps."""

    def __call__(self, label: str) -> None: ...
    def done(self) -> None: ...


@frozen
class Setting(OnHost):
    """What attempts work in."""

    host: Host
    read: Callable[[Path], Sequence[Compiled]]  # InputError: a bad text
    named: Callable[[Path], Collection[str]]  # files that a text names which does not compile
    say: Callable[[str], None]
    steps: Steps
    stopping: Callable[[], bool]


@dataclass(slots=True, kw_only=True)
class _Last:
    """The last attempt at a file in this process."""

    digests: tuple[str, ...]  # of its wishes; empty: try again even if they are the same
    names: frozenset[str]
    places: tuple[Place, ...]
    links: tuple[str, ...]  # pins of links, which lose their places
    world: World | None = None  # what a failed attempt met; None: it did not fail
    stray: Stray = frozenset()  # what the attempt met


class Attempts:
    """See loop.Engine. Paths are absolute strings, and the names under which records remember sources."""

    def __init__(self, setting: Setting) -> None:
        self._in = setting
        self._last: dict[str, _Last] = {}
        self._inputs: dict[str, Collection[str]] = {}
        self._names: dict[str, frozenset[str]] = {}  # file -> pipelines it defined when it last compiled
        self._owner: dict[str, str] = {}  # pipeline -> the file that defines it
        self._trials: dict[str, int] = {}  # pipeline -> the generation that its guard looks after

    def known(self, directory: str) -> set[str]:
        """Files of the directory that recorded pipelines came from; forgets those that only orphans came from."""
        for name in records.pipelines(self._in.paths):
            with contextlib.suppress(NeedsHuman):  # said when its file is tried
                current = records.read_current(self._in.paths, name)
                if current is None or current.orphaned or not current.generation:
                    continue
                for path in current.tried:
                    if os.path.dirname(path) == directory:
                        self._names[path] = self._names.get(path, frozenset()) | {name}
        return set(self._names)

    def inputs(self, path: str) -> Collection[str]:
        return self._inputs.get(path, ())

    def attempt(self, path: str) -> bool:
        compiled = self._compile(path)
        last = _last_of(compiled, self._in.paths)
        before = self._last.get(path)
        if before and before.digests == last.digests:
            return False
        self._last[path] = last
        last.stray = self._stray(last)
        try:
            self._claim(path, last)
            for one in compiled:
                self._apply(path, one, last)
        except LockedError:
            del self._last[path]
            raise
        except (ReloaderError, OSError):
            last.world, last.stray = last.world or self._world(path, last), self._stray(last)
            raise
        last.world = None
        return True

    def _compile(self, path: str) -> Sequence[Compiled]:
        try:
            compiled = self._in.read(Path(path))
        except (ReloaderError, OSError) as error:
            self._last.pop(path, None)
            with contextlib.suppress(ReloaderError):  # else what it named while it was good is still watched
                self._inputs[path] = self._in.named(Path(path))
            self._note_bad(path, error)
            raise
        self._inputs[path] = {file for one in compiled for file in one.files}
        return compiled

    def _note_bad(self, path: str, error: ReloaderError | OSError) -> None:
        """The records of a file's pipelines say that it does not compile; LockedError: try it all again later."""
        names = [n for n in self._names.get(path, ()) if self._owner.get(n, path) == path]
        if names:
            with writer_of(self._in.host) as writer:
                for name in names:
                    self._note(name, path, "", error, writer)

    def _note(self, name: str, path: str, digest: str, error: ReloaderError | OSError, writer: Writer) -> None:
        text = _in_one_line(error)
        with contextlib.suppress(NeedsHuman, PermissionRefused, OSError):  # the error itself is what matters
            note_attempt(writer, name, path, digest, text)

    def _claim(self, path: str, last: _Last) -> None:
        """One file defines a pipeline; what a file no longer defines becomes an orphan."""
        problems = []
        for name in sorted(last.names):
            owner = self._owner.get(name, path)
            if owner != path and os.path.exists(owner):  # a renamed file takes its pipeline along
                twice = texts.DEFINED_TWICE(pipeline=name, file=owner)
                problems.append(Problem.at(path, twice, path="metadata.name"))
        if problems:
            raise InputError(problems)
        self._orphan(path, self._names.get(path, frozenset()) - last.names)
        self._names[path] = last.names
        self._owner |= dict.fromkeys(last.names, path)

    def _apply(self, path: str, one: Compiled, last: _Last) -> None:
        started = time.monotonic()
        name, digest = one.wish.pipeline, one.wish.digest()
        if self._in_force(path, name, digest):
            return
        last.world = self._world(path, last)
        watched = self._prepared(path, one)
        with writer_of(self._in.host) as writer:
            was = records.read_current(self._in.paths, name)
            result = self._carry_out(path, one, was, watched, writer)
            note_attempt(writer, name, path, digest, "")
        if watched is not None and result.unconfirmed:
            start.leave(watched)
            self._trials[name] = result.generation
        for line in result.recovered:
            self._in.say(line)
        if result.changed:
            text, ms = texts.LIVE_ON_TRIAL if result.unconfirmed else texts.LIVE, (time.monotonic() - started) * 1000
            self._in.say(text(pipeline=name, generation=result.generation, ms=ms, seconds=result.unconfirmed))
        elif was and was.orphaned:
            self._in.say(texts.NOT_ORPHANED(pipeline=name, generation=result.generation))

    def _in_force(self, path: str, name: str, digest: str) -> bool:
        """This very wish was tried, and whatever serves since then is intact: it, or what was rolled back to."""
        current = records.read_current(self._in.paths, name)
        if current is None or current.tried.get(path) != digest:
            return False
        if not current.generation and self._failed(current, digest):
            self._in.say(texts.FAILED_TRIAL(pipeline=name, generation=current.last_generation))
            return True
        if panicking(self._in.host, name):
            self._in.say(texts.IN_PANIC(pipeline=name))
            return True
        if self._in.kernel.pins.listdir(self._in.paths.rescue_pins(name)):
            self._in.say(texts.RESCUED(pipeline=name))
            return True
        if not is_unchanged(self._in.host, name, current.wish):
            return False
        if current.wish != digest:
            self._in.say(self._other_version(current))
        return True

    def _failed(self, current: Current, digest: str) -> bool:
        """Whether this wish was the last to serve, and did not prove itself."""
        with contextlib.suppress(NotFoundError, NeedsHuman):
            last = records.read_generation(self._in.paths, current.pipeline, current.last_generation)
            return failed(last.outcome) and last.wish.digest() == digest
        return False

    def _other_version(self, current: Current) -> str:
        """How another version than that of the file became the live version."""
        serving = records.read_generation(self._in.paths, current.pipeline, current.generation)
        text = texts.ROLLED_BACK if serving.cause is Cause.TRIAL else texts.APPLIED_BY_HAND
        return text(pipeline=current.pipeline, generation=current.generation, reason=serving.reason)

    def _prepared(self, path: str, one: Compiled) -> start.PendingTrial | None:
        """What its trial needs; a file whose checks cannot be made is bad, and remembered as such."""
        try:
            return start.prepare(self._in.host, one.wish)
        except LockedError:  # the generation that serves is on trial: nothing was tried yet
            raise
        except (ReloaderError, OSError) as error:
            with writer_of(self._in.host) as writer:
                self._note(one.wish.pipeline, path, one.wish.digest(), error, writer)
            raise

    def _carry_out(
        self, path: str, one: Compiled, was: Current | None, watched: start.PendingTrial | None, writer: Writer
    ) -> Result:
        where, digest = self._in, one.wish.digest()
        try:
            intake = self._intake(path, one, digest, was)
            return start.apply(writer, intake, watched, progress=where.steps)
        except LockedError:  # the generation that serves is on trial: nothing was tried yet
            raise
        except (ReloaderError, OSError) as error:
            if not where.stopping():  # an interrupted attempt was none
                self._note(one.wish.pipeline, path, digest, error, writer)
            raise
        finally:
            where.steps.done()

    def _intake(self, path: str, one: Compiled, digest: str, was: Current | None) -> ApplyRequest:
        if was and was.generation and was.tried.get(path) == digest != was.wish and not was.last_error:
            # Rolled back by hand since: what was chosen then is mended, the file waits for an edit.
            chosen = records.read_generation(self._in.paths, was.pipeline, was.generation)
            return ApplyRequest(wish=chosen.wish, reason="watch", cause=Cause.WATCH, origin=chosen.origin)
        return ApplyRequest(
            wish=one.wish, blobs=one.blobs, reason="watch", cause=Cause.WATCH, source=path, unrecorded=one.unrecorded
        )

    def vanished(self, path: str) -> None:
        self._orphan(path, self._names.get(path, frozenset()))
        for name in self._names.pop(path, ()):
            if self._owner.get(name) == path:
                del self._owner[name]
        self._last.pop(path, None)
        self._inputs.pop(path, None)

    def _orphan(self, path: str, names: Iterable[str]) -> None:
        names = sorted(n for n in names if self._owner.get(n, path) == path)
        if not names:
            return
        with writer_of(self._in.host) as writer:
            for name in names:
                generation = note_orphan(writer, name)
                if generation:
                    self._in.say(texts.ORPHANED(pipeline=name, generation=generation))

    def wakes(self) -> set[Wake]:
        """What tells of places of ours."""
        return {wake for last in self._last.values() for place in last.places if (wake := place.wake())}

    def revisit(self) -> list[str]:
        """Files whose attempt might end otherwise now: a place came or went, or another file let a name go."""
        self._say_outcomes()
        found = []
        for path, last in self._last.items():
            if last.digests and self._moved(path, last):
                last.digests = ()
                found.append(path)
        return found

    def _say_outcomes(self) -> None:
        """Trials that have ended since, and how."""
        for name, number in list(self._trials.items()):
            current = records.read_current(self._in.paths, name)
            if current is not None and current.trial is not None and current.trial.generation == number:
                continue
            del self._trials[name]
            with contextlib.suppress(NotFoundError):
                ended = records.read_generation(self._in.paths, name, number).outcome
                live = current.generation if current else 0
                now = texts.NOW_LIVE(generation=live) if live else texts.NOW_DETACHED()
                how = ended.words if ended else texts.TRIAL_OVER()
                self._in.say(texts.TRIAL_ENDED(pipeline=name, generation=number, outcome=how, now=now))

    def _moved(self, path: str, last: _Last) -> bool:
        """Return whether something is another than at the last attempt: one that changed nothing is not made again."""
        stray = self._stray(last)
        if last.world is None:
            return bool(stray - last.stray)
        return stray != last.stray or self._world(path, last) != last.world

    def _stray(self, last: _Last) -> Stray:
        """Return the links that lost their places, or are attached to what has another name now."""
        found = set()
        for place, pin in zip(last.places, last.links, strict=True):
            with contextlib.suppress(KernelError, MissingFeature):
                link = link_at(self._in.kernel, pin)
                if link is not None and not (link.attached and place.holds(self._in.kernel, link)):
                    found.add((pin, link.id, link.attached))
        return frozenset(found)

    def _world(self, path: str, last: _Last) -> World:
        free = all(self._owner.get(name, path) == path for name in last.names)
        return (free, *map(self._spot, last.places))

    def _spot(self, place: Place) -> object:
        try:
            return place.spot(self._in.kernel)
        except (KernelError, MissingFeature):
            return None


def _in_one_line(error: ReloaderError | OSError) -> str:
    """What failed and the first reason for it; how many more there are."""
    if not isinstance(error, ReloaderError):
        return str(error)
    if isinstance(error, InputError) and error.problems:
        first, more = error.problems[0].lines()[0], len(error.problems) - 1
    else:
        first, more = ": ".join([error.message, *error.lines[:1]]), len(error.lines) - 1
    return texts.AND_MORE(why=first, count=more) if more > 0 else first


def _last_of(compiled: Sequence[Compiled], paths: Paths) -> _Last:
    wishes: list[Wish] = [one.wish for one in compiled]
    attachments = [(w.pipeline, a) for w in wishes for a in w.attachments]
    return _Last(
        digests=tuple(w.digest() for w in wishes),
        names=frozenset(w.pipeline for w in wishes),
        places=tuple(place_of(a.type, a.target) for _, a in attachments),
        links=tuple(paths.link_pin(name, a.id) for name, a in attachments),
    )
