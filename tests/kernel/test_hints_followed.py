"""Trap F10: a hint is followed to the letter, and leads where it says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.stage import ROOT, Done, Stage

pytestmark = pytest.mark.kernel


def commands(text: str, file: Path) -> list[list[str]]:
    """The commands that a text names, without `reloader`; FILE is `file`."""
    found = [shlex.split(words)[1:] for words in re.findall(r"`(reloader [^`]*)`", text)]
    return [[str(file) if word == "FILE" else word for word in words] for words in found]


def follow(stage: Stage, text: str) -> Done:
    """The first command that a text names."""
    (words, *_) = commands(text, stage.file)
    return stage.run(*words)


def findings(stage: Stage) -> list[dict[str, Any]]:
    """What doctor finds wrong with this sandbox's pipelines; the host is another matter."""
    document = stage.run("doctor").document
    return [f for f in document["findings"] if not f["ok"] and "edge" in f["check"] + f["what"] + f["hint"]]


def state_of(stage: Stage) -> str:
    return str(stage.call("status", "edge")["pipelines"][0]["state"])


def test_f10_maps_that_are_not_declared(stage: Stage) -> None:
    """The lines of the hint are pasted where it says."""
    stage.write(stage.spec("v1", maps={"flows": None, "counters": None, "events": None, "blocklist": None}))
    (problem,) = stage.run("validate", stage.file, where=False).error["problems"]
    lines = problem["hint"].split("\n")[1:]
    assert len(lines) == 4
    document = yaml.safe_load(stage.file.read_text())
    document["spec"]["maps"] = yaml.safe_load("\n".join(lines))
    stage.file.write_text(yaml.safe_dump(document))
    for problem in stage.run("validate", stage.file, where=False).error["problems"]:  # the roles that are asked about
        assert problem["reason"] == "role-not-chosen"
        document["spec"]["maps"][problem["values"]["map"]]["role"] = problem["values"]["choices"][0]
    stage.file.write_text(yaml.safe_dump(document))
    stage.call("apply", stage.file)


def test_f10_records_that_are_lost(stage: Stage) -> None:
    """doctor and apply both say `recover`, and after it nothing is wrong."""
    stage.apply(stage.spec("v1"))
    serving = stage.attached()
    shutil.rmtree(stage.records / "pipelines")
    (found, *_) = findings(stage)
    refused = stage.run("apply", stage.file)
    assert refused.code == 65
    assert commands(refused.error["hint"], stage.file) == [["recover", "edge"]]
    assert commands(found["hint"], stage.file)[0] == ["recover", "edge"]
    assert follow(stage, found["hint"]).code == 0
    assert stage.attached() == serving
    assert not findings(stage)
    assert stage.run("apply", stage.file).code == 0
    assert state_of(stage) == "serving"


def test_f10_a_pin_that_is_missing(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    (pin,) = [p for p in stage.sandbox.pins() if "/progs/count_flows" in p]
    (Path(stage.sandbox.bpffs) / pin).unlink()
    (problem, *_) = stage.call("status", "edge")["pipelines"][0]["problems"]
    assert follow(stage, problem).code == 0
    assert state_of(stage) == "serving"
    assert not findings(stage)


def test_f10_the_way_out_of_a_panic(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    note = stage.run("panic", "edge", "--open", json_too=False).err
    told = [f["hint"] for f in findings(stage) if f["hint"]]
    assert commands(note, stage.file) == [["apply", str(stage.file)], ["rollback", "edge"]]
    assert follow(stage, told[0]).code == 0
    assert state_of(stage) == "serving"
    assert not findings(stage)


def test_f10_tests_that_fail(stage: Stage) -> None:
    case = {"name": "no", "packet": {"udp": {"dport": 53}}, "expect": {"verdict": "XDP_TX"}}
    stage.write(stage.spec("v1", test=[case]))
    error = stage.run("apply", stage.file).error
    assert commands(error["hint"], stage.file) == [["test", str(stage.file)]]
    (words,) = commands(error["hint"], stage.file)
    done = stage.run(*words)
    assert done.code == 1
    assert done.document["passed"] is False


def test_f10_another_pipeline_in_its_place(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    stage.name = "other"
    stage.write(stage.spec("v1"))
    error = stage.run("apply", stage.file).error
    assert follow(stage, error["hint"]).code == 0
    assert stage.run("apply", stage.file).code == 0


def test_f10_nothing_to_roll_back_to(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    error = stage.run("rollback", "edge").error
    assert len(follow(stage, error["hint"]).document["generations"]) == 1


def test_f10_a_layout_that_no_rule_covers(stage: Stage) -> None:
    """`state check` names the command that records it, and passes after that."""
    folder = stage.folder / "a state"
    shutil.copytree(ROOT / "state" / "flow-count", folder / "flow-count")
    (folder / "flow-count" / "flows.2.yaml").unlink()
    where, newer = ["--schema", "flow-count", "--dir", str(folder)], stage.folder / stage.put("v3")
    error = stage.run("state", "check", newer, *where, where=False).error
    (words,) = {tuple(commands(p["hint"], stage.file)[0]) for p in error["problems"]}
    assert stage.run(*words, json_too=False, where=False).code == 0
    assert (folder / "flow-count" / "flows.2.yaml").exists()
    assert stage.run("state", "check", newer, *where, where=False).code == 0


def test_f10_an_unconfirmed_version(stage: Stage) -> None:
    stage.apply(stage.spec("v1"), "--confirm-timeout", "60s")
    refused = stage.run("apply", stage.write(stage.spec("v2")))
    assert refused.code == 75
    told = refused.error["message"] + refused.error.get("hint", "")
    assert ["confirm", "edge"] in commands(told, stage.file)
    assert follow(stage, told).code == 0
    assert stage.run("apply", stage.file).code == 0
