"""Questions to others, asked for real: servers that answer well, badly, slowly or never, and commands of every kind."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.stage import wait_until
from reloader.bpf import netns
from reloader.bpf.live import LiveKernel
from reloader.pipeline.checks import HostCommand, Http, Tcp
from reloader.trial.network_checks import SHOWN, ask

pytestmark = pytest.mark.kernel

Answer = Callable[[socket.socket], None]
PORT = 8080


@contextlib.contextmanager
def server(sandbox: Sandbox, answer: Answer, family: int = socket.AF_INET) -> Iterator[None]:
    """On the loopback of the sandbox's receiving namespace."""
    fd = netns.inside(sandbox.rx.netns, lambda: socket.socket(family, socket.SOCK_STREAM).detach())
    with socket.socket(fileno=fd) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", PORT))
        listening.listen()
        serving = threading.Thread(target=_serve, args=[listening, answer])
        serving.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def _serve(listening: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        while True:
            channel, _ = listening.accept()
            with channel, contextlib.suppress(OSError):
                channel.recv(1000)
                answer(channel)


def says(text: bytes) -> Answer:
    return lambda channel: channel.sendall(text)


def drips(channel: socket.socket) -> None:
    """A byte now and then, for ever: each wait is short, all together are not."""
    for _ in range(100):
        channel.sendall(b"H")
        time.sleep(0.05)


def get(sandbox: Sandbox, **more: object) -> Http:
    question = Http(address="127.0.0.1", port=PORT, path="/", netns=sandbox.rx.netns, timeout=0.4)
    return replace(question, **more)  # type: ignore[arg-type]


def wrong(question: Http | Tcp) -> str:
    """The code of what is wrong; empty: nothing."""
    found = ask(LiveKernel(), question, {}, {})
    return found.code if found else ""


@pytest.mark.parametrize(
    ("answer", "body", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", "", ""),
        (b"HTTP/1.1 200 OK\r\nX: fine\r\n\r\nfine", "fine", ""),
        (b"HTTP/1.1 200 OK\r\nX: fine\r\n\r\nnot", "fine", "body-differs"),
        (b"HTTP/1.0 503 No\r\n\r\n", "", "status-differs"),
        (b"SSH-2.0-x\r\n", "", "not-http"),
        (b"", "", "not-http"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (3 << 20), "fine", "body-differs"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_answers_by_http(sandbox: Sandbox, answer: bytes, body: str, reason: str) -> None:
    with server(sandbox, says(answer)):
        assert wrong(get(sandbox, body=body, timeout=5.0)) == reason


def test_the_deadline_is_for_all_of_an_answer(sandbox: Sandbox) -> None:
    with server(sandbox, drips):
        began = time.monotonic()
        assert wrong(get(sandbox)) == "no-answer"
        assert time.monotonic() - began < 3, "each byte was given its own time"


def test_by_ipv6(sandbox: Sandbox) -> None:
    with server(sandbox, says(b"HTTP/1.1 200 OK\r\n\r\n"), socket.AF_INET6):
        assert wrong(get(sandbox, address="::1")) == ""
        assert wrong(Tcp(address="::1", port=PORT, netns=sandbox.rx.netns)) == ""


def test_nobody_there(sandbox: Sandbox) -> None:
    refused = ask(LiveKernel(), Tcp(address="127.0.0.1", port=PORT, netns=sandbox.rx.netns), {}, {})
    assert refused is not None
    assert refused.values == {"why": "connection refused"}
    assert wrong(Tcp(address="203.0.113.1", port=PORT, netns=sandbox.rx.netns)) == "no-connection"
    silent = Tcp(address="192.0.2.9", port=PORT, netns=sandbox.rx.netns, timeout=0.1)  # no such neighbour
    assert wrong(silent) == "no-answer"
    assert wrong(replace(silent, netns="/run/netns/nowhere-at-all")) == "no-connection"


def command(*words: str, timeout: float = 5.0) -> str:
    """What is wrong with a command, in words; empty: nothing."""
    question = HostCommand(command="it", timeout=timeout)
    return ask(LiveKernel(), question, {"it": words}, {"RELOADER_PIPELINE": "edge"}) or ""


def test_commands() -> None:
    assert command("/bin/true") == ""
    assert command("/bin/false") == "exit 1"
    assert command("/bin/sh", "-c", 'echo "$RELOADER_PIPELINE says no" >&2; exit 3') == "exit 3: edge says no"
    assert command("/nowhere/at/all") == "no such file or directory"
    assert command("/bin/sh", "-c", "kill -9 $$") == "exit -9"
    assert command("/bin/sh", "-c", "pwd; env | grep -c SUDO; exit 1") == "exit 1: /", "nothing of ours is inherited"
    loud = command("/bin/sh", "-c", "printf '\\033[31m'; yes | tr -d '\\n' | head -c 5000000; exit 1", timeout=30)
    assert loud == "exit 1: ?[31m" + "y" * (SHOWN - 5)


def test_a_command_leaves_nothing_running(tmp_path: Path) -> None:
    """Neither when it comes to its end, nor when it is ended."""
    for tail, answer in (("exit 0", ""), ("sleep 60", "no answer within 0.5 s")):
        noted = tmp_path / "pid"
        noted.unlink(missing_ok=True)
        assert command("/bin/sh", "-c", f"sleep 61 & echo $! > {noted}; {tail}", timeout=0.5) == answer
        child = int(noted.read_text())
        wait_until(lambda pid=child: not _lives(pid))  # type: ignore[misc]
        assert not _lives(child)


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_descriptors_are_given_back(sandbox: Sandbox) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        wrong(Tcp(address="127.0.0.1", port=PORT, netns=sandbox.rx.netns))
        command("/bin/false")
    assert set(os.listdir("/proc/self/fd")) == before
