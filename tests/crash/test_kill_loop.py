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
SPREAD = 7  # points per scenario and side in `make test`


@pytest.fixture
def scene(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Scene]:
    with Generator(sandbox.tx, flows=4) as generator:
        yield Scene(sandbox, objects, tmp_path, generator)


def gated(scene: Scene, mode: str, when: str, point: str | int, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.crash.gated", mode, when, str(point), "--", *words, *scene.where]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def effects_of(scene: Scene, words: list[str], out: Path) -> list[str]:
    """The names of all lasting effects of a command, in order."""
    done = gated(scene, "count", "before", str(out), words)
    assert done.returncode == 0, done.stderr
    return out.read_text().splitlines()


def spread(count: int) -> list[int]:
    if EVERY or count <= SPREAD:
        return list(range(count))
    return sorted({round(i * (count - 1) / (SPREAD - 1)) for i in range(SPREAD)})


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_point(name: str, scene: Scene, tmp_path: Path) -> None:
    prepare, words = SCENARIOS[name]
    prepare(scene)
    names = effects_of(scene, words(scene), tmp_path / "effects")
    assert len(names) >= 4, names
    scene.reset()
    violations, points = [], 0
    for when in ("before", "after"):
        for point in spread(len(names)):
            prepare(scene)
            before = scene.view()
            killed = gated(scene, "kill", when, point, words(scene))
            assert killed.returncode == -signal.SIGKILL, (when, point, killed.stderr)
            violations += [f"{name}, {when} {names[point]} (#{point}): {v}" for v in _judge(scene, before, name)]
            points += 1
            scene.reset()
    print(f"{name}: {points} points, {len(violations)} violations")
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


@pytest.mark.parametrize("error", ["ENOMEM", "ENOSPC", "EPERM", "EBUSY", "EIO"])
def test_error_at_every_point_of_an_update(error: str, scene: Scene, tmp_path: Path) -> None:
    prepare, words = SCENARIOS["update"]
    prepare(scene)
    names = effects_of(scene, words(scene), tmp_path / "effects")
    scene.reset()
    violations = []
    for point in spread(len(names)):
        prepare(scene)
        before = scene.view()
        failed = gated(scene, error, "before", point, words(scene))
        if failed.returncode not in (1, 3, 4, 69, 77):
            violations.append(f"{names[point]} (#{point}): exit {failed.returncode}: {failed.stderr[-300:]}")
        violations += [f"{names[point]} (#{point}): {v}" for v in _judge(scene, before, "update")]
        scene.reset()
    assert not violations, "\n".join(violations)


def test_sabotage_two_ops_exchanged_is_caught(scene: Scene) -> None:
    """The same loop with the journal's begin written after the effects must find violations."""
    prepare, words = SCENARIOS["update"]
    found = []
    for point in range(40):
        prepare(scene)
        before = scene.view()
        command = [
            sys.executable,
            "-m",
            "tests.crash.sabotaged",
            "kill",
            "after",
            str(point),
            "--",
            *words(scene),
            *scene.where,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        found += _judge(scene, before, "update") if done.returncode == -signal.SIGKILL else []
        scene.reset()
        if found or done.returncode != -signal.SIGKILL:
            break
    assert found, "ops were exchanged and no check noticed"
