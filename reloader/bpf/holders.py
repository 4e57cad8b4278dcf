"""Who keeps a program, map or link alive: processes with a descriptor of it, and pins. Implements Kernel.holders.

Reads all of /proc and every mounted bpf filesystem, so it is asked only when somebody is in the way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from reloader.bpf import syscall
from reloader.errors import KernelError
from reloader.kernel import Fd

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")


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
    with open("/proc/self/mountinfo", "rb") as file:
        return mounts_in(file.read())


def mounts_in(mountinfo: bytes) -> list[str]:
    """The same from the text of a mountinfo file. Pure.

    The kernel writes space, tab, line feed and backslash as octal numbers; all other bytes stand as they are.
    """
    found = []
    for line in filter(None, mountinfo.split(b"\n")):  # a path may hold any other white space
        left, _, right = line.partition(b" - ")
        if right.split(b" ", 1)[0] == b"bpf":
            found.append(os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), left.split(b" ")[4])))
    return list(dict.fromkeys(found))
