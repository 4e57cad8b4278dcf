"""What the tests of health and of trials share: a stage that leaves no guard, a server behind the interface, commands
that go on beside the test, and counts of the test's own packets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.stage import ROOT, Done, Stage, hear_signals, wait_until
from reloader.bpf import netns
from reloader.disk.lock import wait_for_lock
from reloader.store import records
from reloader.store.records import Trial
from reloader.store.trial_terms import now

PASS, DROP = {"default_verdict": "XDP_PASS"}, {"default_verdict": "XDP_DROP"}
PORT = 8080
UDP = 17
PROTO = 12  # offset in struct flow_key
PACKETS_AT = {"v1": 0, "v2": 0, "v3": 8}  # offset in struct flow


def guards(stage: Stage) -> list[int]:
    """Living guards of this sandbox: forked from a command on its records, or from this very process."""
    records, here = str(stage.sandbox.records).encode(), _stack("self")
    found = [pid for pid in _processes() if _is_guard(pid) and (records in _words(pid) or _stack(pid) == here)]
    return [pid for pid in found if _parent(pid) not in found]  # a check in another namespace forks for a moment


def _stack(pid: int | str) -> str:
    """Where its stack starts: chosen at random at each exec, and kept by a fork."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[25]
    return ""


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_guard(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip() == "reloader-guard" and state not in "ZX"
    return False


def _words(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def assert_no_guard(stage: Stage) -> None:
    wait_until(lambda: not guards(stage), 10)
    left = guards(stage)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == [], "a guard is left"


@contextlib.contextmanager
def server(stage: Stage) -> Iterator[None]:
    """A server behind the interface under test, in the namespace of its own."""
    fd = netns.inside(stage.sandbox.rx.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach())
    with socket.socket(fileno=fd) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((stage.sandbox.rx.address, PORT))
        listening.listen()
        serving = threading.Thread(target=_serve, args=[listening])
        serving.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def _serve(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            channel, _ = listening.accept()
            with channel, contextlib.suppress(OSError):
                channel.settimeout(1)
                if channel.recv(1000):
                    channel.sendall(b"HTTP/1.0 200 OK\r\n\r\nall is fine here\n")


def where(stage: Stage) -> str:
    return f"{stage.sandbox.rx.address}:{PORT}"


def tcp(stage: Stage, **more: Any) -> dict[str, Any]:
    """From the other end of the wire: it goes through the program under test."""
    return {"tcp": where(stage), "netns": stage.sandbox.tx.name, "timeout": "200ms", **more}


def health(*checks: dict[str, Any], window: str = "400ms", interval: str = "100ms", **more: Any) -> dict[str, Any]:
    return {"window": window, "interval": interval, "checks": list(checks), **more}


def trial_of(stage: Stage, name: str = "") -> Trial | None:
    current = records.read_current(stage.paths, name or stage.name)
    return current.trial if current else None


def expire(stage: Stage, *, grace: float | None = None) -> None:
    """Its time is up: the record says so, and nobody has to wait for it."""
    current = records.read_current(stage.paths, stage.name)
    assert current is not None
    assert current.trial is not None
    trial = replace(current.trial, until=now() - 1, grace=current.trial.grace if grace is None else grace)
    records.write_current(stage.paths, replace(current, trial=trial))


def generation_of(stage: Stage, name: str = "") -> int:
    current = records.read_current(stage.paths, name or stage.name)
    return current.generation if current else 0


def on_trial(stage: Stage, name: str = "") -> Trial:
    """The trial, once it is open and the transaction that opened it is over."""
    wait_until(lambda: trial_of(stage, name) is not None, 20)
    with wait_for_lock(stage.host, 20):
        pass
    found = trial_of(stage, name)
    assert found is not None, "no trial was opened"
    return found


def settled(stage: Stage, seconds: float = 20) -> None:
    """Return once nothing is on trial any more."""
    wait_until(lambda: trial_of(stage) is None, seconds)
    assert trial_of(stage) is None, "the trial goes on"


def verdict(stage: Stage) -> str:
    """What the version that serves does with what it does not block, as its wish says."""
    generation = records.read_generation(stage.paths, stage.name, generation_of(stage))
    return {1: "XDP_DROP", 2: "XDP_PASS"}[int.from_bytes(generation.wish.rodata["default_verdict"], "little")]


def udp_counted(stage: Stage, version: str = "v1") -> int:
    """Packets of UDP flows in `flows`: what tests send, without what checks send."""
    at = PACKETS_AT[version]
    found = stage.items("flows").items()
    return sum(int.from_bytes(value[at : at + 8], "little") for key, value in found if key[PROTO] == UDP)


def outcomes(stage: Stage) -> dict[int, str]:
    """Generation → how its trial ended."""
    rows = stage.call("history", stage.name)["generations"]
    return {row["generation"]: row["outcome"] for row in rows}


class Beside:
    """A command that goes on while the test does something else."""

    def __init__(self, stage: Stage, *words: str | Path, prefix: tuple[str, ...] = (), **options: Any) -> None:
        command = [*prefix, sys.executable, "-m", "reloader", *map(str, words), *stage.where]
        defaults: dict[str, Any] = {
            "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT,
            "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "preexec_fn": hear_signals,
        }  # fmt: skip
        self.process = subprocess.Popen(command, **{**defaults, **options})

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def done(self, seconds: float = 30) -> Done:
        out, err = self.process.communicate(timeout=seconds)
        return Done(code=self.process.returncode, out=out or "", err=err or "")
