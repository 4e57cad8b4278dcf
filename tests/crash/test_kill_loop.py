"""Whatever dies, each attachment runs the old or the new version, and after `recover` all of one of them.

For a first apply, a new load, a configuration change, a rollback and a removal: SIGKILL before and after
lasting effects (a fixed spread; `make crash` takes every one), then recover, on the real kernel and with
packets counted throughout. A last test exchanges two ops and must see the same checks turn red.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from tests.crash.scenario import SCENARIOS, Scene, Violation

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

EVERY = os.environ.get("CRASH") == "all"
SPREAD = 13  # points per scenario in `make test`


@pytest.fixture
def scene(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Scene]:
    with Generator(sandbox.tx, flows=4) as generator:
        yield Scene(sandbox, objects, tmp_path, generator)


def gated(scene: Scene, mode: str, when: str, point: str | int, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.crash.gated", mode, when, str(point), "--", *words, *scene.where]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


Point = tuple[str, str, str]  # when, "<how often> <effect>", the effect's name


def points_of(scene: Scene, words: list[str], out: Path) -> list[Point]:
    """Every point of a command, in order: before and after each lasting effect."""
    done = gated(scene, "count", "before", str(out), words)
    assert done.returncode == 0, done.stderr
    rows = (line.split(" ", 2) for line in out.read_text().splitlines())
    return [(when, f"{times} {name}", name) for when, times, name in rows]


def spread(points: list[Point]) -> list[Point]:
    """All of them, or a fixed spread that has the first and the last."""
    if EVERY or len(points) <= SPREAD:
        return points
    return [points[round(i * (len(points) - 1) / (SPREAD - 1))] for i in range(SPREAD)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_point(name: str, scene: Scene, tmp_path: Path) -> None:
    prepare, words = SCENARIOS[name]
    prepare(scene)
    points = points_of(scene, words(scene), tmp_path / "effects")
    assert len(points) >= 8, points
    scene.reset()
    violations = []
    for when, point, effect in spread(points):
        prepare(scene)
        before = scene.view()
        killed = gated(scene, "kill", when, point, words(scene))
        not_reached = killed.returncode == 0 and effect.startswith("write cache/")  # it is not written every time
        assert killed.returncode == -signal.SIGKILL or not_reached, (when, effect, killed.stderr)
        violations += [f"{name}, {when} {point}: {v}" for v in _judge(scene, before, name)]
        scene.reset()
    print(f"{name}: {len(spread(points))} points of {len(points)}, {len(violations)} violations")
    assert not violations, "\n".join(violations)


def _judge(scene: Scene, before: dict[str, Any], name: str) -> list[str]:
    """Everything that is wrong after one kill: at once, and after recover."""
    try:
        scene.check_traffic(before, removing=name == "remove")
        scene.recover()
        scene.check_whole(before)
        scene.check_traffic(before, removing=name == "remove")
    except Violation as violation:
        return [str(violation)]
    return []


ERRORS = ["ENOMEM", "ENOSPC", "EPERM", "EBUSY", "EIO"] if EVERY else ["ENOSPC", "EPERM"]
FAILING = [*(("update", e) for e in ERRORS), *(("convert", e) for e in (ERRORS if EVERY else ["ENOMEM"]))]


@pytest.mark.parametrize(("name", "error"), FAILING)
def test_error_at_every_point(name: str, error: str, scene: Scene, tmp_path: Path) -> None:
    prepare, words = SCENARIOS[name]
    prepare(scene)
    points = points_of(scene, words(scene), tmp_path / "effects")
    scene.reset()
    violations = []
    for when, point, effect in spread([p for p in points if p[0] == "before"]):
        prepare(scene)
        before = scene.view()
        failed = gated(scene, error, when, point, words(scene))
        tolerated = effect.startswith(
            ("write cache/", "unpin", "map.freeze")
        )  # nothing is owed for these, or it is tried again
        if failed.returncode not in (1, 3, 4, 69, 77) and not (tolerated and failed.returncode == 0):
            violations.append(f"{point}: exit {failed.returncode}: {failed.stderr[-300:]}")
        violations += [f"{point}: {v}" for v in _judge(scene, before, name)]
        scene.reset()
    assert not violations, "\n".join(violations)


def test_sabotage_two_ops_exchanged_is_caught(scene: Scene, tmp_path: Path) -> None:
    """The same loop with the journal's begin written after the effects must find violations."""
    prepare, words = SCENARIOS["update"]
    prepare(scene)
    points = points_of(scene, words(scene), tmp_path / "effects")
    scene.reset()
    found = []
    for _, point, _ in [p for p in points if p[0] == "after"]:
        prepare(scene)
        before = scene.view()
        command = [
            sys.executable,
            "-m",
            "tests.crash.sabotaged",
            "kill",
            "after",
            point,
            "--",
            *words(scene),
            *scene.where,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        found += _judge(scene, before, "update") if done.returncode == -signal.SIGKILL else []
        scene.reset()
        if found:
            break
    assert found, "ops were exchanged and no check noticed"
