"""A process that outlives the command and its terminal: forked before the swap, told after it, ended by its duty.

Knows nothing of what it guards; duty.py does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reloader.errors import NothingSwapped
from reloader.frozen import frozen
from reloader.process.interrupts import Held
from reloader.store.trial_terms import born
from reloader.trial import texts

NAME = "reloader-guard"  # in process lists; the kernel keeps 15 bytes
MOST = 1 << 16  # bytes of a message
LONGEST_TEXT = 4000  # characters of one of its texts
READY = 10.0  # seconds that a guard has to say that it is there
Message = dict[str, Any]


class Channel:
    """One end of the talk between a command and its guard. Whoever is gone is not told, and says nothing any more."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def say(self, **words: Any) -> None:
        text = json.dumps({k: v[:LONGEST_TEXT] if isinstance(v, str) else v for k, v in words.items()})
        with contextlib.suppress(OSError):  # nobody listens, or not now: a stopped command must not stop its guard
            self._end.send(text.encode(), socket.MSG_DONTWAIT)

    def hear(self, patience: float | None = None) -> Message | None:
        """The next message; empty when none came in time, None when the other end is gone."""
        if self._end.fileno() < 0:
            return None
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        if not poller.poll(None if patience is None else patience * 1000):
            return {}
        with contextlib.suppress(OSError):
            data = self._end.recv(MOST)
            return json.loads(data) if data else None
        return None

    def close(self) -> None:
        self._end.close()


@frozen
class Guard:
    """The command's side of a guard that stands ready."""

    pid: int
    born: int  # as trial.born has it
    channel: Channel


def post(duty: Callable[[Channel], None]) -> Guard:
    """Start a guard; it does its duty in a session of its own, whatever becomes of us. NothingSwapped: it cannot."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours)
    try:
        with theirs, Held() as held:  # no signal may start the command's way back in the guard
            _fork_twice(theirs, duty)
        if held.interrupted:
            raise KeyboardInterrupt
        hello = channel.hear(READY)
        if not hello:
            raise NothingSwapped(texts.GUARD_ENDED())
    except OSError as error:
        channel.close()
        raise NothingSwapped(texts.GUARD_NOT_STARTED(why=error.strerror)) from error
    except BaseException:
        channel.close()
        raise
    return Guard(pid=hello["pid"], born=hello["born"], channel=channel)


def _fork_twice(theirs: socket.socket, duty: Callable[[Channel], None]) -> None:
    """Twice, so that init is the guard's parent and nobody has to wait for it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _serve(theirs, duty)
    finally:
        os._exit(0)  # nothing of the command's is flushed, unwound or run in here


def _serve(theirs: socket.socket, duty: Callable[[Channel], None]) -> None:
    _become_apart(theirs.fileno())
    channel = Channel(theirs)
    channel.say(pid=os.getpid(), born=born(os.getpid()))
    duty(channel)


def _become_apart(keep: int) -> None:
    """No terminal, no handlers, no descriptors of the command's: its locks must go when it goes."""
    gc.freeze()  # what the command had open is closed below; its objects must not close their numbers once more
    signal.set_wakeup_fd(-1)
    for handled in signal.valid_signals():
        if callable(signal.getsignal(handled)):
            signal.signal(handled, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
