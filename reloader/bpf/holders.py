"""Who keeps a program, map or link alive: processes with a descriptor of it, and pins. Implements Kernel.holders.

Reads all of /proc and every mounted bpf filesystem, so it is asked only when somebody is in the way.
Imports syscall and kernel.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from reloader.bpf import syscall
from reloader.errors import KernelError
from reloader.kernel import Fd


def holders(kind: str, number: int) -> tuple[str, ...]:
    """In words, as "process 812 (xdp-loader)" and "pin /sys/fs/bpf/x"; of others only what this user may see."""
    wanted = f"{kind}_id:\t{number}\n"
    return (*_processes(wanted), *_pins(wanted))


def _processes(wanted: str) -> Iterator[str]:
    for process in (p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is none of our business
            if any(wanted in _text(entry.path) for entry in os.scandir(f"/proc/{process}/fdinfo")):
                yield f"process {process} ({_text(f'/proc/{process}/comm').strip()})"


def _text(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def _pins(wanted: str) -> Iterator[str]:
    for mount in mounts():
        for base, _, names in os.walk(mount):
            for name in names:
                with contextlib.suppress(KernelError, OSError), Fd(syscall.obj_get(f"{base}/{name}")) as fd:
                    if wanted in _text(f"/proc/self/fdinfo/{fd.fileno()}"):
                        yield f"pin {base}/{name}"


def mounts() -> list[str]:
    """Where bpf filesystems are mounted, as this process sees it."""
    found = []
    with open("/proc/self/mountinfo", "rb") as file:  # a path may hold any byte; space, newline and \\ are escaped
        for line in file:
            left, _, right = line.partition(b" - ")
            if right.split(b" ")[0] == b"bpf":
                path = left.split(b" ")[4].decode("unicode_escape")  # the bytes as characters of the same number
                found.append(os.fsdecode(path.encode("latin-1")))
    return list(dict.fromkeys(found))
