"""Stored objects and listings that are damaged or missing: no commit is held up, and the source files put them back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.stage import Stage
from reloader.store import records
from reloader.store.records import Generation

pytestmark = pytest.mark.kernel

HARM: dict[str, Callable[[Path], object]] = {
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "cut": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}
KILLED = """\
import sys
from reloader import fault_points as effects
from reloader.cli import entry
from lab.crash.gated import Striking

effects.install(Striking("kill", "after", "1 journal.commit"))
sys.argv[0] = "reloader"
entry()
"""


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """Two generations of one object, that differ in their entries."""
    for count in (1, 2):
        stage.apply(listing(stage, count))
    return stage


def listing(stage: Stage, count: int, version: str = "v1") -> dict[str, object]:
    entries = [{"key": f"192.0.2.{n}", "value": {"action": "XDP_DROP"}} for n in range(count)]
    return stage.spec(version, maps={"blocklist": {"role": "config", "entries": entries}})


def stored(stage: Stage, kind: str = "objects") -> Path:
    return next((stage.records / kind).iterdir())


def rescue(stage: Stage, number: int) -> Path:
    return stage.paths.rescue_file("edge", number)


@pytest.mark.parametrize("harm", HARM)
def test_a_change_of_entries_does_not_need_the_object(stage: Stage, harm: str) -> None:
    """Trap: it was committed, ended with 4 on the way to the rescue script, and so did every `recover` after it."""
    HARM[harm](stored(stage))
    assert stage.call("rollback", "edge")["pipelines"][0]["generation"] == 3
    assert len(stage.items("blocklist")) == 1
    assert stage.call("recover")["recovered"] == []
    assert not rescue(stage, 3).exists()
    stage.assert_counts()


@pytest.mark.parametrize("harm", HARM)
def test_recovery_finishes_without_the_object(stage: Stage, harm: str) -> None:
    stage.write(listing(stage, 3))
    assert stage.spawn("apply", stage.file, code=KILLED).code == -signal.SIGKILL
    HARM[harm](stored(stage))
    assert len(stage.call("recover")["recovered"]) == 1
    assert stage.standing().generation == 3
    assert stage.call("recover")["recovered"] == []
    stage.assert_counts()


@pytest.mark.parametrize("kind", ["objects", "entries"])
@pytest.mark.parametrize("harm", HARM)
def test_what_plan_has_read_is_stored_again_by_apply(stage: Stage, kind: str, harm: str) -> None:
    """Trap: the compiled wish was kept, so that apply neither brought the contents along nor looked at the stored."""
    stage.write(listing(stage, 2, "v2"))
    stage.call("apply", stage.file)
    stage.write(listing(stage, 2))
    stage.call("plan", stage.file)
    sound = {path: path.read_bytes() for path in (stage.records / kind).iterdir()}
    for path in sound:
        HARM[harm](path)
    stage.call("apply", stage.file)
    digests = {digest for _, digest in records.blobs_of(generation(stage).wish)}
    assert all(path.read_bytes() == data for path, data in sound.items() if path.name in digests)
    assert rescue(stage, 4).exists()
    stage.assert_counts()


@pytest.mark.parametrize("kind", ["objects", "entries"])
@pytest.mark.parametrize("harm", HARM)
def test_f10_the_hint_of_doctor_puts_it_back(stage: Stage, kind: str, harm: str) -> None:
    """The very version that is in force, applied again: nothing is to be done in the kernel."""
    path = stage.paths.blob_file(kind, wished(stage, kind))
    sound = path.read_bytes()
    HARM[harm](path)
    assert stage.run("doctor").code == 69
    path.unlink(missing_ok=True)
    before = stage.standing().attached
    assert not stage.call("apply", stage.file)["pipelines"][0]["changed"]
    assert path.read_bytes() == sound
    assert stage.run("doctor").code == 0
    assert (stage.standing().generation, stage.standing().attached) == (2, before)
    stage.call("remove", "edge", "--state")


@pytest.mark.parametrize("harm", HARM)
def test_a_load_without_its_object_changes_nothing(stage: Stage, harm: str) -> None:
    stage.apply(listing(stage, 2, "v2"))
    wanted = stage.paths.blob_file("objects", wished(stage, "objects", 2))
    before = stage.standing()
    HARM[harm](wanted)
    done = stage.run("rollback", "edge")
    assert (done.code, done.error["values"]["journal_open"]) == (1, False)
    assert done.error["reason"] == ("stored-file-missing" if harm == "missing" else "stored-file-damaged")
    assert done.error["hint"]
    assert (stage.standing().generation, stage.standing().attached) == (before.generation, before.attached)
    stage.assert_counts()


def generation(stage: Stage, number: int = 0) -> Generation:

    return records.read_generation(stage.paths, "edge", number or stage.standing().generation)


def wished(stage: Stage, kind: str, number: int = 0) -> str:
    found = records.blobs_of(generation(stage, number).wish)
    return next(digest for one, digest in found if one == kind)
