"""A sandbox with pipelines in it, and commands timed as whole processes, inside its network namespace.

They run where the interfaces are, as on most hosts: to enter another namespace costs a child process.
May import lab and reloader.bpf.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.sandbox import LabError, Sandbox
from lab.traffic import ROOT
from reloader.bpf import libc

BUILT = ROOT / "build" / "bpf"
OBJECTS = {
    "v1": BUILT / "programs/flow_count/flow_count.bpf.o",
    "v2": BUILT / "lab/bpf/flow_count_v2.bpf.o",
}
MORE = {"v1": "", "v2": "    sizes: {role: scratch}\n"}  # v2 counts packet sizes too
SMALL = ", max_entries: 64"
PIPELINE = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  objects: [{version}.bpf.o]
  rodata: {{default_verdict: XDP_DROP}}
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, mode: native}}
  maps:
    flows: {{role: state{small}}}
    counters: {{role: state}}
    events: {{role: stream{ring}}}
{more}    blocklist: {{role: config{small}, {entries}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A process that came to its end."""

    seconds: float
    cpu: float  # seconds of it and its children; what a busy machine does not stretch
    out: str
    peak_kib: int = 0  # of memory; 0 unless asked for

    def document(self) -> dict[str, Any]:
        """What `-o json` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(slots=True)
class Stage:
    """A folder of YAML in a sandbox, and reloader run on it."""

    sandbox: Sandbox
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.sandbox.dir / "yaml"

    def write(
        self, name: str = "edge", version: str = "v1", *, entries: str = "entries: []", interface: str = "",
        small: bool = False, folder: Path | None = None,
    ) -> Path:  # fmt: skip
        """A pipeline's YAML. `small` maps: what is measured is not how fast the kernel zeroes memory."""
        text = PIPELINE.format(
            name=name, version=version, interface=interface or self.sandbox.rx.interface, entries=entries,
            more=MORE[version], small=SMALL if small else "", ring=", max_entries: 4096" if small else "",
        )  # fmt: skip
        path = (folder or self.folder) / f"{name}.yaml"
        path.write_text(text)
        return path

    def python(self, *words: str | Path) -> list[str]:
        return [sys.executable, *map(str, words)]

    def reloader(self, *words: str | Path) -> list[str]:
        """A command line; the package is found in the checkout, whatever else is installed."""
        where: list[str | Path] = ["--bpffs", self.sandbox.bpffs, "--records", self.sandbox.records]
        return self.python("-m", "reloader", *words, *where)

    def run(self, command: list[str], *, measure_memory: bool = False) -> Run:
        """The whole process, from before fork to after wait; LabError when it fails."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            started, used = time.perf_counter(), _cpu_of_children()
            with subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=err) as process:
                peak = _peak_of(process) if measure_memory else 0
            seconds, cpu = time.perf_counter() - started, _cpu_of_children() - used
            out.seek(0)
            err.seek(0)
            printed, said = out.read(), err.read()
        if process.returncode:
            raise LabError(f"{' '.join(command)}: exit {process.returncode}: {(said or printed)[-2000:]}")
        return Run(seconds=seconds, cpu=cpu, out=printed, peak_kib=peak)

    def seconds(self, *words: str | Path) -> float:
        return self.run(self.reloader(*words)).seconds


def _cpu_of_children() -> float:
    """Seconds, of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_of(process: subprocess.Popen[bytes]) -> int:
    """VmHWM until the process ends. rusage would not do: it also counts the parent's memory at the fork."""
    peak = 0
    with contextlib.suppress(OSError, StopIteration):
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as file:
                peak = int(next(line for line in file if line.startswith("VmHWM")).split()[1])
            time.sleep(0.02)
    return peak


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A fresh sandbox, with the objects beside the YAML; this process is in its receiving namespace meanwhile."""
    with Sandbox() as sandbox, _inside(sandbox.rx.netns):
        opened = Stage(sandbox, _environment(sandbox))
        opened.folder.mkdir()
        place_objects(opened.folder)
        yield opened


@contextlib.contextmanager
def _inside(netns: str) -> Iterator[None]:
    with open("/proc/self/ns/net") as own, open(netns) as other:
        libc.setns(other.fileno(), libc.CLONE_NEWNET)
        try:
            yield
        finally:
            libc.setns(own.fileno(), libc.CLONE_NEWNET)


def place_objects(folder: Path) -> None:
    for version, path in OBJECTS.items():
        shutil.copyfile(path, folder / f"{version}.bpf.o")


def _environment(sandbox: Sandbox) -> dict[str, str]:
    """Ours, with bytecode kept: where it must not be written into the checkout (sudo), it goes to the sandbox."""
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment["PYTHONPYCACHEPREFIX"] = str(sandbox.dir / "bytecode")
    return environment
