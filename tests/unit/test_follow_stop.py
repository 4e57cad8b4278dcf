"""Being asked to stop: at once when idle, after the transaction when one is under way, by force when it lasts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.stage import hear_signals
from reloader.process.interrupts import Held

ROOT = Path(__file__).resolve().parent.parent.parent
PROLOGUE = """
import os, signal, sys, threading, time
from queue import SimpleQueue
from reloader.commands.watch import GRACE, _Stop
from reloader.process.interrupts import Held
queue = SimpleQueue()
stop = _Stop(queue)
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()  # another thread, as watchdog's
def busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)
print("ready", flush=True)
"""


def ask_to_stop(body: str, number: int) -> str:
    """What a process in `body` says when it gets a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + body],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=hear_signals,
    )  # fmt: skip
    with process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=10)
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_wakes_who_waits(number: int) -> None:
    body = "queue.get(timeout=4); signal.setitimer(signal.ITIMER_REAL, 0); print('woken', stop.asked)"
    assert ask_to_stop(body, number) == "woken True\n"


def test_a_short_transaction_ends_by_itself() -> None:
    body = "busy(GRACE / 5); signal.setitimer(signal.ITIMER_REAL, 0); print('whole', stop.asked)"
    assert ask_to_stop(body, signal.SIGTERM) == "whole True\n"


def test_a_long_one_is_interrupted() -> None:
    body = """
try:
    busy(4)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", stop.asked)
"""
    assert ask_to_stop(body, signal.SIGTERM) == "interrupted True\n"


def test_the_way_back_is_not_cut_short() -> None:
    """interrupts.Held holds, though other threads would take the signal."""
    body = """
try:
    while not stop.asked:
        busy(0.01)
    with Held() as held:
        busy(2 * GRACE)
        print("all of it")
    print("then interrupted" if held.interrupted else "not interrupted")
except KeyboardInterrupt:
    print("cut short")
"""
    assert ask_to_stop(body, signal.SIGTERM) == "all of it\nthen interrupted\n"


def test_regress_a_signal_while_a_class_is_made_is_an_interrupt() -> None:
    """Trap: a signal during an import came in __set_name__ of a field, and left as a RuntimeError with a traceback."""

    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def work() -> None:
        type("Plan", (), {"left_out": Field()})

    with pytest.raises(KeyboardInterrupt), Held() as held:
        held.during(work)
