"""Progress is said for slow steps only, once each, and by one thread."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time

import pytest

from reloader.commands.environment import Output, SlowSteps
from tests.support import faults


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> tuple[SlowSteps, io.StringIO]:
    faults.inject(monkeypatch, "patience", 0.05)
    faults.inject(monkeypatch, "slow look", 0.01)
    stream = io.StringIO()
    return SlowSteps(Output(), stream), stream


def wait_for(stream: io.StringIO, text: str) -> None:
    until = time.monotonic() + 5
    while text not in stream.getvalue() and time.monotonic() < until:
        time.sleep(0.005)


def test_a_slow_step_is_said_once(steps: tuple[SlowSteps, io.StringIO]) -> None:
    slow, stream = steps
    slow("loading")
    wait_for(stream, "loading")
    slow("swapping")
    wait_for(stream, "swapping")
    slow.done()
    assert stream.getvalue() == "… loading\n… swapping\n"


def test_fast_steps_are_not_said(steps: tuple[SlowSteps, io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "patience", 60)
    slow, stream = steps
    before = set(threading.enumerate())
    for _ in range(50):
        slow("working")
    assert len(set(threading.enumerate()) - before) == 1
    slow.done()
    assert stream.getvalue() == ""


def test_it_serves_again_after_done(steps: tuple[SlowSteps, io.StringIO]) -> None:
    slow, stream = steps
    slow("one")
    slow.done()
    slow("two")
    wait_for(stream, "two")
    slow.done()
    assert stream.getvalue() == "… two\n"


def test_quiet_means_silence_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "patience", 0)
    slow, before = SlowSteps(Output(quiet=True)), set(threading.enumerate())
    slow("loading")
    assert not set(threading.enumerate()) - before


def test_f24_no_progress_after_the_result(steps: tuple[SlowSteps, io.StringIO]) -> None:
    """Once done() returned, the thread has ended: nothing of it comes behind what is printed then."""
    slow, stream = steps
    for _ in range(20):
        slow("working")
        wait_for(stream, "working")
        slow.done()
        stream.write("result\n")
        before = stream.getvalue()
        assert not [t for t in threading.enumerate() if t.name.endswith("(_look)")]
        assert stream.getvalue() == before


def test_f24_notes_stand_where_they_were_said() -> None:
    """Both streams into one file, as in a CI log: in the order in which they were written."""
    code = (
        "from reloader.commands.environment import Output\n"
        "from reloader.errors import ReloaderError\n"
        "o = Output()\n"
        "o.print('one'); o.note('two'); o.print('three'); o.tell(ReloaderError('four')); o.print('five')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    assert done.stdout.split("\n") == ["one", "two", "three", "error: four", "five", ""]
