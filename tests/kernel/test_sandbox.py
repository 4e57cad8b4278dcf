"""The lab's sandbox: whole when open, gone when closed, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.sandbox import LabError, Sandbox, leftovers, sweep

pytestmark = pytest.mark.kernel

HOLD = """
import sys, time
from lab.sandbox import Sandbox
with Sandbox() as sandbox:
    print(sandbox.name, flush=True)
    time.sleep(60)
"""


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")


def hold() -> tuple[subprocess.Popen[str], str]:
    """A process that opened a sandbox, and the sandbox's name."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


def finish(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.communicate(timeout=10)


def test_the_ends_reach_each_other(sandbox: Sandbox) -> None:
    sandbox.tx.run("python3", "-c", f"import socket; socket.socket(type=2).sendto(b'x', ('{sandbox.rx.address}', 9))")
    udp = sandbox.rx.run("cat", "/proc/net/snmp")
    header, values = (line.split() for line in udp.splitlines() if line.startswith("Udp:"))
    assert dict(zip(header, values, strict=True))["NoPorts"] == "1"


def test_bpffs_is_its_own(sandbox: Sandbox) -> None:
    assert f" {Path(sandbox.bpffs).parent} " in mounts()
    assert sandbox.pins() == []


def test_nothing_remains_after_an_exception() -> None:
    with pytest.raises(RuntimeError), Sandbox() as opened:
        raise RuntimeError
    assert opened.name not in mounts()
    assert not opened.dir.exists()
    assert leftovers(of=os.getpid()) == []


def test_a_failed_opening_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Sandbox) -> None:
        raise LabError("no network")

    monkeypatch.setattr(Sandbox, "_make_network", fail)
    with pytest.raises(LabError):
        Sandbox().open()
    assert leftovers(of=os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_remains_after_a_signal(number: signal.Signals) -> None:
    process, name = hold()
    assert name in mounts()
    finish(process, number)
    assert name not in mounts()
    assert leftovers(of=process.pid) == []


@pytest.mark.alone
def test_a_killed_process_is_swept_up_after() -> None:
    process, name = hold()
    finish(process, signal.SIGKILL)
    assert name in mounts()
    assert name in sweep()
    assert name not in mounts()
    assert leftovers(of=process.pid) == []


def test_a_living_process_is_not_swept() -> None:
    process, name = hold()
    try:
        assert name not in sweep()
        assert name in mounts()
    finally:
        finish(process, signal.SIGTERM)
