"""fuzz.*: damaged input of every sort, with and without a pipeline that serves, and how many ended in a traceback,
a hang or a change. The loops of `make fuzz`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.rows import Aim, Row, note
from lab.fuzz import inputs, serving
from lab.fuzz.harness import Tally
from lab.sandbox import Sandbox
from lab.stage import Stage, on_stage

TIMES = 4  # as many as `make test` takes
SERVING = ((serving.offered, 400), (serving.records, 200), (serving.records_by_hand, 200))


def rows() -> list[Row]:
    tallies = [_in_a_folder(sort) for sort in inputs.SORTS] + [_on_a_stage(loop, count) for loop, count in SERVING]
    failures = [failure for tally in tallies for failure in tally.failures]
    for failure in failures:
        note(f"fuzz: {failure}")
    count = sum(tally.inputs for tally in tallies)
    return [
        Row(name="fuzz.inputs", value=count, unit="inputs", n=len(tallies)),
        Row(name="fuzz.tracebacks", value=len(failures), unit="failures", n=count, aim=Aim(of="value", most=0)),
    ]


def _in_a_folder(sort: str) -> Tally:
    make, count = inputs.SORTS[sort]
    note(f"fuzz: {count * TIMES} {sort}")
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder), count * TIMES)


def _on_a_stage(loop: Callable[[Stage, int], Tally], count: int) -> Tally:
    note(f"fuzz: {count} {loop.__name__}, over a pipeline that serves")
    with (
        Sandbox() as sandbox,
        tempfile.TemporaryDirectory() as folder,
        on_stage(sandbox, lambda stem: inputs.BUILT / f"{stem}.bpf.o", Path(folder)) as stage,
    ):
        return loop(stage, count)
