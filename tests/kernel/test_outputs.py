"""A failing output is not a failing operation: the exit code tells what happened to the kernel.

Standard streams that are closed, full, without a reader, or too poor for a character, for changes and for reports.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.stage import ROOT, Stage, hear_signals, wait_until
from tests.kernel.test_bad_inputs import blocking
from tests.support.trials import assert_no_guard, health, tcp

pytestmark = pytest.mark.kernel

FULL = "/dev/full"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
CLOSED = [w for n in range(1, 4) for w in itertools.combinations(("<&-", ">&-", "2>&-"), n)]
BROKEN = [*(" ".join(words) for words in CLOSED), f">{FULL}", f"2>{FULL}", f">{FULL} 2>&1", "| reader left", "2| left"]
SLOW = """
import sys
from reloader.commands.environment import SlowSteps
SlowSteps.PATIENCE, SlowSteps.LOOK = 0.0, 0.0005
from reloader.cli import entry
sys.argv[0] = "reloader"
entry()
"""
"""Every step counts as slow, so that the thread that tells of it writes all the time."""


def start(
    stage: Stage, *words: str | Path, broken: str = "", code: str = "", **environment: str
) -> subprocess.Popen[bytes]:
    """A command with broken standard streams."""
    out, err = subprocess.PIPE, subprocess.PIPE
    writer = -1
    if "|" in broken:
        reader, writer = os.pipe()
        os.close(reader)
        out, err = (out, writer) if broken.startswith("2") else (writer, err)
        broken = ""
    command = [sys.executable, *(["-c", code] if code else ["-m", "reloader"]), *map(str, words)]
    command += [] if words[:2] == ("state", "new") else stage.where
    started = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {broken}', "sh", *command],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, preexec_fn=hear_signals,
        stdout=out, stderr=err,
    )  # fmt: skip
    if writer >= 0:
        os.close(writer)
    return started


def run(
    stage: Stage, *words: str | Path, broken: str = "", code: str = "", **environment: str
) -> tuple[int, bytes, bytes]:
    process = start(stage, *words, broken=broken, code=code, **environment)
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in (err or b""), err
    assert b"Exception ignored" not in (err or b""), err
    return process.returncode, out or b"", err or b""


@pytest.mark.parametrize("broken", BROKEN)
def test_v4_v7_a_broken_stream_changes_no_exit_code(stage: Stage, broken: str) -> None:
    """A first apply, one that changes, one with nothing to do, one that fails, a rollback and a removal."""
    stage.write(stage.spec())
    for expected, generation in ((0, 1), (0, 1)):
        assert run(stage, "apply", stage.file, broken=broken, code=SLOW)[0] == expected
        assert stage.standing().generation == generation
    stage.write(blocking(stage.spec("v2")))
    assert run(stage, "apply", stage.file, "-o", "json", broken=broken)[0] == 0
    before = stage.standing()
    assert before.generation == 2
    stage.write(stage.spec("broken"))
    assert run(stage, "apply", stage.file, broken=broken, code=SLOW)[0] == 1
    assert stage.standing() == before
    assert run(stage, "apply", stage.folder / "missing.yaml", broken=broken)[0] == 65
    assert run(stage, "rollback", "edge", broken=broken)[0] == 0
    assert stage.standing().generation == 3
    assert run(stage, "recover", broken=broken)[0] == 0
    stage.assert_counts()
    assert run(stage, "remove", "edge", broken=broken)[0] == 0
    assert stage.attached() == 0
    assert stage.call("recover")["recovered"] == []


@pytest.mark.parametrize("broken", ["<&- >&- 2>&-", f">{FULL} 2>&1", "| reader left", "2| left"])
def test_v4_v7_so_it_is_with_every_command_that_changes(stage: Stage, broken: str) -> None:
    """confirm, state export and import, gc, state new, panic, recover after lost records: done, whoever hears of it."""
    stage.apply(stage.spec())
    exported = stage.folder / "edge.state"
    with exported.open("wb") as out:
        command = [sys.executable, "-m", "reloader", "state", "export", "edge", *stage.where]
        subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL, check=True, timeout=60)
    stage.write(blocking(stage.spec("v2")))
    assert run(stage, "apply", stage.file, "--confirm-timeout", "60s", broken=broken)[0] == 0
    assert run(stage, "confirm", "edge", broken=broken)[0] == 0
    assert run(stage, "confirm", "edge", broken=broken)[0] == 65
    assert_no_guard(stage)
    assert run(stage, "state", "import", "edge", exported, broken=broken)[0] == 0
    assert run(stage, "state", "import", "edge", stage.folder / "missing", broken=broken)[0] == 65
    dead = stage.records / "objects" / ("0" * 64)
    dead.write_bytes(b"dead")
    assert run(stage, "gc", "--dry-run", broken=broken)[0] == lost_report(broken)
    assert dead.exists()
    assert run(stage, "gc", broken=broken)[0] == 0
    assert not dead.exists()
    assert run(stage, "panic", "edge", "--open", broken=broken)[0] == 0
    assert stage.call("status", "edge")["pipelines"][0]["state"] == "panicked"
    assert run(stage, "panic", "edge", "-o", "json", broken=broken)[0] == 65  # its YAML says no stance
    shutil.rmtree(stage.paths.record_dir("edge"))
    assert run(stage, "recover", "edge", broken=broken)[0] == 0
    assert stage.standing().generation
    drafts = stage.folder / "drafts"
    words = ["state", "new", str(stage.folder / "v1.bpf.o"), "--schema", "flows", "--dir", str(drafts)]
    assert run(stage, *words, broken=broken)[0] == 0
    assert list(drafts.rglob("*.yaml"))


def lost_report(broken: str) -> int:
    """The exit code of a command that is there for what it prints."""
    if broken.startswith("|"):
        return 141
    return 74 if {">&-", f">{FULL}"} & set(broken.split()) else 0


@pytest.mark.parametrize("broken", [b for b in BROKEN if ">&-" in b.split() or b in (f">{FULL}", "| reader left")])
@pytest.mark.parametrize(
    "words",
    [["status"], ["history", "edge"], ["show", "edge"], ["plan"], ["--help"], ["state", "export", "edge"]],
    ids=" ".join,
)
def test_v4_a_report_that_cannot_be_written_fails(stage: Stage, words: list[str], broken: str) -> None:
    stage.apply(stage.spec())
    words = [*words, str(stage.file)] if words == ["plan"] else words
    expected = 141 if broken.startswith("|") else 74
    for more in ([], ["-o", "json"]) if words[0] not in ("--help", "state") else ([],):
        assert run(stage, *words, *more, broken=broken)[0] == expected


def test_v4_a_lost_result_is_told_on_stderr(stage: Stage) -> None:
    code, _, err = run(stage, "apply", stage.write(stage.spec()), broken=f">{FULL}")
    assert code == 0
    assert b"standard output" in err
    assert b"No space left" in err


@pytest.mark.parametrize("form", ["text", "json"])
def test_v4_what_ascii_cannot_show_is_escaped(stage: Stage, form: str) -> None:
    stage.write(blocking(stage.spec()))
    for words in (["plan"], ["apply"], ["apply"]):
        assert run(stage, *words, stage.file, "-o", form, code=SLOW, **ASCII)[0] == 0
    stage.write(blocking(stage.spec("v2", rodata={"default_verdict": "XDP_PASS"})))
    code, out, _ = run(stage, "plan", stage.file, "-o", form, **ASCII)
    assert code == 0
    assert out.isascii()
    assert form == "json" or b"\\u2192" in out  # the arrow of "generation 1 → 2"
    for words in (["apply", str(stage.file)], ["status"], ["show", "edge"], ["diff", "edge", "1", "2"]):
        assert run(stage, *words, "-o", form, **ASCII)[0] == 0


def test_v4_names_that_are_no_text_are_shown(stage: Stage) -> None:
    """A file name that is not UTF-8, and one that ASCII does not have."""
    for name, more in ((b"edge-\xff.yaml", dict[str, str]()), ("größe.yaml".encode(), ASCII)):
        path = os.fsencode(stage.folder) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(stage.write(stage.spec()).read_bytes())
        for words in (["validate"], ["plan"], ["apply"], ["apply"]):
            assert run(stage, *words, os.fsdecode(path), **more)[0] == 0
    stage.call("remove", "edge", "--state")
    stage.records = stage.folder / os.fsdecode(b"records-\xff")
    for words in (
        ["apply", str(stage.file)],
        ["status"],
        ["apply", str(stage.file)],
        ["rollback", "edge", "--to", "1"],
    ):
        assert run(stage, *words)[0] == 0


@pytest.mark.parametrize("broken", ["<&- >&- 2>&-", ">&-", f">{FULL}", "| reader left", f">{FULL} 2>&1"])
def test_v4_v7_watch_goes_on_without_its_output(stage: Stage, broken: str) -> None:
    folder = stage.folder / "watched"
    folder.mkdir()
    with start(stage, "watch", folder, "--debounce", "0.05", broken=broken, code=SLOW) as watch:
        try:
            for generation, version in ((1, "v1"), (2, "v2")):
                stage.write(blocking(stage.spec(version)))
                for path in (stage.folder / f"{version}.bpf.o", stage.file):
                    (folder / path.name).write_bytes(path.read_bytes())
                wait_until(lambda now=generation: stage.standing().generation == now, 15)  # type: ignore[misc]
                assert stage.standing().generation == generation
        finally:
            watch.send_signal(signal.SIGTERM)
            watch.communicate(timeout=20)
    assert watch.returncode == 0
    stage.assert_counts()


@pytest.mark.parametrize("broken", [*map(" ".join, CLOSED), f">{FULL} 2>&1", "2| left"])
def test_v7_a_guard_does_its_duty_without_streams(stage: Stage, broken: str) -> None:
    """A check that fails takes the version back, and a trial that nobody watches goes home."""
    stage.apply(stage.spec())
    failing = health(tcp(stage), window="5s", failures=1)
    path = stage.write(stage.spec(rodata={"default_verdict": "XDP_PASS"}, health=failing))
    assert run(stage, "apply", path, broken=broken)[0] == 3
    assert_no_guard(stage)
    assert stage.standing().generation == 3
    stage.write(stage.spec(rodata={"default_verdict": "XDP_PASS"}))
    assert run(stage, "apply", stage.file, "--confirm-timeout", "1s", broken=broken)[0] == 0
    assert_no_guard(stage)
    assert stage.standing().generation == 5


def test_v7_no_descriptor_of_ours_takes_a_closed_number(stage: Stage) -> None:
    """What is open on 0, 1 and 2 at every lasting effect, with all three closed at the start."""
    log = stage.folder / "open"
    watching = f"""
import os
from reloader import fault_points as effects
def gate(when, name):
    with open({str(log)!r}, "a") as out:
        out.write(" ".join(os.readlink(f"/proc/self/fd/{{n}}") for n in (0, 1, 2)) + "\\n")
effects.install(gate)
"""
    stage.write(stage.spec())
    assert run(stage, "apply", stage.file, broken="<&- >&- 2>&-", code=watching + SLOW)[0] == 0
    assert set(log.read_text().split()) == {os.devnull}
