"""What machine the figures are from. May import reloader.bpf."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reloader.bpf import libbpf


def facts() -> dict[str, Any]:
    """Kernel, processors, and the versions of all that takes part."""
    return {
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "python": platform.python_version(),
        "libbpf": _libbpf(),
        "bpftool": _first_line("bpftool", "version"),
        "xdp_loader": _first_line("xdp-loader", "load", "--version"),
        "load_before": load(),  # how much else was going on
    }


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Before the machine's other work: for what takes two CPUs and is held against what takes one.

    Threads and processes begun meanwhile inherit it.
    """
    policy, settings = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, settings)


@contextlib.contextmanager
def preferred() -> Iterator[None]:
    """The same by weight, so that among the bench's own tasks time is shared as ever.

    Where the kernel shares it among sessions first (autogroup), niceness alone counts for nothing.
    """
    before, group = os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/autogroup")
    sessions = group.read_text().split()[-1] if group.exists() else ""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        if sessions:
            group.write_text("-20")
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        if sessions:
            group.write_text(sessions)


def load() -> float:
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def _libbpf() -> str:
    """The version in the name of the file that is mapped once libbpf is in use."""
    libbpf.library()
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libbpf.so." in line}
    return mapped.pop().rpartition(".so.")[2] if mapped else "unknown"


def _first_line(*command: str) -> str | None:
    """What a tool says first; None when it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else None
