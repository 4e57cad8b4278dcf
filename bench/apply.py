"""apply.*: the whole process of a changing and of an idle `reloader apply`, on a quiet interface. May import lab."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field

from bench.rows import Aim, Row, in_turn, median, note
from bench.stage import OBJECTS, Stage, stage
from lab.sandbox import LabError
from reloader.bpf.live import LiveKernel

RUNS = 21
KERNEL = ("Load", "SwapLink")  # what the Result says of the kernel's own work: the loading child, the link update


def rows() -> list[Row]:
    with stage() as opened:
        opened.seconds("apply", opened.write())
        return [*changed(opened), *idle(opened)]


@dataclass(slots=True)
class Changing:
    """v1 and v2 of the flow counter in turn, so that each apply is a new load and a swap."""

    stage: Stage
    versions: itertools.cycle[str] = field(default_factory=lambda: itertools.cycle(("v2", "v1")))
    version: str = "v1"
    own: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def apply(self) -> float:
        self.version = next(self.versions)
        ran = self.stage.run(self.stage.reloader("apply", self.stage.write(version=self.version), "-o", "json"))
        result = ran.document()["pipelines"][0]
        if not result["changed"]:
            raise LabError("an apply of a changed object found nothing to do")
        self.own.append(ran.seconds - sum(result["seconds"][op] for op in KERNEL))
        self.cpu.append(ran.cpu)
        return ran.seconds

    def bpftool(self) -> float:
        """The same object, loaded and pinned: no checks, no state, no swap, no way back."""
        pin = f"{self.stage.sandbox.bpffs}/bpftool"
        try:
            return self.stage.run(["bpftool", "prog", "load", str(OBJECTS[self.version]), pin]).seconds
        finally:
            with contextlib.suppress(FileNotFoundError):
                LiveKernel().pins.unpin(pin)


def changed(opened: Stage) -> list[Row]:
    note(f"apply: {RUNS} changed objects")
    work = Changing(opened)
    whole, peer = in_turn(RUNS, work.apply, work.bpftool)
    text = "bpftool prog load of the same object, a process"
    figures = (
        ("apply.changed", work.own, text, peer, Aim(of="value", most=150)),
        ("apply.changed.with_kernel", whole, text, peer, None),
        ("apply.changed.cpu", work.cpu, "python -c pass, CPU time too", [bare_cpu(opened) for _ in range(RUNS)], None),
    )
    return [
        Row(
            name=name, value=median(ours) * 1000, unit="ms", n=RUNS,
            baseline=beside, baseline_value=median(theirs) * 1000, aim=aim,
        )
        for name, ours, beside, theirs, aim in figures
    ]  # fmt: skip


def idle(opened: Stage) -> list[Row]:
    note(f"apply: {RUNS} times nothing to do")
    path = opened.write()
    opened.seconds("apply", path)
    again = opened.run(opened.reloader("apply", path, "-o", "json")).document()
    if again["pipelines"][0]["changed"]:
        raise LabError("an apply of the same text changed something")
    ours, bare = in_turn(RUNS, lambda: opened.seconds("apply", path), lambda: bare_python(opened))
    return [beside_python("apply.nochange", ours, bare, most=5)]


def bare_cpu(opened: Stage) -> float:
    return opened.run(opened.python("-c", "pass")).cpu


def bare_python(opened: Stage) -> float:
    return opened.run(opened.python("-c", "pass")).seconds


def beside_python(name: str, ours: list[float], bare: list[float], *, most: float) -> Row:
    return Row(
        name=name, value=median(ours) * 1000, unit="ms", n=len(ours),
        baseline="python -c pass", baseline_value=median(bare) * 1000, aim=Aim(of="ratio", most=most),
    )  # fmt: skip
