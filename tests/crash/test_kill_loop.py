"""Whatever dies, each attachment runs the old or the new version, and after `recover` all of one of them.

For a first apply, a new load, a tested one, a configuration change, a conversion, both rollbacks and a removal:
SIGKILL before and after lasting effects, then each error in their place, on the real kernel and with packets counted
throughout.
`make crash` takes every point, `make test` a fixed spread. A last test exchanges two ops and must see the same
checks turn red.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lab.crash import loop
from lab.crash.scenario import SCENARIOS, Scene

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

EVERY = os.environ.get("CRASH") == "all"
KILLS = loop.everything if EVERY else loop.spread(9)
FEWER = ("take over", "trie", "trie back", "tenants", "tenants back", "gate back")  # in `make test`
FAILURES = loop.everything if EVERY else loop.spread(7)
SIGNALLED = loop.everything if EVERY else loop.spread(5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_point(name: str, scene: Scene, tmp_path: Path) -> None:
    tally = loop.kill(name, scene, tmp_path, loop.spread(4) if name in FEWER and not EVERY else KILLS)
    print(f"{name}: {tally.struck} points of {tally.points}, {len(tally.violations)} violations")
    assert tally.points >= 16
    assert not tally.violations, "\n".join(tally.violations)


@pytest.mark.parametrize("name", ["trie", "trie back"])
def test_a_trie_that_is_taken_back_misses_no_packet(name: str, scene: Scene, tmp_path: Path) -> None:
    """Trap: killed before the commit, the old program ran on an empty trie until `recover` had drained into it."""
    tally = loop.kill(name, scene, tmp_path, lambda points: [p for p in points if "journal.commit" in p.text][:1])
    assert tally.struck == 1
    assert not tally.violations, "\n".join(tally.violations)


FAILING = [
    (name, error) for name in SCENARIOS for error in (("EIO", "ENOMEM", "EROFS") if name in FEWER else loop.ERRORS)
] if EVERY else [
    ("create", "EIO"), ("update", "ENOSPC"), ("update", "EPERM"), ("config", "EAGAIN"), ("convert", "ENOMEM"),
    ("convert back", "EINTR"), ("rollback", "EBUSY"), ("remove", "EIO"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "error"), FAILING)
def test_error_at_every_point(name: str, error: str, scene: Scene, tmp_path: Path) -> None:
    tally = loop.fail(name, error, scene, tmp_path, FAILURES)
    print(f"{name}, {error}: {tally.struck} points, {len(tally.violations)} violations")
    assert not tally.violations, "\n".join(tally.violations)


@pytest.mark.parametrize("name", SCENARIOS if EVERY else ["update", "trie"])
def test_the_file_system_becomes_read_only(name: str, scene: Scene, tmp_path: Path) -> None:
    """From one effect on every later one on a file fails, until somebody recovers."""
    tally = loop.fail(name, "EROFS+", scene, tmp_path, loop.everything if EVERY else loop.spread(4))
    print(f"{name}, EROFS from there on: {tally.struck} points, {len(tally.violations)} violations")
    assert not tally.violations, "\n".join(tally.violations)


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGINT+", "SIGTERM+")
INTERRUPTED = [(name, number) for name in SCENARIOS for number in SIGNALS] if EVERY else [
    ("create", "SIGINT"), ("update", "SIGTERM"), ("update", "SIGINT+"), ("config", "SIGHUP"), ("convert", "SIGINT+"),
    ("convert back", "SIGTERM+"), ("rollback", "SIGINT"), ("flip", "SIGINT"), ("remove", "SIGTERM"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), INTERRUPTED)
def test_v6_a_signal_at_every_point(name: str, number: str, scene: Scene, tmp_path: Path) -> None:
    tally = loop.interrupt(name, number, scene, tmp_path, SIGNALLED)
    print(f"{name}, {number}: {tally.struck} points, {len(tally.violations)} violations")
    assert not tally.violations, "\n".join(tally.violations)


RECOVERING = [(name, number) for name in ("update", "convert", "remove") for number in SIGNALS] if EVERY else [
    ("update", "SIGTERM+"), ("convert", "SIGINT"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), RECOVERING)
def test_v6_recovery_holds_signals_back(name: str, number: str, scene: Scene, tmp_path: Path) -> None:
    """The command dies before or after its commit; whatever signal meets `recover`, it comes to its end."""
    prepare, words = SCENARIOS[name]
    violations = []
    for share in (2, 5):
        prepare(scene)
        points = loop.points_of(scene, words(scene), tmp_path / "effects")
        scene.reset()
        middle = points[len(points) * share // 6]
        prepare(scene)
        loop.run("gated", "kill", middle, scene, words(scene))
        recovering = loop.points_of(scene, ["recover"], tmp_path / "recovering")
        scene.reset()
        for point in (loop.everything if EVERY else loop.spread(3))(recovering):
            prepare(scene)
            before = scene.view()
            loop.run("gated", "kill", middle, scene, words(scene))
            done = loop.run("gated", number, point, scene, ["recover"])
            if done.returncode not in (0, 130) or scene.journals() or "Traceback" in done.stderr:
                left = scene.journals()
                violations.append(f"{middle}, {number} {point}: exit {done.returncode}, {left}: {done.stderr}")
            violations += [f"{middle}, {number} {point}: {v}" for v in loop.judge(scene, before, name)]
            scene.reset()
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("name", ["update", "convert", "remove"])
def test_killed_again_while_recovering(name: str, scene: Scene, tmp_path: Path) -> None:
    """The command dies in its middle, and what takes it back or completes it dies at each of its points."""
    prepare, words = SCENARIOS[name]
    violations = []
    for share in (2, 5) if EVERY else (2,):
        prepare(scene)
        points = loop.points_of(scene, words(scene), tmp_path / "effects")
        scene.reset()
        middle = points[len(points) * share // 6]
        prepare(scene)
        loop.run("gated", "kill", middle, scene, words(scene))
        recovering = loop.points_of(scene, ["recover"], tmp_path / "recovering")
        scene.reset()
        for point in (loop.everything if EVERY else loop.spread(5))(recovering):
            prepare(scene)
            before = scene.view()
            loop.run("gated", "kill", middle, scene, words(scene))
            killed = loop.run("gated", "kill", point, scene, ["recover"])
            assert killed.returncode == -signal.SIGKILL, (str(point), killed.stderr)
            violations += [f"{middle}, then {point}: {v}" for v in loop.judge(scene, before, name)]
            scene.reset()
    assert not violations, "\n".join(violations)


def test_sabotage_two_ops_exchanged_is_caught(scene: Scene, tmp_path: Path) -> None:
    """The same loop with the journal's begin written after the effects must find violations."""
    after = loop.spread(12)
    found = loop.sabotaged("update", scene, tmp_path, lambda p: after([q for q in p if q.when == "after"]))
    assert found, "ops were exchanged and no check noticed"
    assert "not killed" not in found[0]
