"""What commands print: JSON that fits the published schemas, tables that are plain in a pipe and coloured on a
terminal, progress on standard error for slow steps only.

The schema check itself stands in stage.py, so that it holds for every command of this folder's tests.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.stage import ROOT, Stage, checked, validator
from reloader import fault_points
from reloader.paths import Paths
from tests.support import faults

pytestmark = pytest.mark.kernel

ESCAPE = "\033["
KINDS = ("Plan", "Result", "Status", "History", "Generation", "Diff", "Validation", "Recovery", "Error")


# JSON


def test_every_report_of_a_life(stage: Stage) -> None:
    """From the first plan to removal; each document fits its schema (stage.py), and says what happened."""
    seen = set()

    def ask(*words: str | Path, code: int = 0) -> Any:
        done = stage.run(*words)
        assert done.code == code, f"{words}: exit {done.code}: {done.err}"
        seen.add(done.document["kind"])
        return done.document

    assert ask("status") == {"apiVersion": "reloader/v1", "kind": "Status", "pipelines": []}
    file = stage.write(stage.spec())
    assert ask("validate", file)["pipelines"] == ["edge"]
    (planned,) = ask("plan", file, "--ops")["pipelines"]
    assert [op["is"] for op in planned["ops"]][-1] == "CreateLink"
    assert "ops" not in ask("plan", file)["pipelines"][0]
    assert ask("plan", file, "--detailed-exitcode", code=2)["pipelines"][0]["changes"]
    (result,) = ask("apply", file)["pipelines"]
    assert result["changed"]
    assert result["seconds"]["total"] >= result["seconds"]["Load"] > 0
    assert ask("apply", file)["pipelines"][0]["changed"] is False
    assert ask("plan", file, "--detailed-exitcode")["pipelines"][0]["changes"] is False
    ask("apply", stage.write(stage.spec("v2")))
    assert [g["generation"] for g in ask("history", "edge")["generations"]] == [1, 2]
    shown = ask("show", "edge")
    assert shown["generation"] == 2
    assert {m["name"] for m in shown["maps"]} == {"flows", "counters", "events", "blocklist", "sizes"}
    assert ask("show", "edge", "1")["current"] is False
    assert "+ map sizes" in ask("diff", "edge", "1", "2")["lines"]
    assert ask("diff", "edge", "2", "2")["lines"] == []
    assert ask("rollback", "edge")["pipelines"][0]["generation"] == 3
    assert ask("status")["pipelines"][0]["state"] == "serving"
    assert ask("recover")["recovered"] == []
    ask("remove", "edge")
    (removed,) = ask("status", "edge")["pipelines"]
    assert removed["state"] == "removed"
    assert {m["name"] for m in removed["maps"] if m["parked"]} == {"flows", "counters"}
    assert ask("plan", stage.write({**stage.spec(), "objects": []}), code=65)["error"]["problems"]
    assert ask("show", "nobody", code=65)["error"]["code"] == "not-found"
    assert seen == set(KINDS)


def test_status_of_what_is_not_well(stage: Stage) -> None:
    """Drift, an open journal, damaged records: each a state of its own, with its problem in words."""
    stage.apply(stage.spec())

    def state() -> tuple[str, str]:
        (one,) = stage.call("status")["pipelines"]
        return one["state"], "; ".join(one["problems"])

    def reasons() -> set[str]:
        (one,) = stage.call("status")["pipelines"]
        return {a["reason"] for a in one["attachments"]}

    link = next(p for p in stage.standing().pins if "/links/" in p)
    pin = f"{stage.sandbox.bpffs}/{link}"
    with stage.kernel.pins.get(pin) as held:
        stage.kernel.pins.unpin(pin)
        assert state()[0] == "drift"
        assert "our link's pin is missing" in state()[1]
        assert reasons() == {"occupied-by-link"}
        stage.kernel.pins.pin(held, pin)
    assert (state(), reasons()) == (("serving", ""), {"as-recorded"})
    journal = stage.paths.journal_file("edge", "1")
    journal.parent.mkdir(exist_ok=True)
    journal.touch()
    assert state()[0] == "unfinished"
    assert "reloader recover edge" in state()[1]
    journal.unlink()
    current = stage.paths.current_file("edge")
    sound = current.read_bytes()
    current.write_bytes(b"{")
    assert state()[0] == "damaged"
    current.write_bytes(sound)
    assert state() == ("serving", "")


def test_several_refusals_are_still_one_document(stage: Stage) -> None:
    """Standard output is one document even when each pipeline of a file is refused; all of them are told in words."""
    spec = stage.spec()
    spec["attach"][0]["interface"] = "nope0"
    done = stage.run("plan", stage.write(spec, stage.document(spec, name="second")))
    assert done.code == 69
    assert done.document["kind"] == "Error"
    assert "edge: " in done.err
    assert "second: " in done.err


def test_a_recovery_is_told(stage: Stage) -> None:
    stage.write(stage.spec())
    command = [sys.executable, "-m", "lab.crash.gated", "kill", "after", "1 journal.begin", "--"]
    subprocess.run([*command, "apply", stage.file, *stage.where], cwd=ROOT, check=False, capture_output=True)
    (line,) = stage.run("recover").document["recovered"]
    assert line == "edge: an interrupted transaction was rolled back"


def test_schemas_leave_nothing_open() -> None:
    """Every object names all its fields and takes no other, but for an op's own ones."""
    open_ones = {kind: set(unbounded(validator(kind).schema)) for kind in KINDS}
    assert open_ones.pop("Plan") == {".pipelines.items.ops.items", ".pipelines.items.after.items"}
    assert not any(open_ones.values()), open_ones


