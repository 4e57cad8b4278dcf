"""The loop itself: strike one command at its points and tally what does not hold. For the tests and `make bench`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lab.crash.scenario import MAY_BE_BARE, SCENARIOS, Scene, Violation
from lab.stage import hear_signals

ERRORS = ("ENOMEM", "ENOSPC", "EPERM", "EINTR", "EAGAIN", "EBUSY", "EIO", "EDQUOT", "EROFS")
"""What bpf(2) and the file system return for these effects."""
RATE = 2000  # packets a second while a command is struck, and while it is recovered
EXITS = (1, 3, 4, 69, 77)
CACHE = ("write cache/", "mkdir records/cache")  # which is not written every time
NOT_OWED = (*CACHE, "unpin", "map.freeze", "blob.remove", "record.release", "folder.remove", "fragment.remove")
"""Effects whose failure may pass: nothing is owed for them, or they are tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Before or after the n-th effect of a name."""

    when: str
    text: str  # "<how often> <effect>", as gated.py takes it
    effect: str

    def __str__(self) -> str:
        return f"{self.when} {self.text}"


@dataclass(slots=True)
class Tally:
    """What became of one command's points."""

    points: int = 0  # that there are
    struck: int = 0
    violations: list[str] = field(default_factory=list)


Strike = Callable[[Scene, Point, list[str]], list[str]]  # what is wrong at once
T = TypeVar("T")
Chosen = Callable[[Sequence[Point]], Sequence[Point]]


