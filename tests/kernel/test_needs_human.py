"""One pipeline that needs a human does not block the others: apply, recover, watch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from lab.sandbox import run
from lab.stage import Stage

pytestmark = pytest.mark.kernel


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """Two pipelines, of which `bad` has a damaged journal."""
    run("ip", "-n", stage.sandbox.rx.name, "link", "add", "bad0", "type", "veth", "peer", "name", "bad1")
    put(stage, "v1")
    stage.call("apply", stage.folder / "bad.yaml", stage.folder / "edge.yaml")
    journals = stage.paths.journal_file("bad", "").parent
    journals.mkdir(exist_ok=True)
    (journals / "00000000000000000001-1.jsonl").write_bytes(b'{"v":1}\n')
    return stage


def put(stage: Stage, version: str) -> None:
    for name, spec in (
        ("bad", stage.spec(version, attach=[stage.attach(interface="bad0")])),
        ("edge", stage.spec(version)),
    ):
        (stage.folder / f"{name}.yaml").write_text(yaml.safe_dump(stage.document(spec, name=name)))


def test_apply_and_recover_go_on_with_the_others(stage: Stage) -> None:
    put(stage, "v2")
    before = stage.attached("bad0")
    done = stage.run("apply", stage.folder / "bad.yaml", stage.folder / "edge.yaml")
    assert done.code == 4
    assert "journal is damaged" in done.error["message"]
    assert stage.standing().generation == 2
    assert stage.attached("bad0") == before
    stage.assert_counts()
    lost = stage.paths.journal_file("edge", "00000000000000000001-2")
    lost.parent.mkdir(exist_ok=True)
    lost.write_bytes(b"")
    done = stage.run("recover")
    assert done.code == 4
    assert "edge: an interrupted transaction was rolled back" in done.error["detail"]


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_damaged_records_of_one(stage: Stage, damage: bytes) -> None:
    put(stage, "v2")
    stage.paths.current_file("bad").write_bytes(damage)
    done = stage.run("apply", stage.folder / "bad.yaml", stage.folder / "edge.yaml")
    assert done.code == 4
    assert "damaged" in done.error["message"]
    assert stage.standing().generation == 2
    states = {p["pipeline"]: p["state"] for p in stage.call("status")["pipelines"]}
    assert states == {"bad": "damaged", "edge": "serving"}


def test_watch_goes_on_with_the_others(stage: Stage) -> None:
    command = [".venv/bin/python", "-m", "reloader", "watch", str(stage.folder), "--debounce", "0.05", *stage.where]
    put(stage, "v2")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout
    with process.stdout:
        said = [process.stdout.readline() for _ in range(3)]
        process.terminate()
        assert process.wait(10) == 0
    assert any("edge: generation 2 is live" in line for line in said), said
    assert any("bad.yaml: " in line and "journal is damaged" in line for line in said), said
    stage.assert_counts()
