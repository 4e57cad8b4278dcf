"""Network namespaces: who they are, and doing one thing inside one by way of a child process.

Only the child enters: a thread that failed to come back would leave this process in the wrong place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from reloader.bpf import libc
from reloader.errors import KernelError, MissingFeature, PermissionRefused

if TYPE_CHECKING:
    from reloader.bpf.child import Reply

OWN = "/proc/thread-self/ns/net"
INSIDE = "run this inside it (nsenter --net=…), and leave `netns` out"
NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h; ENOTTY from anything that is no namespace


def identity(path: str | None) -> str:
    """ "<st_dev>:<st_ino>" of a namespace; None is the caller's own."""
    fd = _open(path or OWN)
    try:
        return _identity(fd)
    finally:
        os.close(fd)


def inside(path: str | None, action: Callable[[], int]) -> int:
    """The descriptor that `action` makes inside a network namespace; None, or the caller's own, needs no child."""
    if path is None:
        return action()
    fd = _open(path)
    try:
        if _identity(fd) == identity(None):
            return action()
        from reloader.bpf import child

        return child.run(lambda: _enter(fd, action), subject=f"in {path}").fds[0]
    except KernelError as error:
        if (error.call, error.errno) != ("setns", errno.EPERM):
            raise
        raise PermissionRefused(
            f"{path}: to enter another network namespace takes CAP_SYS_ADMIN", hint=INSIDE
        ) from error
    finally:
        os.close(fd)


def ask(path: str | None, question: Callable[[], list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """What `question` finds inside a network namespace, as pairs of numbers. Otherwise as inside()."""
    answer: list[tuple[int, int]] = []

    def noted() -> int:
        """The answer in a file in memory, since a child hands back descriptors."""
        fd = os.memfd_create("answer", os.MFD_CLOEXEC)
        os.write(fd, b"".join(struct.pack("=QQ", *pair) for pair in question()))
        return fd

    with open(inside(path, noted), "rb") as file:
        file.seek(0)
        answer += struct.iter_unpack("=QQ", file.read())
    return answer


def _enter(fd: int, action: Callable[[], int]) -> Reply:
    from reloader.bpf.child import Reply

    libc.setns(fd, libc.CLONE_NEWNET)
    return Reply(fds=(action(),))


def _identity(fd: int) -> str:
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def _open(path: str) -> int:
    """A descriptor of a network namespace; MissingFeature when the path is none."""
    missing = MissingFeature(f"{path} is no network namespace", hint="give the path as in /run/netns/NAME")
    if not os.path.isabs(path):
        raise missing
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except (FileNotFoundError, NotADirectoryError):
        raise missing from None
    except OSError as error:
        raise KernelError("open", error.errno or errno.EIO, path) from error
    try:
        found = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        found = 0
    if found != libc.CLONE_NEWNET:
        os.close(fd)
        raise missing
    return fd
