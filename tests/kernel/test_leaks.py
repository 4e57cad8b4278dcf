"""The leak check and the rule on skips: each must turn a test red."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import Sandbox, run
from reloader.bpf import syscall
from tests.support import leaks

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parent.parent.parent
UNMARKED = {name: value for name, value in os.environ.items() if name != leaks.MARK}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE", 0.5)


def test_a_descriptor_is_seen() -> None:
    before = leaks.take()
    with Path(os.devnull).open():
        assert "/dev/null" in str(leaks.check(before)["descriptors"])
    assert leaks.check(before) == {}


def test_a_child_is_seen() -> None:
    before = leaks.take()
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert str(child.pid) in str(leaks.check(before)["children"])
    finally:
        child.kill()
        child.wait()


def test_an_orphan_is_seen() -> None:
    before = leaks.take()
    started = subprocess.run(["sh", "-c", "sleep 60 >&- 2>&- & echo $!"], capture_output=True, text=True, check=True)
    orphan = int(started.stdout)
    assert f"{orphan} sleep" in leaks.check(before)["children"]
    os.kill(orphan, signal.SIGKILL)


def test_a_sandbox_is_seen() -> None:
    before = leaks.take()
    with Sandbox() as opened:
        assert f"{opened.name}-rx" in leaks.check(before)["sandboxes"]


def test_a_pinned_program_and_its_maps_are_seen(sandbox: Sandbox, objects: Callable[[str], Path]) -> None:
    before = leaks.take()
    pin = f"{sandbox.bpffs}/program"
    run("bpftool", "prog", "load", str(objects("programs/flow_count/flow_count")), pin)
    found = leaks.check(before)["ids"]
    assert sum("'prog'" in text for text in found) == 1
    assert sum("'map'" in text for text in found) == 9  # four maps, the rodata, and the header's own four
    Path(pin).unlink()


def test_what_outlives_its_sandbox_is_seen(objects: Callable[[str], Path]) -> None:
    before = leaks.take()
    with Sandbox() as opened:
        pin = f"{opened.bpffs}/program"
        run("bpftool", "prog", "load", str(objects("programs/flow_count/flow_count")), pin)
        kept = syscall.obj_get(pin)
    try:
        assert sum("'prog'" in text for text in leaks.check(before)["closed"]) == 1
    finally:
        os.close(kept)
    assert leaks.check(before) == {}


def test_what_another_process_holds_is_not_ours(objects: Callable[[str], Path]) -> None:
    """The other process is no descendant: it does not carry this run's mark, and was handed to init."""
    program = f"""
import os, subprocess, sys, time
from lab.sandbox import Sandbox, run
from reloader.bpf import syscall
if os.fork():
    os._exit(0)
os.setsid()
with Sandbox() as sandbox:
    run("bpftool", "prog", "load", {str(objects("programs/flow_count/flow_count"))!r}, sandbox.bpffs + "/program")
    print("ready", os.getpid(), flush=True)
    sys.stdin.read()
print("gone", flush=True)
"""
    before = leaks.take()
    other = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=UNMARKED,
    )
    assert other.stdin
    assert other.stdout
    with other:
        assert other.stdout.readline().startswith("ready")
        other.wait()
        assert leaks.take().leaked_since(before).keys() <= {"descriptors"}  # the pipes
        assert leaks.check(before).keys() <= {"descriptors"}
        other.stdin.close()
        assert other.stdout.readline() == "gone\n"


@pytest.mark.parametrize(("marker", "outcome"), [("kernel", "1 failed"), ("slow", "1 skipped")])
def test_a_skip_is_a_failure_of_kernel_tests_only(tmp_path: Path, marker: str, outcome: str) -> None:
    test = tmp_path / "test_skipping.py"
    test.write_text(f"import pytest\n\n@pytest.mark.{marker}\ndef test() -> None:\n    pytest.skip('no wish to')\n")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    command += [f"--basetemp={tmp_path / 'base'}", str(test)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome in done.stdout.splitlines()[-1], done.stdout
    assert "no wish to" in done.stdout