def unbounded(schema: Any, path: str = "") -> Iterator[str]:
    """Paths of objects that take unknown fields."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict) and "additionalProperties" not in schema:
            yield path
        for key, value in schema.items():
            yield from unbounded(value, f"{path}.{key}" if key != "properties" else path)


def test_a_field_too_many_or_too_few_is_noticed(stage: Stage) -> None:
    """Sabotage: the check turns red."""
    stage.apply(stage.spec())
    for words in (["status"], ["history", "edge"], ["show", "edge"], ["plan", stage.file]):
        document = stage.run(*words).document
        with pytest.raises(AssertionError, match="does not fit"):
            checked(json.dumps({**document, "colour": "red"}))
        with pytest.raises(AssertionError, match="does not fit"):
            checked(json.dumps({k: v for k, v in document.items() if k in ("apiVersion", "kind")}))


# tables


def in_terminal(stage: Stage, *words: str | Path, **environment: str) -> str:
    """What a command prints where standard output and error are a terminal."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    command = [sys.executable, "-m", "reloader", *map(str, words), *stage.where]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=ROOT, env={**kept, "TERM": "xterm", **environment}
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # EIO: the other end is closed
                break
            if not more:
                break
            said += more
        process.wait(timeout=30)
    os.close(ours)
    return said.decode()


