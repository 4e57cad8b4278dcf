"""`recover` itself fails: at each of its effects, and at each system call that strace can make fail.

A command is killed in its middle first. Then `recover` meets an error, a second one meets it again, and the third has
a sound system. While a journal is open the exit code is 4 (or it says why before it looks: 69, 75, 77); it is 0 only
when nothing is open any more; and the last one reaches one version wholly, with every packet counted once.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.crash import loop
from lab.crash.loop import Chosen, Point, Tally
from lab.crash.scenario import PIPELINE, SCENARIOS, Scene
from reloader.store.records import open_journals

Strike = Callable[[], "subprocess.CompletedProcess[str]"]
Which = Callable[[Sequence[int]], Sequence[int]]
SHARES = {"back": 2, "forward": 5}  # of six parts of the command's points: before its commit, behind it
UNLOCKED = (75, 77)  # it did not get the writer lock
CALL = re.compile(r"^(\d+ +)?(?P<call>\w+)\(")


def middle_of(scene: Scene, name: str, folder: Path, way: str) -> Point:
    """Where the command is killed, so that `recover` goes that way."""
    prepare, words = SCENARIOS[name]
    prepare(scene)
    points = loop.points_of(scene, words(scene), folder / "effects")
    scene.reset()
    return points[len(points) * SHARES[way] // 6]


def kill_in(scene: Scene, name: str, middle: Point) -> None:
    loop.run("gated", "kill", middle, scene, SCENARIOS[name][1](scene))


def points_of_recover(scene: Scene, name: str, middle: Point, folder: Path) -> list[Point]:
    SCENARIOS[name][0](scene)
    kill_in(scene, name, middle)
    points = loop.points_of(scene, ["recover"], folder / "recovering")
    scene.reset()
    return points


def strike_recover(scene: Scene, name: str, middle: Point, strike: Strike) -> list[str]:
    """Kill the command, let two recoveries fail, then look at what a sound one makes of it."""
    SCENARIOS[name][0](scene)
    before = scene.view()
    kill_in(scene, name, middle)
    wrong = []
    for turn in ("first", "second"):
        done = strike()
        wrong += [f"{turn} recover: {w}" for w in answer_of(scene, done)]
    return [*wrong, *loop.judge(scene, before, name)]


def answer_of(scene: Scene, done: subprocess.CompletedProcess[str]) -> list[str]:
    """What is wrong with the exit code, given what is open now."""
    left = bool(open_journals(scene.paths, PIPELINE))
    if "Traceback" in done.stderr:
        return [f"a traceback: {done.stderr[-600:]}"]
    if left and done.returncode not in (4, *UNLOCKED):
        return [f"exit {done.returncode} while the journal is open: {done.stderr[-300:]}{done.stdout[-300:]}"]
    if not left and done.returncode not in (0, 4):
        return [f"exit {done.returncode} though nothing is open: {done.stderr[-300:]}"]
    return []


def fail(name: str, way: str, error: str, scene: Scene, folder: Path, choose: Chosen) -> Tally:
    """Each chosen effect of `recover` fails with `error`, without having happened or (`after`) although it has."""
    middle = middle_of(scene, name, folder, way)
    points = points_of_recover(scene, name, middle, folder)
    tally = Tally(points=len(points))
    for point in choose(points):

        def strike(point: Point = point) -> subprocess.CompletedProcess[str]:
            return loop.run("gated", error, point, scene, ["recover"])

        wrong = strike_recover(scene, name, middle, strike)
        tally.violations += [f"{name} {way}, {error} {point}: {w}" for w in wrong]
        tally.struck += 1
        scene.reset()
    return tally


# by strace: calls that are no effects too


def recover_under(scene: Scene, *options: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return under_strace(scene, ["recover", *words], *options)


def under_strace(scene: Scene, words: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reloader", *words, *scene.where]
    return subprocess.run(["strace", *options, *command], capture_output=True, text=True, check=False, timeout=120)


def calls_of_recover(scene: Scene, name: str, middle: Point, folder: Path, call: str) -> list[int]:
    """Which calls of that name (1 is the first) the recovery makes once the interpreter has started."""
    SCENARIOS[name][0](scene)
    kill_in(scene, name, middle)
    trace = folder / "trace"
    recover_under(scene, "-o", str(trace), "-y", "-e", f"trace={call}", "-s", "300")
    scene.reset()
    lines = [line for line in trace.read_text().splitlines() if (m := CALL.match(line)) and m["call"] == call]
    mine = (str(scene.sandbox.dir), "BPF_", "/proc/", "/sys/", "NETLINK")
    return [number for number, line in enumerate(lines, 1) if any(part in line for part in mine)]


def fail_calls(
    name: str,
    way: str,
    call: str,
    error: str,
    scene: Scene,
    folder: Path,
    choose: Callable[[Sequence[int]], Sequence[int]],
) -> Tally:
    """The chosen ones of the calls `call` that a recovery makes fail with `error`."""
    middle = middle_of(scene, name, folder, way)
    numbers = calls_of_recover(scene, name, middle, folder, call)
    tally = Tally(points=len(numbers))
    for number in choose(numbers):

        def strike(number: int = number) -> subprocess.CompletedProcess[str]:
            inject = f"inject={call}:error={error}:when={number}"
            return recover_under(scene, "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)

        wrong = strike_recover(scene, name, middle, strike)
        tally.violations += [f"{name} {way}, {error} of {call} {number}: {w}" for w in wrong]
        tally.struck += 1
        scene.reset()
    return tally
