"""What a kernel test must leave as it found it: descriptors, kernel objects, pins, namespaces, children.

Only what is ours is looked at: what this process and its descendants hold, what is pinned in bpf filesystems of our
sandboxes, and what was pinned there when a sandbox closed, which must leave the kernel then. So another process that
loads programs at the same time, a second run of these tests for example, turns nothing red.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from lab import sandbox as lab
from reloader.bpf import syscall
from reloader.bpf.syscall import Command
from reloader.errors import KernelError

GRACE = 10.0  # seconds, on a busy machine: the kernel frees programs, maps and links after an RCU grace period
MARK = "RELOADER_TEST_RUN"  # in the environment of everything a test run starts
BY_ID = {
    "prog": Command.BPF_PROG_GET_FD_BY_ID,
    "map": Command.BPF_MAP_GET_FD_BY_ID,
    "link": Command.BPF_LINK_GET_FD_BY_ID,
}
ID_LINE = re.compile(r"^(prog|map|link)_id:\t(\d+)$", re.MULTILINE)

Id = tuple[str, int]  # ("prog" | "map" | "link", the kernel's id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Sets of what exists and is ours."""

    descriptors: frozenset[str]  # "<number> <what it is>" of this process
    children: frozenset[str]
    sandboxes: frozenset[str]  # namespaces and directories that carry our process id
    ids: frozenset[Id]  # what a process or a pin of ours holds, directly or through a link or program
    closed: frozenset[Id] = field(default_factory=frozenset)  # what sandboxes had pinned when they closed

    def leaked_since(self, before: Snapshot) -> dict[str, list[str]]:
        """What is here and was not there before, by kind; empty when nothing is."""
        grown = {f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)}
        return {name: sorted(map(str, more)) for name, more in grown.items() if more}


_pinned_at_close: set[Id] = set()


def take() -> Snapshot:
    return Snapshot(
        descriptors=frozenset(_descriptors()),
        children=frozenset(_children()),
        sandboxes=frozenset(lab.leftovers(of=os.getpid())),
        ids=frozenset(_ids()),
        closed=frozenset(found for found in _pinned_at_close if _exists(*found)),
    )


def check(before: Snapshot) -> dict[str, list[str]]:
    """What leaked since `before`, once the kernel had time to free what was let go."""
    started = time.monotonic()
    while True:
        gc.collect()
        leaked = take().leaked_since(before)
        if not leaked or time.monotonic() > started + GRACE:
            return leaked
        time.sleep(0.02)


def _descriptors() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists the directory
            yield f"{number} {os.readlink(f'/proc/self/fd/{number}')}"


def mark_descendants() -> None:
    """From here on every process this one starts is known as its own, even when init has inherited it."""
    os.environ[MARK] = str(os.getpid())
    lab.before_close.append(lambda closing: _pinned_at_close.update(_with_what_they_hold(_pinned(closing.bpffs))))


def _children() -> Iterator[str]:
    """Living descendants; zombies are children that nobody waited for."""
    mine = f"{MARK}={os.getpid()}".encode()
    direct = {
        p for t in os.listdir("/proc/self/task") for p in Path(f"/proc/self/task/{t}/children").read_text().split()
    }
    for process in (p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if process in direct or mine in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                yield f"{process} {Path(f'/proc/{process}/comm').read_text().strip()}"


def _ids() -> set[Id]:
    ours = (os.getpid(), *(int(child.split()[0]) for child in _children()))
    direct = {found for process in ours for found in _held_by(process)}
    return _with_what_they_hold(direct.union(*(_pinned(opened.bpffs) for opened in lab.opened())))


def _held_by(process: int) -> Iterator[Id]:
    """What a process has descriptors of."""
    with contextlib.suppress(OSError):  # it ended
        for number in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{process}/fd/{number}").startswith("anon_inode:bpf"):
                    yield from _ids_in(f"/proc/{process}/fdinfo/{number}")


def _pinned(folder: str) -> Iterator[Id]:
    """What is pinned below a folder."""
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(KernelError):  # unpinned just now
                fd = syscall.obj_get(f"{base}/{name}")
                try:
                    yield from _ids_in(f"/proc/self/fdinfo/{fd}")
                finally:
                    os.close(fd)


def _ids_in(fdinfo: str) -> list[Id]:
    return [(kind, int(found)) for kind, found in ID_LINE.findall(Path(fdinfo).read_text())]


def _with_what_they_hold(held: Iterable[Id]) -> set[Id]:
    """A link's program stands in its descriptor's own lines; a program's maps are asked of the kernel."""
    found = set(held)
    for kind, number in [one for one in found if one[0] == "prog" and one[1]]:
        with contextlib.suppress(KernelError):
            fd = syscall.fd_by_id(BY_ID[kind], number)
            try:
                found.update(("map", used) for used in syscall.prog_info(fd).map_ids)
            finally:
                os.close(fd)
    return found


def _exists(kind: str, number: int) -> bool:
    try:
        os.close(syscall.fd_by_id(BY_ID[kind], number))
    except KernelError:
        return False
    return True
