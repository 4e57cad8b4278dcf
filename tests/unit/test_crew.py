"""Pieces of work are each done once by anyone, or once by everyone; what one worker meets with ends all of them."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from reloader.convert import workers

CPUS = sorted(os.sched_getaffinity(0))
EVERYONE = [*CPUS, *CPUS]  # more threads than CPUs, so that they get apart


def test_each_piece_is_taken_once() -> None:
    taken: list[int] = []
    workers.share(iter(range(1, 500)), 4, lambda _, piece: taken.append(piece))
    assert sorted(taken) == list(range(1, 500))


def test_a_single_piece_needs_no_thread() -> None:
    where: list[threading.Thread] = []
    workers.share(iter(["one"]), 4, lambda *_: where.append(threading.current_thread()))
    assert where == [threading.current_thread()]
    workers.share(iter([]), 4, lambda *_: pytest.fail("there was nothing to do"))


def test_everyone_works_on_every_piece_and_the_last_one_ends_it() -> None:
    """A slot is one piece's until that is ended; where somebody was not content, nothing is ended."""
    done: Counter[int] = Counter()
    begun: dict[int, set[int]] = {}
    ended: list[int] = []

    def work(slot: int, place: int, piece: int) -> bool:
        begun.setdefault(slot, set()).add(piece)
        time.sleep(0.0001 * (place + piece % 3))
        done[piece] += 1
        unfinished = {p for p in begun[slot] if done[p] < len(EVERYONE)}
        assert unfinished <= {piece}, "two pieces in one slot"
        return piece % 10 != 0

    def last(slot: int, piece: int) -> None:
        assert done[piece] == len(EVERYONE)
        ended.append(piece)

    workers.together(iter(range(1, 100)), EVERYONE, work, last)
    assert done == dict.fromkeys(range(1, 100), len(EVERYONE))
    assert sorted(ended) == [piece for piece in range(1, 100) if piece % 10]


def _endless() -> Iterator[int]:
    return itertools.count(1)


def _fails(*_: object) -> NoReturn:
    raise OSError("no more")


@pytest.mark.parametrize(
    "begin",
    [
        lambda: workers.share(_endless(), 3, _fails),
        lambda: workers.together(_endless(), EVERYONE, lambda _, place, __: bool(place) or _fails(), _fails),
        lambda: workers.together(_endless(), EVERYONE, lambda *_: True, _fails),
    ],
    ids=["share", "together", "last"],
)
def test_one_failure_ends_all(begin: Callable[[], None]) -> None:
    with pytest.raises(OSError, match="no more"):
        begin()


@pytest.fixture(params=[0, 1, 2])
def few_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many may be started, and no more: as under RLIMIT_NPROC."""
    left, start = [None] * request.param, threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.usefixtures("few_threads")
def test_without_threads_one_takes_all() -> None:
    taken: list[int] = []
    workers.share(iter(range(1, 50)), 4, lambda _, piece: taken.append(piece))
    assert sorted(taken) == list(range(1, 50))


@pytest.mark.usefixtures("few_threads")
def test_without_threads_one_goes_from_cpu_to_cpu() -> None:
    """Each piece on each CPU, then ended, unless somebody was not content; and this thread is where it was."""
    before, done, ended = os.sched_getaffinity(0), list[tuple[int, int, frozenset[int]]](), list[int]()

    def work(_slot: int, place: int, piece: int) -> bool:
        done.append((piece, place, frozenset(os.sched_getaffinity(0))))
        return piece != 3

    workers.together(iter(range(5)), [*CPUS, *CPUS, *CPUS], work, lambda _, piece: ended.append(piece))
    cpus = [*CPUS, *CPUS, *CPUS]
    assert done == [(piece, place, frozenset({cpu})) for piece in range(5) for place, cpu in enumerate(cpus)]
    assert ended == [0, 1, 2, 4]
    assert os.sched_getaffinity(0) == before