def run(module: str, mode: str, point: Point | str, scene: Scene, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A command under `module`'s gate; `point` is a file's path for the mode `count`."""
    when, text = (point.when, point.text) if isinstance(point, Point) else ("before", point)
    command = [sys.executable, "-m", f"lab.crash.{module}", mode, when, text, "--", *words, *scene.where]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, preexec_fn=hear_signals)


def points_of(scene: Scene, words: list[str], out: Path) -> list[Point]:
    """Every point of a command, in order: before and after each lasting effect. The command does its work."""
    out.unlink(missing_ok=True)
    done = run("gated", "count", str(out), scene, words)
    assert done.returncode == 0, done.stderr
    rows = (line.split(" ", 2) for line in out.read_text().splitlines())
    return [Point(when=when, text=f"{times} {name}", effect=name) for when, times, name in rows if when != "failed"]


def everything(points: Sequence[T]) -> Sequence[T]:
    return points


def spread(most: int) -> Callable[[Sequence[T]], Sequence[T]]:
    """A fixed spread of at most so many points, that has the first and the last."""

    def chosen(points: Sequence[T]) -> Sequence[T]:
        if len(points) <= most:
            return points
        return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]

    return chosen


def judge(scene: Scene, before: dict[str, Any], name: str) -> list[str]:
    """Everything that is wrong after one strike: at once, and after recover."""
    try:
        scene.check_traffic(before, removing=name in MAY_BE_BARE)
        wrong = _under_traffic(scene, before, name, partial(_recover, scene))
        scene.check_whole(before)
        scene.check_traffic(before, removing=name in MAY_BE_BARE)
        if name == "take over" and not scene.attached():
            return [*wrong, "neither their program nor ours is attached"]
    except Violation as violation:
        return [str(violation)]
    return wrong


def _recover(scene: Scene) -> list[str]:
    scene.recover()
    return []


def _under_traffic(scene: Scene, before: dict[str, Any], name: str, work: Callable[[], list[str]]) -> list[str]:
    """Packets come all the while, and each of them is counted once; where nothing need be attached, none do."""
    if not before["attached"] or name in MAY_BE_BARE:
        return work()
    sent, counted = scene.generator.traffic().delivered, scene.counted()
    scene.generator.start(rate=RATE)
    try:
        wrong = work()
    finally:
        sent = scene.generator.stop().delivered - sent
    scene.wait_for(counted + sent)
    found = scene.counted() - counted
    return wrong if found == sent else [*wrong, f"{sent} packets came meanwhile, {found} were counted"]


def kill(name: str, scene: Scene, folder: Path, choose: Chosen) -> Tally:
    """SIGKILL at the chosen points of a scenario's command."""
    return _loop(name, scene, folder, choose, _killer("gated"))


def sabotaged(name: str, scene: Scene, folder: Path, choose: Chosen) -> list[str]:
    """The same with two ops exchanged: the first violation that is found; nothing can be trusted after it."""
    return _loop(name, scene, folder, choose, _killer("sabotaged"), stop=True).violations


def _killer(module: str) -> Strike:

    def strike(scene: Scene, point: Point, words: list[str]) -> list[str]:
        done = run(module, "kill", point, scene, words)
        not_reached = done.returncode == 0 and point.effect.startswith(CACHE)
        if done.returncode == -signal.SIGKILL or not_reached:
            return []
        return [f"not killed: exit {done.returncode}: {done.stderr[-300:]}"]

    return strike


def fail(name: str, error: str, scene: Scene, folder: Path, choose: Chosen) -> Tally:
    """The chosen effects fail with `error`, and are not had."""

    def strike(scene: Scene, point: Point, words: list[str]) -> list[str]:
        before = scene.view()["generation"]
        done = run("gated", error, point, scene, [*words, "-o", "json"])
        passed = done.returncode == 0 and point.effect.startswith(NOT_OWED)
        if "Traceback" in done.stderr:
            return [f"a traceback: {done.stderr[-600:]}"]
        if done.returncode in EXITS or passed:
            return _belied(scene, before, done)
        return [f"exit {done.returncode}: {done.stderr[-300:]}"]

    return _loop(name, scene, folder, lambda points: choose([p for p in points if p.when == "before"]), strike)


def _belied(scene: Scene, before: int, done: subprocess.CompletedProcess[str]) -> list[str]:
    """What is wrong with the end of a failing command: exit 4 exactly while a journal is open, and values that the
    records bear out. A generation that became current is none that "nothing was swapped" of."""
    left, now = bool(scene.journals()), scene.view()["generation"]
    wrong = []
    if left != (done.returncode == 4):
        wrong.append(f"exit {done.returncode}, journals open: {left}: {done.stderr[-300:]}")
    if done.returncode in (1, 3, 69, 77) and now != before:
        wrong.append(f"exit {done.returncode}, generation {before} → {now}: {done.stderr[-300:]}")
    values = json.loads(done.stdout).get("error", {}).get("values", {}) if done.stdout else {}
    if values.get("journal_open", left) != left:
        wrong.append(f"journal_open {values['journal_open']}, journals open: {left}")
    return wrong


def interrupt(name: str, number: str, scene: Scene, folder: Path, choose: Chosen) -> Tally:
    """A signal at the chosen points (`SIGINT+`: and again at every point after it). The exit code, the words beside it
    and the kernel say the same, and nothing is left to be recovered."""

    def strike(scene: Scene, point: Point, words: list[str]) -> list[str]:
        before = scene.view()
        done = run("gated", number, point, scene, [*words, "-o", "json"])
        return [f"{number}: {wrong}" for wrong in untrue(scene, before, done, name)]

    return _loop(name, scene, folder, choose, strike)


def untrue(scene: Scene, before: dict[str, Any], done: subprocess.CompletedProcess[str], name: str) -> list[str]:
    """What the end of an interrupted command says that kernel and records do not."""
    now, wrong = scene.view(), []
    if "Traceback" in done.stderr:
        wrong.append(f"a traceback: {done.stderr[-900:]}")
    if scene.journals():
        wrong.append(f"exit {done.returncode}, and a transaction is left open: {done.stderr[-300:]}")
    changed = now["generation"] != before["generation"]
    if done.returncode not in (0, 1, 3, 130) or changed != (done.returncode == 0):
        wrong.append(f"exit {done.returncode}, generation {before['generation']} → {now['generation']}: {done.stderr}")
    if not changed and (now["attached"], now["pins"]) != (before["attached"], before["pins"]):
        wrong.append(f"exit {done.returncode}, and the kernel was changed: {done.stderr[-300:]}")
    if done.returncode and done.stdout:
        error = json.loads(done.stdout)["error"]
        values = error.get("values", {})
        if error.get("reason") != "interrupted" or values.get("journal_open"):
            wrong.append(f"{name}: {error}")
        if values and "live_generation" in values and values["live_generation"] != now["generation"]:
            wrong.append(f"{error}: generation {now['generation']} is live")
    return wrong


def _loop(
    name: str,
    scene: Scene,
    folder: Path,
    choose: Chosen,
    strike: Strike,
    *,
    stop: bool = False,
) -> Tally:
    prepare, words = SCENARIOS[name]
    prepare(scene)
    points = points_of(scene, words(scene), folder / "effects")
    scene.reset()
    tally = Tally(points=len(points))
    for point in choose(points):
        prepare(scene)
        before = scene.view()
        struck = partial(strike, scene, point, words(scene))
        wrong = [*_under_traffic(scene, before, name, struck), *judge(scene, before, name)]
        tally.violations += [f"{name}, {point}: {w}" for w in wrong]
        tally.struck += 1
        if stop and tally.violations:
            return tally
        scene.reset()
    return tally
