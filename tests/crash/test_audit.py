"""The kill loop strikes in fault_points.lasting: strace says that nothing lasting happens elsewhere, and kills too."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.crash import loop
from lab.crash.scenario import SCENARIOS, Scene
from tests.crash.audit import TRACED, Audit

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

KILLED = (1, 3, 7, 12, 18, 25)  # which bpf(2) call of the command's own; the last ones may not be reached


def traced(scene: Scene, words: list[str], folder: Path, module: str) -> Audit:
    """The audit of one command."""
    trace, marks = folder / "trace", folder / "marks"
    gated = ["-m", module, "count", "before", str(marks), "--", *words, *scene.where]
    command = ["strace", "-f", "-s", "300", "-o", str(trace), "-e", f"trace={TRACED}", sys.executable, *gated]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    audit = Audit(below=str(scene.sandbox.dir), exempt=(f'{scene.paths.lock_file}"', str(marks)))
    audit.read(iter(trace.read_text().splitlines()))
    return audit


@pytest.mark.parametrize("name", ["create", "convert", "rollback", "config", "flip", "gate", "remove"])
def test_nothing_lasting_bypasses_the_place(name: str, scene: Scene, tmp_path: Path) -> None:
    prepare, words = SCENARIOS[name]
    prepare(scene)
    audit = traced(scene, words(scene), tmp_path, "lab.crash.gated")
    assert audit.effects >= 5
    assert not audit.outside, "\n".join(audit.outside)


def test_sabotage_an_effect_outside_is_seen(scene: Scene, tmp_path: Path) -> None:
    """lasting() that marks after the effect only: the audit must list the effects."""
    prepare, words = SCENARIOS["create"]
    prepare(scene)
    audit = traced(scene, words(scene), tmp_path, "tests.crash.bypassing")
    assert any("BPF_LINK_CREATE" in line for line in audit.outside)


@pytest.mark.parametrize("name", ["update", "convert"])
def test_killed_by_strace(name: str, scene: Scene, tmp_path: Path) -> None:
    """From outside, at the n-th bpf(2) call: the loop's own points are not all there is."""
    prepare, words = SCENARIOS[name]
    violations, killed = [], 0
    for count in KILLED:
        prepare(scene)
        before = scene.view()
        inject = f"inject=bpf:signal=KILL:when={count}"
        command = [sys.executable, "-m", "reloader", *words(scene), *scene.where]
        strace = ["strace", "-o", "/dev/null", "-e", "trace=bpf", "-e", inject, *command]
        done = subprocess.run(strace, capture_output=True, text=True, check=False, timeout=120)
        killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        violations += [f"bpf call {count}: {v}" for v in loop.judge(scene, before, name)]
        scene.reset()
    assert killed >= len(KILLED) // 2
    assert not violations, "\n".join(violations)


def test_a_fork_told_in_two_lines_is_a_fork() -> None:
    """On a busy machine the child's own calls come between them."""
    lines = [
        "10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD <unfinished ...>",
        '11 bpf(BPF_MAP_FREEZE, {map_fd=20}, 4) = 0',
        "10 <... clone resumed>, child_tidptr=0x7f) = 11",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD <unfinished ...>",
        "10 <... clone3 resumed>, 88) = 12",
        "12 bpf(BPF_MAP_FREEZE, {map_fd=20}, 4) = 0",
    ]  # fmt: skip
    audit = Audit(below="/nowhere")
    audit.read(iter(lines))
    assert audit.outside == [lines[-1]]
