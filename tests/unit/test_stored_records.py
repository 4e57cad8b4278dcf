"""The records, blobs and open journal of tests/records/tree, which every later version of reloader must read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from reloader.disk import jsonable
from reloader.engine.journal import read_journal
from reloader.errors import OtherVersion
from reloader.lifecycle.recover import decide
from reloader.paths import Paths
from reloader.pipeline.checks import Counter, Question
from reloader.plan.ops import Op
from reloader.store import records
from reloader.store.records import Generation
from tests.records.make import PINS, TREE
from tests.support import faults

FORM = {"sum", records.FORMAT}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    shutil.copytree(TREE, tmp_path / "records")
    return Paths(bpffs=PINS, records=tmp_path / "records")


def members(path: Path) -> dict[str, Any]:
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in FORM}


def test_records_are_read_and_written_as_they_are(paths: Paths) -> None:
    current = records.read_current(paths, "edge")
    assert current is not None
    assert current.generation == 2
    assert jsonable.to_json(current) == members(paths.current_file("edge"))
    for number in (1, 2):
        generation = records.read_generation(paths, "edge", number)
        assert jsonable.to_json(generation) == members(paths.generation_file("edge", number))
    files = [paths.current_file("edge"), paths.generation_file("edge", 2)]
    before = [path.read_bytes() for path in files]
    records.write_current(paths, current)
    records.write_generation(paths, generation)
    assert [path.read_bytes() for path in files] == before


def test_blobs_are_there(paths: Paths) -> None:
    for digest in records.blobs_needed(paths, "edge"):
        assert any(records.blob_is_whole(paths, b, digest) for b in ("objects", "entries") if _has(paths, b, digest))


def _has(paths: Paths, blob: str, digest: str) -> bool:
    return paths.blob_file(blob, digest).exists()


def test_the_open_journal_is_understood(paths: Paths) -> None:
    (path,) = records.open_journals(paths, "edge")
    lines = read_journal(path)
    begin, commit = lines[0].body, lines[-1].body
    forward = decide(lines)
    assert forward.forward
    assert jsonable.to_json(forward.ops) == begin["after"]
    assert forward.commit is not None
    assert jsonable.to_json({"generation": forward.commit[0], "current": forward.commit[1]}) == {
        k: commit[k] for k in ("generation", "current")
    }
    back = decide(lines[:-1])
    assert jsonable.to_json(back.ops[::-1]) == begin["ops"]
    assert jsonable.to_json(back.wish) == begin["wish"]


@pytest.mark.parametrize("version", [None, jsonable.VERSION - 1, jsonable.VERSION + 1])
def test_another_version_is_refused(paths: Paths, version: int | None) -> None:
    """Records of the first version did not say one."""
    for path in (paths.current_file("edge"), paths.generation_file("edge", 2)):
        body = members(path) | ({} if version is None else {records.FORMAT: version})
        path.write_bytes(records._sealed(json.dumps(body, indent=1, sort_keys=True).encode()))
    for read in (
        lambda: records.read_current(paths, "edge"),
        lambda: records.read_generation(paths, "edge", 2),
        lambda: records.blobs_needed(paths, "edge"),
    ):
        with pytest.raises(OtherVersion) as refused:
            read()
        assert (refused.value.exit_code, refused.value.reason) == (4, "record-version")
        assert (refused.value.values["found"], refused.value.values["wanted"]) == (version or 1, jsonable.VERSION)
        assert refused.value.hint


def test_a_journal_of_another_version_is_refused(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = records.open_journals(paths, "edge")
    faults.inject(monkeypatch, "journal version", jsonable.VERSION + 1)
    with pytest.raises(OtherVersion) as refused:
        read_journal(path)
    assert (refused.value.reason, refused.value.values["found"]) == ("record-version", jsonable.VERSION)


@pytest.mark.parametrize("union", [Op, Counter | Question], ids=["ops", "checks"])
def test_tags_are_constants_and_tell_classes_apart(union: object) -> None:
    tags = [kind.TAG for kind in get_args(union)]
    assert len(set(tags)) == len(tags)


def test_a_generation_keeps_its_cause_and_outcome() -> None:
    ended = records.TrialOutcome(kind=records.OutcomeKind.BACK, words="rolled back by hand")
    stored = members(TREE / "pipelines/edge/generations/1.json") | {
        "outcome": jsonable.to_json(ended),
        "cause": "trial",
    }
    found: Generation = jsonable.from_json(Generation, stored)
    assert (found.outcome, found.cause) == (ended, records.Cause.TRIAL)
