"""The order of events: a change waits until it is quiet, then becomes one attempt; what came of it is said once.

Knows no kernel and no clock of its own: `tick(now)` does what is due.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from reloader.daemon.place_events import MOVED
from reloader.daemon.sources.files import Files
from reloader.errors import InputError, LockedError, ReloaderError
from reloader.places.place import Wake
from reloader.wording.printable import lines_of

SWEEP = 2.0  # seconds between looks when nothing wakes us
PATIENCE = 10  # a file that never gets quiet is read after this many times the quiet time
GATHER = 0.02  # seconds in which events become one look
BACKOFF, LONGEST_BACKOFF = 0.05, 2.0  # seconds before asking again for a lock that another holds
LOCKED_TRIES = 5  # refusals until it is said


class Engine(Protocol):
    """What loop.py has done; attempts.py does it."""

    def attempt(self, path: str) -> bool:
        """Apply a file and say what changed. False: it was tried like this before, and nothing was done.
        LockedError: not now. Any other ReloaderError or OSError: it is bad."""

    def inputs(self, path: str) -> Collection[str]:
        """The files that the YAML file named at the last attempt."""

    def vanished(self, path: str) -> None:
        """The file is gone. LockedError: not now."""

    def wakes(self) -> Collection[Wake]:
        """What tells of places that matter."""

    def revisit(self) -> Collection[str]:
        """Files worth another attempt though nobody wrote them."""


@dataclass(slots=True)
class _Pending:
    due: float
    latest: float  # `due` is never put off beyond this
    refusals: int = 0


class Follower:
    """One directory, followed."""

    def __init__(self, files: Files, engine: Engine, say: Callable[[str], None], *, debounce: float) -> None:
        self.files = files
        self._engine = engine
        self._say = say
        self._debounce = debounce
        self._pending: dict[str, _Pending] = {}
        self._followed: set[str] = set()  # files that were tried, or known
        self._bad: dict[str, list[str]] = {}  # YAML file -> what is wrong with it, as said
        self._problem = ""
        self._next_sweep = 0.0

    def start(self, now: float, known: Collection[str], *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Everything in the directory once, at once; `known` files that are gone count as vanished."""
        self._followed |= set(known)
        self._pending = {path: _Pending(now, now) for path in self.files.scan() | self._followed}
        self._next_sweep = now + SWEEP
        self._settle_due(now, stopping)

    def tick(self, now: float, *, stopping: Callable[[], bool] = lambda: False) -> float:
        """Look, and do what is due. Seconds until the next tick is needed; an event may call for one sooner."""
        for path in self.files.scan():
            waiting = self._pending.setdefault(path, _Pending(now, now + PATIENCE * self._debounce))
            waiting.due = min(now + self._debounce, waiting.latest)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            for path in self._engine.revisit():
                self._pending.setdefault(path, _Pending(now, now))
        self._say_problem()
        self._settle_due(now, stopping)
        return max(0.0, min([self._next_sweep, *(p.due for p in self._pending.values())]) - now)

    def wakes(self) -> Collection[Wake]:
        """What tells of places that matter."""
        return self._engine.wakes()

    def look_again(self) -> None:
        """At what nobody wrote, in the next tick."""
        self._next_sweep = 0.0

    def _settle_due(self, now: float, stopping: Callable[[], bool]) -> None:
        due = [path for path, waiting in self._pending.items() if waiting.due <= now]
        # Files that are there come first: a renamed file keeps its pipeline, which is never without one.
        for path in sorted(due, key=lambda p: (not self.files.exists(p), p)):
            if stopping():
                return
            waiting = self._pending.pop(path)
            try:
                self._settle(path, stopping)
            except LockedError as error:
                self._wait_for_lock(path, waiting, now, error)

    def _settle(self, path: str, stopping: Callable[[], bool]) -> None:
        if not self.files.exists(path):
            self._is_gone(path)
            return
        self._followed.add(path)
        began = time.time_ns()
        try:
            anything = self._engine.attempt(path)
        except LockedError:
            raise
        except (ReloaderError, OSError) as error:
            if not stopping():  # an attempt that was interrupted says nothing about the file
                self._is_bad(path, error)
        else:
            if anything and self._bad.pop(path, None) is not None:
                self._say(f"{self._short(path)}: mended")
        finally:
            self.files.learn(path, self._engine.inputs(path), read=began)

    def _is_gone(self, path: str) -> None:
        if path in self._followed:
            self._engine.vanished(path)
            self._say(f"{self._short(path)}: gone")
        self._followed.discard(path)
        self._bad.pop(path, None)

    def _is_bad(self, path: str, error: ReloaderError | OSError) -> None:
        lines = self._problem_lines(path, error)
        for line in lines if self._bad.get(path) != lines else [f"{self._short(path)}: still bad"]:
            self._say(line)
        self._bad[path] = lines

    def _problem_lines(self, path: str, error: ReloaderError | OSError) -> list[str]:
        if isinstance(error, InputError):
            here = self.files.directory + "/"
            return [line.removeprefix(here) for problem in error.problems for line in problem.lines()]
        short = self._short(path)
        if not isinstance(error, ReloaderError):
            return [f"{short}: {error}"]
        hint = [f"hint: {line}" if not at else line for at, line in enumerate(lines_of(error.hint)) if line]
        return [f"{short}: {error.message}", *(f"    {line}" for line in (*error.lines, *hint))]

    def _wait_for_lock(self, path: str, waiting: _Pending, now: float, error: LockedError) -> None:
        waiting.refusals += 1
        waiting.due = now + min(BACKOFF * 2**waiting.refusals, LONGEST_BACKOFF)
        waiting.latest = max(waiting.latest, waiting.due)
        self._pending[path] = waiting
        if waiting.refusals == LOCKED_TRIES:
            self._say(f"{self._short(path)}: waits: {error.message}")

    def _say_problem(self) -> None:
        if self.files.problem != self._problem:
            self._say(f"{self.files.directory}: {self.files.problem or 'can be listed again'}")
        self._problem = self.files.problem

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self.files.directory)


class FileEvents(Protocol):
    """What daemon/file_events.py does for run()."""

    def point_at(self, directories: list[str], names: frozenset[str]) -> bool: ...


class PlaceEvents(Protocol):
    """What daemon/place_events.py does for run()."""

    def point_at(self, wakes: Collection[Wake]) -> bool: ...


def run(
    follower: Follower,
    files: FileEvents,
    places: PlaceEvents,
    queue: SimpleQueue[str],
    *,
    stopping: Callable[[], bool],
) -> None:
    """Tick until asked to stop."""
    while not stopping():
        pause = follower.tick(time.monotonic(), stopping=stopping)
        if places.point_at(follower.wakes()):
            follower.look_again()
            continue
        if files.point_at(*follower.files.places()):
            continue  # what happened before the new watch stood must be looked for
        try:
            words = {queue.get(timeout=pause)}
        except Empty:
            continue
        time.sleep(GATHER)
        words.update(queue.get_nowait() for _ in range(queue.qsize()))
        if MOVED in words:
            follower.look_again()
