"""scale.*: plan and apply of many pipelines in one command, each on an interface of its own. May import lab.

Time a pipeline, and memory, must not grow with their number; and where nothing changed no object may be opened.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench.rows import Aim, Row, median, note, stopwatch
from bench.stage import Run, Stage, place_objects, stage

SETS = {1: 3, 10: 3, 100: 1, 1000: 1}  # pipelines in a command: how often, each time on fresh interfaces
FEW, MANY = 10, 1000
NOISE = 1.1  # "linear at worst", read off a machine that also does other things
OPENED = re.compile(rb'openat\([^"]*"(?P<path>[^"]*)"')


@dataclass(slots=True)
class Set:
    """Pipelines in one folder, and what became of them."""

    folder: Path
    count: int
    runs: list[Run] = field(default_factory=list)  # plan, apply

    @property
    def seconds(self) -> float:
        return sum(run.seconds for run in self.runs)

    @property
    def peak_mib(self) -> float:
        return max(run.peak_kib for run in self.runs) / 1024


def rows() -> list[Row]:
    with stage() as opened:
        interfaces = _interfaces(opened, sum(count * times for count, times in SETS.items()))
        sets = [_fresh_set(opened, count, interfaces) for count, times in SETS.items() for _ in range(times)]
        for one in sets:
            note(f"scale: plan and apply {one.count}")
            one.runs += [opened.run(opened.reloader(w, one.folder), measure_memory=True) for w in ("plan", "apply")]
        idle, opens = _nothing_to_do(opened, sets[-1])
    return [*(_row(sets, count) for count in SETS), *_summary(sets), *_idle_rows(idle, opens)]


def _interfaces(opened: Stage, count: int) -> list[str]:
    """veth pairs, both ends in use; they stay down, which XDP does not mind."""
    pairs = [(f"a{i}", f"b{i}") for i in range((count + 1) // 2)]
    text = "".join(f"link add {a} type veth peer {b}\n" for a, b in pairs)
    script = opened.sandbox.dir / "interfaces"
    script.write_text(text)
    took = stopwatch(lambda: opened.sandbox.rx.run("ip", "-batch", str(script)))
    note(f"scale: {len(pairs)} veth pairs in {took:.1f} s")
    return [name for pair in pairs for name in pair]


def _fresh_set(opened: Stage, count: int, interfaces: list[str]) -> Set:
    """So many pipelines on interfaces that no other set uses."""
    first = interfaces[0]
    folder = opened.folder / f"{count}-{first}"
    folder.mkdir()
    place_objects(folder)
    for _ in range(count):
        name = interfaces.pop(0)
        opened.write(f"edge-{name}", interface=name, small=True, folder=folder)
    return Set(folder, count)


def _nothing_to_do(opened: Stage, one: Set) -> tuple[Run, int]:
    """The same apply again: timed, then watched for every object file it opens, by whatever name."""
    note(f"scale: {one.count} with nothing to do")
    command = opened.reloader("apply", one.folder)
    timed = opened.run(command, measure_memory=True)
    trace = opened.sandbox.dir / "trace"
    opened.run([_strace(), "-f", "--seccomp-bpf", "-qq", "-e", "trace=openat", "-o", str(trace), *command])
    return timed, sum(_is_object(m["path"], opened) for m in OPENED.finditer(trace.read_bytes()))


def _strace() -> str:
    return shutil.which("strace") or "/usr/bin/strace"


def _is_object(path: bytes, opened: Stage) -> bool:
    return path.endswith(b".bpf.o") or path.startswith(bytes(opened.sandbox.records / "objects") + b"/")


def _row(sets: list[Set], count: int) -> Row:
    found = [one.seconds for one in sets if one.count == count]
    return Row(name=f"scale.pipelines.{count}", value=median(found), unit="s", n=len(found))


def _each(sets: list[Set], count: int) -> float:
    """Milliseconds a pipeline."""
    return median([one.seconds / count * 1000 for one in sets if one.count == count])


def _peak(sets: list[Set], count: int) -> float:
    return median([one.peak_mib for one in sets if one.count == count])


def _summary(sets: list[Set]) -> list[Row]:
    linear = Aim(of="ratio", most=NOISE)
    per_pipeline = Row(
        name="scale.pipelines", value=_each(sets, MANY), unit="ms a pipeline", n=SETS[MANY],
        baseline=f"a pipeline among {FEW}; here among {MANY:,}", baseline_value=_each(sets, FEW), aim=linear,
    )  # fmt: skip
    memory = Row(
        name="scale.memory", value=_peak(sets, MANY), unit="MiB at most", n=SETS[MANY],
        baseline=f"{FEW} pipelines; here {MANY:,}", baseline_value=_peak(sets, FEW),
        aim=Aim(of="ratio", most=MANY / FEW),
    )  # fmt: skip
    return [per_pipeline, memory]


def _idle_rows(idle: Run, opens: int) -> list[Row]:
    return [
        Row(name="scale.nochange", value=idle.seconds * 1000 / MANY, unit="ms a pipeline", n=1),
        Row(name="scale.objects_opened", value=opens, unit="objects", n=1, aim=Aim(of="value", most=0)),
    ]
