"""crash.*: every scenario killed at every lasting effect, and failed there with every error the call can return.

The loop of `make crash`, with its points counted. Takes minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.rows import Aim, Row, note
from lab.crash import loop
from lab.crash.scenario import SCENARIOS, Scene
from lab.sandbox import Sandbox
from lab.traffic import Generator

BUILT = Path(__file__).resolve().parent.parent / "build" / "bpf"
NONE = Aim(of="value", most=0)


def rows() -> list[Row]:
    kills = [_on_a_scene(partial(loop.kill, name)) for name in SCENARIOS]
    failures = [_on_a_scene(partial(loop.fail, name, error)) for name in SCENARIOS for error in loop.ERRORS]
    return [*_rows("points", "violations", kills), *_rows("injected_errors", "error_violations", failures)]


def _rows(struck: str, violations: str, tallies: list[loop.Tally]) -> list[Row]:
    points = sum(t.struck for t in tallies)
    for text in (v for t in tallies for v in t.violations):
        note(f"crash: {text}")
    found = sum(len(t.violations) for t in tallies)
    return [
        Row(name=f"crash.{struck}", value=points, unit="points", n=len(tallies)),
        Row(name=f"crash.{violations}", value=found, unit="violations", n=points, aim=NONE),
    ]


def _on_a_scene(work: Callable[[Scene, Path, loop.Chosen], loop.Tally]) -> loop.Tally:
    with Sandbox() as sandbox, Generator(sandbox.tx, flows=4) as generator, tempfile.TemporaryDirectory() as folder:
        scene = Scene(sandbox, lambda stem: BUILT / f"{stem}.bpf.o", Path(folder), generator)
        return work(scene, Path(folder), loop.everything)