def test_colour_on_a_terminal_only(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.write(stage.spec("v2"))
    for words in (["status"], ["plan", stage.file], ["history", "edge"], ["diff", "edge", "1", "1"]):
        plain = stage.spawn(*words)
        assert ESCAPE not in plain.out + plain.err, words
        assert (ESCAPE in in_terminal(stage, *words)) is (words[0] != "diff"), words
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert ESCAPE not in in_terminal(stage, "status", **setting), setting
    assert ESCAPE in in_terminal(stage, "status", NO_COLOR=""), "an empty NO_COLOR asks for nothing"
    assert ESCAPE not in in_terminal(stage, "status", "-o", "json")
    assert f"{ESCAPE}31merror:" in in_terminal(stage, "show", "nobody")


def test_colour_changes_no_letter(stage: Stage) -> None:
    stage.apply(stage.spec())
    painted = in_terminal(stage, "status").replace("\r\n", "\n")
    assert re.sub(r"\033\[\d+m", "", painted) == stage.spawn("status").out


def test_columns_stand_under_their_heads(stage: Stage) -> None:
    stage.write(stage.spec())
    lines = stage.run("plan", stage.file, json_too=False).out.splitlines()
    assert lines[0] == "edge: generation 1, new: first load"
    head, rows = lines[1], lines[2:]
    places = [m.start() for m in re.finditer(r"(?<=  )\S", head)]
    assert [head[p:].split()[0] for p in places] == ["KIND", "NAME", "WHAT", "CAS", "INTERRUPTION", "NOTES"]
    for row in rows:
        assert all(row[p - 1 : p] in (" ", "") for p in places), row
    assert len(rows) == 7
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.alone
def test_words_for_people(stage: Stage) -> None:
    """One look at each report that is no table of a plan."""
    said = stage.run("apply", stage.write(stage.spec()), json_too=False)
    first = r"edge: generation 1 is live after \d+ ms: first load\n"
    assert re.match(first + r"  \+ program count_flows: load 1\n", said.out)
    assert said.err == ""
    assert stage.run("apply", stage.file, json_too=False).out == "edge: nothing to do, generation 1 is in force\n"
    assert stage.run("plan", stage.file, json_too=False).out == "edge: nothing to do, generation 1 is in force\n"
    shown = stage.run("show", "edge", json_too=False).out
    assert "pipeline: edge\n" in shown
    assert re.search(r"name=flows  role=state  type=hash", shown)
    history = stage.run("history", "edge", json_too=False).out.splitlines()
    assert history[0].split() == ["GENERATION", "LOAD", "CREATED", "SOURCE", "WHY", "TRIAL", "CHANGES"]
    assert history[1].startswith("* 1")
    assert stage.run("recover", json_too=False).out == "nothing to recover\n"
    gone = stage.run("remove", "edge", "--state", json_too=False).out
    assert gone.startswith("edge: done: removed; state dropped\n  - attachment")
    assert stage.run("status", json_too=False).out == "no pipelines\n"


def test_an_error_is_one_line_and_a_hint(stage: Stage) -> None:
    done = stage.run("show", "nobody", json_too=False)
    assert done.out == ""
    assert done.err == "error: pipeline nobody does not exist\nhint: known pipelines: none\n"


def test_a_reader_that_leaves_early_is_no_error(stage: Stage) -> None:
    stage.apply(stage.spec())
    command = f"{sys.executable} -m reloader status -o json {' '.join(stage.where)} | head -c 1 >/dev/null"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""


# progress


@pytest.fixture
def slow_swap() -> Iterator[Callable[[float], None]]:
    """slow_swap(seconds): every link update takes so long from here on."""

    def install(seconds: float) -> None:
        fault_points.install(lambda when, name: time.sleep(seconds if (when, name) == ("before", "link.update") else 0))

    yield install
    fault_points.install(None)


def test_a_slow_step_is_said_on_standard_error(stage: Stage, slow_swap: Callable[[float], None]) -> None:
    stage.apply(stage.spec())
    slow_swap(0.9)
    done = stage.run("apply", stage.write(stage.spec("v2")))
    assert done.err == "… swapping\n"
    assert done.document["pipelines"][0]["changed"]
    assert stage.run("apply", stage.write(stage.spec("v1")), "-q").err == ""


def test_reading_much_is_a_step_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from reloader.commands import sources

    compiled = sources.compiled

    def slowly(arguments: list[str], paths: Paths) -> Any:
        time.sleep(0.9)
        return compiled(arguments, paths)

    faults.inject(monkeypatch, "compiled", slowly)
    stage.write(stage.spec())
    for words in (["plan"], ["apply"]):
        assert stage.run(*words, stage.file).err == "… reading edge.yaml\n"
    stage.write(stage.spec("v2"))
    assert stage.run("apply", stage.file, "-q").err == ""


def test_quick_steps_are_silent(stage: Stage) -> None:
    assert stage.run("apply", stage.write(stage.spec())).err == ""
    path = stage.folder / "two.yaml"
    path.write_text(yaml.safe_dump(stage.document(stage.spec())))
    assert stage.run("plan", path).err == ""
