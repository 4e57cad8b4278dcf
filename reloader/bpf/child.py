"""One task in a forked child: descriptors and a small JSON reply come back over a socket.

A crash or a hang in there costs one command, not this process. The child runs nothing but the task:
no atexit, no signal handlers of the parent's, no threads, and it dies with the parent.
Used by loader.py and netns.py.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import field
from typing import Any

from reloader.bpf import libc
from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.process.interrupts import STOPPING, Held

PATIENCE = 120.0  # seconds
LONGEST = 4096  # bytes of a message
SAID = 128  # characters of the kernel's own words
FAILED = b"failed "  # how a message begins that tells of a failed call, and needs no descriptor
AT_ONCE = 250  # descriptors in a message; the kernel's SCM_MAX_FD is 253


@frozen
class Reply:
    """What a task hands back. In the parent the descriptors are the caller's to close."""

    fds: tuple[int, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


class ChildDied(KernelError):
    """The child ended without an answer: by a signal, or because it took too long."""

    def __str__(self) -> str:
        return f"{self.call} {self.subject}"


def run(task: Callable[[], Reply], *, subject: str, patience: float = PATIENCE) -> Reply:
    """The task's reply; KernelError when it raised one, ChildDied when it did not come to an end."""
    received: list[int] = []
    with Held() as held:  # else a signal could leave the child behind, or start the parent's way back in it
        ours, pid = _start(task)
        with ours:
            try:
                report = held.during(lambda: _receive(ours, received, time.monotonic() + patience))
            except TimeoutError:
                report = {"late": True}
            except BaseException:
                _close(received)
                raise
            finally:
                status = _reap(pid)
    if held.interrupted:
        _close(received)
        raise KeyboardInterrupt
    if report is None or "data" not in report:
        _close(received)
        raise _failure(report, status, subject, patience)
    return Reply(fds=tuple(received), data=report["data"])


def require_descriptors(count: int) -> None:
    """KernelError, EMFILE or ENFILE, when so many more cannot be opened. Libraries that meet the limit take it for a
    file or a kernel feature that is missing."""
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count))
    except OSError as error:
        raise KernelError("open", error.errno or errno.EMFILE, f"{count} file descriptors") from error
    finally:
        _close(opened)


# the parent's side


def _start(task: Callable[[], Reply]) -> tuple[socket.socket, int]:
    """Our end of the socket, and the child's process id."""
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise KernelError("socketpair", error.errno or errno.EIO) from error
    with theirs:
        try:
            return ours, _fork(task, theirs)
        except OSError as error:  # no more processes, or no memory for one
            ours.close()
            raise KernelError("fork", error.errno or errno.EIO) from error


def _receive(ours: socket.socket, received: list[int], deadline: float) -> dict[str, Any] | None:
    """Collect descriptors up to the report, which is the last one; None when the child ended before it."""
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    while True:
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        tag, control, flags, _ = ours.recvmsg(LONGEST, socket.CMSG_SPACE(4 * AT_ONCE), socket.MSG_CMSG_CLOEXEC)
        for _, _, fds in control:  # socket.recv_fds drops its flags, and so would leave them open on exec
            received.extend(array("i", fds[: len(fds) // 4 * 4]))
        if flags & socket.MSG_CTRUNC:  # this process may open no more
            raise KernelError("recvmsg", errno.EMFILE, "descriptors of a child process")
        if tag.startswith(FAILED):
            failed: dict[str, Any] = json.loads(tag.removeprefix(FAILED))
            return failed
        if tag != b"more":
            return _read_report(received.pop()) if tag else None


def _read_report(fd: int) -> dict[str, Any]:
    with open(fd, "rb") as file:
        file.seek(0)
        report: dict[str, Any] = json.load(file)
        return report


def _failure(report: dict[str, Any] | None, status: int, subject: str, patience: float) -> KernelError:
    if report is None:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        end = (
            f"died of {signal.Signals(number).name}"
            if number
            else f"ended with status {os.waitstatus_to_exitcode(status)}"
        )
        died = ChildDied("the child process", errno.EIO, f"{subject} {end}")
        died.reason, died.values = "child_died", {"signal": signal.Signals(number).name if number else ""}
        died.hint = "this is a fault of libbpf's or reloader's with this input: report it, with the object"
        return died
    if "late" in report:
        late = ChildDied("the child process", errno.ETIMEDOUT, f"{subject} was ended after {patience:g} s")
        late.reason, late.values = "child_late", {"seconds": patience}
        late.hint = "try again when the host is less busy"
        return late
    return KernelError(report["call"], report["errno"], report["subject"], said=report.get("said", ""))


def _reap(pid: int) -> int:
    """End the child, unless it has ended by itself; its wait status (what a signal killed keeps that signal)."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    except (ProcessLookupError, ChildProcessError):  # where SIGCHLD is ignored, the kernel reaps
        return 0


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


# the child's side


def _fork(task: Callable[[], Reply], channel: socket.socket) -> int:
    """The child's process id, in the parent; the child never comes back."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    handled = sys.exc_info()[1]  # by the parent, at the fork; no failure of ours
    try:
        _become_quiet(parent)
        _answer(task, channel)
    finally:
        try:
            if sys.exc_info()[1] is not handled:
                import traceback

                traceback.print_exc()
                os._exit(1)
        finally:  # a traceback that cannot be written must not lead into the parent's code
            os._exit(0 if sys.exc_info()[1] is handled else 1)  # nothing of the parent's is flushed or run


def _become_quiet(parent: int) -> None:
    """No handlers or finalizers of the parent's run in here, and no child outlives its parent."""
    gc.disable()
    if "faulthandler" in sys.modules:
        sys.modules["faulthandler"].disable()  # a crash in here is reported by the parent
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):  # a ^C reaches the whole group: the parent answers it, and ends us
            signal.signal(number, signal.SIG_IGN if number in STOPPING else signal.SIG_DFL)
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _answer(task: Callable[[], Reply], channel: socket.socket) -> None:
    try:
        reply = task()
        for at in range(0, len(reply.fds), AT_ONCE):
            socket.send_fds(channel, [b"more"], reply.fds[at : at + AT_ONCE])
        _send_report(channel, {"data": reply.data})
    except OSError as error:
        told = (
            error
            if isinstance(error, KernelError)
            else KernelError("the child process", error.errno or errno.EIO, str(error.filename or ""))
        )
        failed = {
            "call": told.call,
            "errno": told.errno,
            "subject": told.subject[: LONGEST // 16],
            "said": told.said[:SAID],
        }
        channel.send(FAILED + json.dumps(failed).encode())  # at most six bytes a character


def _send_report(channel: socket.socket, report: dict[str, Any]) -> None:
    """By memory file: a verifier's log is longer than a message may be."""
    fd = os.memfd_create("report", os.MFD_CLOEXEC)
    with open(fd, "wb") as file:
        file.write(json.dumps(report).encode())
        file.flush()
        socket.send_fds(channel, [b"report"], [fd])
