"""SIGINT, SIGTERM and SIGHUP: the first one interrupts, later ones wait until what must not be cut short is over.

A signal that the parent ignores (nohup, a background job) stays ignored. By handlers, not by a mask: with another
thread about, the kernel would give it the signal, and Python runs handlers in the main thread all the same.
A leaf: imports nothing of the package.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn, TypeAlias, TypeVar

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
T = TypeVar("T")
Handler: TypeAlias = "signal._HANDLER"


class HungUp(KeyboardInterrupt):
    """SIGHUP: the terminal was closed. A command that only waits for an outcome leaves that to the guard."""


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """What each of them does: everything on the way out puts its own part back."""
    raise HungUp if number == signal.SIGHUP else KeyboardInterrupt


def not_ignored() -> list[signal.Signals]:
    return [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]


_active: list[Held] = []


def once_more() -> None:
    """After an interrupt that was answered by waiting for something: let the next signal end that, too."""
    for held in _active:
        if held.open:
            held.release()


def unraisable(found: sys.UnraisableHookArgs) -> None:
    """An interrupt that was raised where Python cannot let it out (a finalizer, a callback of an import) comes again
    a moment later. Everything else is told as Python tells it."""
    if not isinstance(found.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(found)
        return
    import threading

    once_more()
    number = signal.SIGHUP if isinstance(found.exc_value, HungUp) else not_ignored()[0]
    again = threading.Timer(0.005, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


class Held:
    """In a `with`: held back, but for the time between `release()` and the first signal, or `hold()`.

    The handler itself decides, so that no second signal falls between the first and the code that answers it.
    At the end `interrupted` says whether one came while they were held; it is not raised again.
    """

    def __init__(self, then: Callable[[int, FrameType | None], object] | None = None) -> None:
        """`then`: what a signal does when it is not held; None: what it does outside."""
        self.interrupted = False
        self.open = False  # work is under way that a signal may interrupt
        self._then = then
        self._held = True
        self._waiting: list[int] = []
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Held:
        _active.append(self)
        try:
            for number in not_ignored():
                self._before[number] = self._then or signal.getsignal(number)
                signal.signal(number, self._handle)
        except ValueError:  # not the main thread, which alone gets signals
            self._before.clear()
        return self

    def release(self) -> None:
        """From here on the first signal raises what it did before. One that waits does so now."""
        self._held = False
        if self._waiting:
            self._handle(self._waiting.pop(0), None)

    def during(self, work: Callable[[], T]) -> T:
        """Released while `work` runs, held again however that ends."""
        try:
            self.open = True
            self.release()
            result = work()
            self._held = True  # in here: a signal comes before it and interrupts, or after it and waits
            return result
        except BaseException as error:  # the handler has set it, if it was an interrupt
            self._held = True
            if isinstance(error, RuntimeError) and isinstance(error.__cause__, KeyboardInterrupt):
                raise error.__cause__ from None  # before Python 3.12, __set_name__ of a field wraps what it meets
            raise
        finally:
            self.open = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(signal.Signals(number))
        if self._held or not callable(before):  # what would end the process at once waits, too
            self._waiting.append(number)
            return
        self._held = True
        before(number, frame)  # raises, as a rule
        self._held = False
        if self._waiting:  # came while that handler ran
            self._handle(self._waiting.pop(0), None)

    def __exit__(self, _kind: type | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        _active.remove(self)
        for number, before in self._before.items():
            signal.signal(number, before)
        for late in dict.fromkeys(self._waiting):
            before = self._before[signal.Signals(late)]
            if not callable(before):
                signal.raise_signal(late)
                continue
            try:
                before(late, None)
            except KeyboardInterrupt:
                self.interrupted = True
