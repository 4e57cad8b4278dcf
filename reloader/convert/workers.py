"""Threads that take pieces of work in turn: any of them each piece, or all of them every piece.

Used by migrate.py, whose work is a system call that lets other threads run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
AHEAD = 4  # pieces that are listed and not yet done with by all


def share(pieces: Iterator[Piece], workers: int, work: Callable[[int, Piece], object]) -> None:
    """Each worker takes the next piece until there is none; a single piece needs no thread."""
    first, second = next(pieces, None), next(pieces, None)
    if first is not None and second is None:
        work(0, first)
    if first is None or second is None:
        return
    todo, turn, over = iter([first, second]), threading.Lock(), threading.Event()

    def following() -> Piece | None:
        with turn:
            return None if over.is_set() else next(todo, None) or next(pieces, None)

    def take(worker: int) -> None:
        try:
            while (piece := following()) is not None:
                work(worker, piece)
        finally:
            over.set()

    if not _at_once([partial(take, worker) for worker in range(workers)], over.set):
        take(0)


def together(
    pieces: Iterator[Piece],
    cpus: list[int],
    work: Callable[[int, int, Piece], bool],
    last: Callable[[int, Piece], None],
) -> None:
    """A thread on each CPU works through every piece: work(slot, place, piece), `place` its own among the CPUs.

    The thread that is through with a piece after all the others calls last(slot, piece), if all were content.
    A slot is one piece's alone until then; there are AHEAD of them.
    """
    window = _Window(pieces, len(cpus))

    def on_cpu(place: int) -> None:
        os.sched_setaffinity(0, {cpus[place]})  # of this thread only, which ends soon
        try:
            number = 0
            while (piece := window.get(number)) is not None:
                if window.is_last(number, content=work(number % AHEAD, place, piece)):
                    if window.content(number):
                        last(number % AHEAD, piece)
                    window.leave(number)
                number += 1
        except BaseException:
            window.end()
            raise

    if not _at_once([partial(on_cpu, place) for place in range(len(cpus))], window.end):
        _one_by_one(pieces, cpus, work, last)


def _one_by_one(
    pieces: Iterator[Piece],
    cpus: list[int],
    work: Callable[[int, int, Piece], bool],
    last: Callable[[int, Piece], None],
) -> None:
    """The same by this thread alone, which goes from CPU to CPU."""
    before = os.sched_getaffinity(0)
    try:
        for piece in pieces:
            content = True
            for place, cpu in enumerate(cpus):
                os.sched_setaffinity(0, {cpu})
                content = work(0, place, piece) and content
            if content:
                last(0, piece)
    finally:
        os.sched_setaffinity(0, before)


def _at_once(works: Sequence[Callable[[], None]], stop: Callable[[], None]) -> bool:
    """Run each in a thread of its own; False, with none of it done, where this process may not start so many.

    `stop` asks all of them to come to an end, for the first error is raised then.
    """
    go, cancelled = threading.Event(), threading.Event()

    def run(work: Callable[[], None]) -> None:
        go.wait()
        if not cancelled.is_set():
            work()

    with ThreadPoolExecutor(len(works)) as pool:
        try:
            begun = [pool.submit(run, work) for work in works]
        except RuntimeError:  # a limit on processes, or no memory for a stack
            cancelled.set()
            return False
        finally:
            go.set()
        try:
            for one in begun:
                one.result()
        finally:
            stop()
    return True


class _Window(Generic[Piece]):
    """The pieces at hand, by number. Whoever is ahead of the others fetches the next one."""

    def __init__(self, pieces: Iterator[Piece], readers: int) -> None:
        self._pieces, self._readers = pieces, readers
        self._open: dict[int, Piece] = {}
        self._missing: dict[int, int] = {}  # readers that are not through with it
        self._discontent: set[int] = set()
        self._fetched, self._over = 0, False
        self._changed = threading.Condition()

    def get(self, number: int) -> Piece | None:
        """The piece of that number; waits for room for it. None when there is none."""
        with self._changed:
            while number not in self._open and not self._over:
                if number - AHEAD in self._open:
                    self._changed.wait()
                else:
                    self._fetch()
            return self._open.get(number)

    def _fetch(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._over = True
            self._changed.notify_all()
            return
        self._open[self._fetched], self._missing[self._fetched] = piece, self._readers
        self._fetched += 1

    def is_last(self, number: int, *, content: bool) -> bool:
        with self._changed:
            self._missing[number] -= 1
            if not content:
                self._discontent.add(number)
            return not self._missing[number]

    def content(self, number: int) -> bool:
        return number not in self._discontent

    def leave(self, number: int) -> None:
        with self._changed:
            del self._open[number], self._missing[number]
            self._changed.notify_all()

    def end(self) -> None:
        """Let everyone come to an end after the piece they are at."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
