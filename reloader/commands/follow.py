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
from typing import TYPE_CHECKING, NoReturn

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import InputError, LockedError, Problem, UsageError

if TYPE_CHECKING:
    from reloader.follow.attempts import Attempts


class _Stop:
    """SIGINT and SIGTERM: an exception, and a flag for when a transaction has turned it into its way back."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self.asked = True
        self.install(signal.SIG_IGN)
        raise KeyboardInterrupt

    def install(self, handler: signal.Handlers | None = None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self if handler is None else handler)

    def stopping(self) -> bool:
        return self.asked


def watch(args: argparse.Namespace, env: Environment) -> int:
    stop = _Stop()
    stop.install()
    with contextlib.suppress(KeyboardInterrupt):
        _follow(args, env, stop)
    _say("stopped; what serves, serves on")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _follow(args: argparse.Namespace, env: Environment, stop: _Stop) -> None:
    from reloader.follow.events import Events
    from reloader.follow.files import Files
    from reloader.follow.loop import Follower, run

    directory = _checked(args, env)
    engine = _attempts(env, stop)
    follower = Follower(Files(directory), engine, _say, debounce=args.debounce)
    queue: SimpleQueue[str] = SimpleQueue()
    events = Events(queue, env.output.note)
    try:
        events.point_at(*follower.files.places())  # before the first look, so that no change falls between
        follower.start(time.monotonic(), engine.known(directory), stopping=stop.stopping)
        _say(f"watching {directory}")
        run(follower, events, queue, stopping=stop.stopping)
    finally:
        events.stop()


def _attempts(env: Environment, stop: _Stop) -> Attempts:
    from reloader.follow.attempts import Attempts, Setting
    from reloader.spec.cache import load_wishes

    return Attempts(
        Setting(
            kernel=env.kernel,
            layout=env.layout,
            read=lambda path: load_wishes(path, env.layout),
            named=_named,
            say=_say,
            steps=SlowSteps(env.output),
            stopping=stop.stopping,
        )
    )


def _named(path: Path) -> list[str]:
    """The files a YAML names, whether they are any good or not; InputError when the YAML itself is not."""
    from reloader.spec.parse import read_pipelines

    pipelines = read_pipelines(path)
    bulk = [m.bulk.path for p in pipelines for m in p.maps if m.bulk]
    return [*(o.path for p in pipelines for o in p.objects), *bulk]


def _checked(args: argparse.Namespace, env: Environment) -> str:
    """The directory, absolute; what can never work fails here instead of at every file."""
    from reloader.lock import writer_lock

    if not 0 <= args.debounce <= 3600:
        raise UsageError(f"--debounce {args.debounce}: between 0 and 3600 seconds")
    directory: str = os.path.abspath(args.directory)
    if not os.path.isdir(directory):
        problem = Problem(file=args.directory, line=0, column=0, path="", message="no such directory")
        raise InputError([problem])
    with contextlib.suppress(LockedError), writer_lock(env.layout):  # PermissionRefused: never allowed to write
        pass
    return directory
