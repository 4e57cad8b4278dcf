"""Questions put to others about a new version: does it accept, does it answer, does the command say yes.

Each has one deadline for all of it, so that no slow answer holds up a verdict. Used by trial/look.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping

from reloader.errors import MissingFeature
from reloader.kernel import Fd, Kernel
from reloader.pipeline.checks import HostCommand, Http, Question, Tcp, host_and_port
from reloader.trial import texts
from reloader.wording.message import Message

MOST = 1 << 20  # bytes read of an answer
SHOWN = 200  # characters of a command's words


def ask(
    kernel: Kernel, question: Question, commands: Mapping[str, tuple[str, ...]], environment: Mapping[str, str]
) -> Message | None:
    """What is wrong with the answer; None: nothing."""
    try:
        match question:
            case Tcp():
                _tcp(kernel, question)
                return None
            case Http():
                return _http(kernel, question)
            case HostCommand():
                return _command(commands[question.command], question.timeout, environment)
    except TimeoutError:
        return texts.NO_ANSWER(timeout=question.timeout)
    except MissingFeature as error:  # the namespace does not exist any more
        return texts.NO_CONNECTION(why=error.message)
    except OSError as error:
        return texts.NO_CONNECTION(why=(error.strerror or str(error)).lower())


def _tcp(kernel: Kernel, question: Tcp) -> None:
    _connected(kernel, question, _Deadline(question.timeout)).close()


def _http(kernel: Kernel, question: Http) -> Message | None:
    deadline = _Deadline(question.timeout)
    where = host_and_port(question.address, question.port)
    with _connected(kernel, question, deadline) as channel:
        request = f"GET {question.path} HTTP/1.0\r\nHost: {where}\r\nUser-Agent: reloader\r\nConnection: close\r\n\r\n"
        channel.sendall(request.encode("ascii", "replace"))
        answer = _received(channel, deadline, whole=bool(question.body))
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    if status is None:
        return texts.NOT_HTTP()
    if int(status[1]) != question.status:
        return texts.STATUS_DIFFERS(status=int(status[1]), wanted=question.status)
    body = answer.partition(b"\r\n\r\n")[2]
    return None if question.body.encode() in body else texts.BODY_DIFFERS(body=question.body)


class _Deadline:
    def __init__(self, patience: float) -> None:
        self._end = time.monotonic() + patience

    def left(self) -> float:
        """Seconds; TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _connected(kernel: Kernel, question: Tcp | Http, deadline: _Deadline) -> socket.socket:
    family = socket.AF_INET6 if ":" in question.address else socket.AF_INET
    channel = socket.socket(fileno=_detached(kernel.net.stream(family, question.netns)))
    try:
        channel.settimeout(deadline.left())
        channel.connect((question.address, question.port))
    except BaseException:
        channel.close()
        raise
    return channel


def _detached(fd: Fd) -> int:
    """The number alone; whoever takes it closes it."""
    with fd:
        return os.dup(fd.fileno())


def _received(channel: socket.socket, deadline: _Deadline, *, whole: bool) -> bytes:
    """All of an answer, or the first line of it."""
    found = bytearray()
    while len(found) < MOST:
        channel.settimeout(deadline.left())
        piece = channel.recv(65536)
        found += piece
        if not piece or (not whole and b"\n" in found):
            break
    return bytes(found)


def _command(words: tuple[str, ...], patience: float, environment: Mapping[str, str]) -> Message | None:
    """Run in a session of its own, so that all of it can be ended; told what it is about by its environment."""
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    with open(os.memfd_create("answer", os.MFD_CLOEXEC), "w+b") as said:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", env={**path, **environment},
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        text = said.read(4 * SHOWN).decode(errors="replace").strip()
    first = "".join(c if c.isprintable() else "?" for c in text.partition("\n")[0][:SHOWN])
    if code == 0:
        return None
    return (texts.COMMAND_FAILED if first else texts.COMMAND_FAILED_SILENTLY)(code=code, line=first)
