"""What machine the figures are from. May import reloader.bpf."""

from __future__ import annotations

import os
import platform
import subprocess
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
