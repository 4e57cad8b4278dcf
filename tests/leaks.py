"""What a kernel test must leave as it found it: descriptors, kernel ids, pins, namespaces, children.

Other processes of the machine load programs too. A new id counts against the test unless one of them
holds it: by a descriptor, by a pin in a bpffs that is not ours, or through an object it holds.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lab.sandbox import leftovers

GRACE = 10.0  # seconds, on a busy machine: the kernel frees programs, maps and links after an RCU grace period
MARK = "RELOADER_TEST_RUN"  # in the environment of everything a test run starts
PATIENCE = 0.1  # seconds, before asking who else holds a new id
KINDS = ("prog", "map", "link")
ID_LINE = re.compile(r"^(prog|map|link)_id:\t(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Sets of what exists; ids are the kernel's, of the whole machine."""

    descriptors: frozenset[str]  # "<number> <what it is>" of this process
    children: frozenset[str]
    sandboxes: frozenset[str]  # namespaces and directories that carry our process id
    ids: frozenset[tuple[str, int]]  # ("prog" | "map" | "link", id)

    def leaked_since(self, before: Snapshot) -> dict[str, list[str]]:
        """What is here and was not there before, by kind; empty when nothing is."""
        grown = {f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)}
        return {name: sorted(map(str, more)) for name, more in grown.items() if more}


def take() -> Snapshot:
    return Snapshot(
        descriptors=frozenset(_descriptors()),
        children=frozenset(_children()),
        sandboxes=frozenset(leftovers(of=os.getpid())),
        ids=frozenset((kind, found) for kind in KINDS for found in kernel_ids(kind)),
    )


def check(before: Snapshot) -> dict[str, list[str]]:
    """What leaked since `before`, once the kernel had time to free what was let go.

    The test is over, so an id that turns up later is somebody else's; so is one that somebody else was
    once seen to hold. Ids are never used twice.
    """
    started = time.monotonic()
    suspects = take().ids - before.ids
    while True:
        gc.collect()
        now = take()
        suspects &= now.ids
        leaked = replace(now, ids=before.ids | suspects).leaked_since(before)
        if not leaked or time.monotonic() > started + GRACE:
            return leaked
        if suspects and time.monotonic() > started + PATIENCE:
            suspects -= held_by_others()
        time.sleep(0.02)


def _descriptors() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists the directory
            yield f"{number} {os.readlink(f'/proc/self/fd/{number}')}"


def mark_descendants() -> None:
    """From here on every process this one starts is known as its own, even when init has inherited it."""
    os.environ[MARK] = str(os.getpid())


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


def kernel_ids(kind: str) -> list[int]:
    """Ids of all programs, maps or links of the machine."""
    return [entry["id"] for entry in _bpftool(kind, "show") if "id" in entry]  # it may vanish under bpftool's hands


def _bpftool(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["bpftool", "-j", *words], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def held_by_others() -> set[tuple[str, int]]:
    """Ids that processes other than this one and its descendants hold, directly or through a link or program."""
    held = set(_foreign_descriptors()) | set(_foreign_pins())
    progs, links = (
        {entry["id"]: entry for entry in _bpftool(kind, "show") if "id" in entry} for kind in ("prog", "link")
    )
    held |= {("prog", links[found].get("prog_id", 0)) for kind, found in held if kind == "link" and found in links}
    return held | {
        ("map", map_id)
        for kind, found in held
        if kind == "prog" and found in progs
        for map_id in progs[found].get("map_ids", ())
    }


def _foreign_descriptors() -> Iterator[tuple[str, int]]:
    ours = {os.getpid(), *(int(child.split()[0]) for child in _children())}
    for process in (p for p in os.listdir("/proc") if p.isdigit() and int(p) not in ours):
        with contextlib.suppress(OSError):  # it ended meanwhile
            for entry in os.scandir(f"/proc/{process}/fdinfo"):
                text = Path(entry.path).read_text()
                yield from ((kind, int(found)) for kind, found in ID_LINE.findall(text))


def _foreign_pins() -> Iterator[tuple[str, int]]:
    mine = f"/rl-{os.getpid()}-"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, kind = line.split()[4], line.split(" - ", 1)[1].split()[0]
        if kind == "bpf" and mine not in mount:
            yield from _pinned_below(mount)


def _pinned_below(mount: str) -> Iterator[tuple[str, int]]:
    for base, _, names in os.walk(mount):
        for name in names:
            yield from _identify(f"{base}/{name}")


def _identify(pin: str) -> Iterator[tuple[str, int]]:
    for kind in KINDS:
        done = subprocess.run(["bpftool", "-j", kind, "show", "pinned", pin], capture_output=True, check=False)
        if done.returncode == 0:
            yield kind, json.loads(done.stdout)["id"]
            return
