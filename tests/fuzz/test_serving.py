"""Damaged input to the command line while a pipeline serves: refused, it changes nothing; never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab.fuzz import serving
from lab.fuzz.harness import Tally, times
from lab.stage import Stage
from reloader.store import records

pytestmark = pytest.mark.kernel


def test_what_is_refused_changes_nothing(stage: Stage) -> None:
    tally = serving.offered(stage, 160 * times())
    tally.judge()
    assert tally.taken < tally.refused
    assert stage.call("status")["pipelines"][0]["state"] == "serving"
    stage.assert_counts()


@pytest.mark.parametrize(("loop", "count"), [(serving.records, 80), (serving.records_by_hand, 60)])
def test_damaged_records_are_told(stage: Stage, loop: Callable[[Stage, int], Tally], count: int) -> None:
    loop(stage, count * times()).judge()
    assert stage.call("status")["pipelines"][0]["state"] == "serving"
    stage.assert_counts()


def test_regress_a_damaged_old_generation_wedges_no_commit(stage: Stage) -> None:
    """Blobs that nobody needs are swept after the commit, by all stored generations: one of them is unreadable."""
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v2"))
    for damage in (b"{}", b"", b'{"wish": 7}', b"[" * 100_000, b"\xff"):
        old = stage.paths.generation_file("edge", 1)
        old.write_bytes(damage)
        spec = stage.spec("v1", rodata={"default_verdict": "XDP_PASS", "sample_rate": len(damage) + 1})
        assert stage.apply(spec)["changed"], damage
        assert stage.run("show", "edge", "1").code == 4
    stage.assert_counts()


def test_regress_a_record_of_another_pipeline_is_no_record(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    current = stage.paths.current_file("edge")
    sound = json.loads(current.read_text())
    sound.pop("sum")
    for change in ({"pipeline": "other"}, {"links": {"xdp:rx0": {"pin": "/etc/passwd", "id": 1, "prog": 1}}}):
        current.write_text(json.dumps({**sound, **change}))
        done = stage.run("remove", "edge", "--state")
        assert done.code == 4, done.err
        assert stage.attached()
    current.write_text(json.dumps(sound))  # by hand, without its checksum, and right
    stage.call("remove", "edge", "--state")


def test_regress_a_turned_digit_of_a_record_is_noticed(stage: Stage) -> None:
    """Still JSON, still of the right types: only the checksum knows."""
    stage.apply(stage.spec("v1"))
    current = stage.paths.current_file("edge")
    sound = current.read_bytes()
    current.write_bytes(sound.replace(b'"last_load": 1', b'"last_load": 3'))
    assert current.read_bytes() != sound
    done = stage.run("apply", stage.write(stage.spec("v2")))
    assert (done.code, "checksum" in done.err) == (4, True)


def test_regress_a_pipeline_without_generations_has_none_to_show(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    stage.call("remove", "edge")
    for number in records.generation_numbers(stage.paths, "edge"):
        stage.paths.generation_file("edge", number).unlink()
    for words in (["show", "edge"], ["rollback", "edge"], ["history", "edge"]):
        done = stage.run(*words)
        assert done.code in (0, 65), done.err
