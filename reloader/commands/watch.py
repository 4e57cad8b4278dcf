"""watch: apply every saved change of a directory, until told to stop."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command
from reloader.errors import InputError, LockedError, Problem, UsageError
from reloader.process.interrupts import not_ignored

if TYPE_CHECKING:
    from reloader.daemon.attempts import Attempts


GRACE = 0.5  # seconds that a transaction under way has to end by itself once we are asked to stop


class _Stop:
    """SIGINT, SIGTERM and SIGHUP: end after what is being done. What lasts too long is interrupted and goes back.

    Waking must not take a lock that the main thread may hold: SimpleQueue.put is safe in a signal handler.
    """

    def __init__(self, queue: SimpleQueue[str]) -> None:
        self.asked = False
        self._late = False  # the grace is over
        self._number = signal.SIGTERM  # the first that came
        self._queue = queue
        signal.signal(signal.SIGALRM, self._insist)
        for number in not_ignored():
            signal.signal(number, self._ask)

    def stopping(self) -> bool:
        return self.asked

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._late:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._number = True, signal.Signals(number)
            self._queue.put("")
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _insist(self, _number: int, _frame: FrameType | None) -> None:
        self._late = True
        signal.raise_signal(self._number)  # to whoever handles it now: the way back of a transaction holds it back


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "watch",
        run,
        "apply every saved change of a directory",
        """Watches *.yaml in DIR, and the objects and bulk files that they name. A change is applied after a quiet time
(--debounce). Only contents count: a file that is touched changes nothing. A bad file does not affect the
running version; it is reported until it is correct. When a file is deleted, its pipeline is orphaned and keeps
running; `reloader remove PIPELINE` detaches it. Stop with ^C: attached programs keep running.""",
        report=False,
        changes=True,
    )
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument(
        "--debounce", type=float, default=0.2, metavar="SECONDS", help="quiet time after a change (default %(default)s)"
    )


def run(args: argparse.Namespace, env: Environment) -> int:
    """Follow the directory until a signal comes."""
    queue: SimpleQueue[str] = SimpleQueue()
    stop = _Stop(queue)
    with contextlib.suppress(KeyboardInterrupt):
        _follow(args, env, stop, queue)
    signal.setitimer(signal.ITIMER_REAL, 0)
    env.output.line(texts.STOPPED())
    return 0


def _follow(args: argparse.Namespace, env: Environment, stop: _Stop, queue: SimpleQueue[str]) -> None:
    from reloader.daemon.file_events import Events
    from reloader.daemon.loop import Follower
    from reloader.daemon.loop import run as follow
    from reloader.daemon.place_events import PlaceEvents
    from reloader.daemon.sources.files import Files

    directory = _checked(args, env)
    engine = _attempts(env, stop)
    follower = Follower(Files(directory), engine, env.output.line, debounce=args.debounce)
    events, places = Events(queue, env.output.note), PlaceEvents(env.kernel, queue)
    try:
        events.point_at(*follower.files.places())  # before the first look, so that no change falls between
        follower.start(time.monotonic(), engine.known(directory), stopping=stop.stopping)
        env.output.line(texts.WATCHING(directory=directory))
        follow(follower, events, places, queue, stopping=stop.stopping)
    finally:
        places.stop()
        events.stop()


def _attempts(env: Environment, stop: _Stop) -> Attempts:
    from reloader.daemon.attempts import Attempts, Setting
    from reloader.pipeline.cache import load_wishes

    return Attempts(
        Setting(
            host=env.host,
            read=lambda path: load_wishes(path, env.paths),
            named=_named,
            say=env.output.line,
            steps=SlowSteps(env.output),
            stopping=stop.stopping,
        )
    )


def _named(path: Path) -> list[str]:
    """The files a YAML names, whether they are any good or not; InputError when the YAML itself is not."""
    from reloader.pipeline.parse import read_pipelines

    pipelines = read_pipelines(path)
    bulk = [m.bulk.path for p in pipelines for m in p.maps if m.bulk]
    return [*(o.path for p in pipelines for o in p.objects), *bulk]


def _checked(args: argparse.Namespace, env: Environment) -> str:
    """The directory, absolute; what can never work fails here instead of at every file."""
    from reloader.disk.lock import writer_lock

    if not 0 <= args.debounce <= 3600:
        raise UsageError(texts.DEBOUNCE(seconds=args.debounce))
    directory: str = os.path.abspath(args.directory)
    if not os.path.isdir(directory):
        raise InputError([Problem.at(args.directory, texts.NO_DIRECTORY())])
    with contextlib.suppress(LockedError), writer_lock(env.paths):  # PermissionRefused: never allowed to write
        pass
    return directory
