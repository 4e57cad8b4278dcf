"""Small promises at the edges: one writer per bpffs, nothing left behind, and words that are true."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from reloader.cli import _system_error
from reloader.disk.lock import writer_lock
from reloader.engine.transaction import _hint
from reloader.errors import KernelError, LockedError
from reloader.paths import Paths
from reloader.plan import ops
from reloader.plan.removal import make_removal
from tests.kernel.test_main_job import Stage, stage
from tests.plans.build import LAYOUT, case_of

pytestmark = pytest.mark.kernel
__all__ = ["stage"]


def test_two_record_directories_on_one_bpffs_are_one_writer(stage: Stage, tmp_path: Path) -> None:
    bpffs = stage.sandbox.bpffs
    other = Paths(bpffs=bpffs, records=tmp_path / "others")
    with writer_lock(other):
        error = stage.apply("v1", code=75)["error"]
        assert (error["reason"], error["values"]["subject"]) == ("locked-by", "bpffs")
    stage.apply("v1")
    with (
        writer_lock(Paths(bpffs=bpffs, records=stage.sandbox.records)),
        pytest.raises(LockedError),
        writer_lock(other),
    ):
        raise AssertionError("two writers")


def test_remove_with_state_leaves_no_trace(stage: Stage) -> None:
    records = stage.sandbox.records
    stage.apply("v1", "192.0.2.1")
    stage.call("apply", stage.file)  # an object written a moment ago is cached at the second reading
    stage.call("remove", "edge", "--state")
    left = [p for p in records.rglob("*") if "edge" in str(p.relative_to(records))]
    assert left == []
    assert list((records / "cache").glob("*.json")) == []


def test_a_parked_map_whose_pin_is_gone_reads_lost() -> None:
    text = {"about": "", "was": {"maps": {"flows": "state"}}, "wish": {"maps": {}}, "expect": {}}
    kept = case_of(text)
    lost = case_of({**text, "there": {"gone": ["flows"]}})
    for case, action in ((kept, "state: keep"), (lost, "state: lost")):
        assert case.seen.current
        made, _ = make_removal(case.seen, case.seen.current, LAYOUT, drop_state=False)
        assert [line.action for line in made.lines if line.name == "flows"] == [action]


def test_removal_waits_before_a_prog_array_goes() -> None:
    maps = {"jumps": {"role": "live", "type": "prog_array"}}
    case = case_of({"about": "", "was": {"maps": maps}, "wish": {"maps": maps}, "expect": {}})
    assert case.seen.current
    kinds = [type(op) for op in make_removal(case.seen, case.seen.current, LAYOUT, drop_state=False)[0].after]
    assert kinds.index(ops.Unpin) < kinds.index(ops.Barrier) < kinds.index(ops.DropLoad)


def test_plan_beside_an_open_journal_says_so(stage: Stage) -> None:
    stage.apply("v1")
    stage.call("plan", stage.file)
    assert "recovered first" not in stage.said
    folder = stage.sandbox.records / "pipelines" / "edge" / "journal"
    (folder / "1.jsonl").touch()
    stage.call("plan", stage.file)
    assert "recovers an interrupted transaction first" in stage.said
    stage.call("recover", "edge")


def test_an_external_map_is_not_ours_to_reset(stage: Stage) -> None:
    stage.apply("v1")
    pin = f"{stage.sandbox.bpffs}/edge/pub/blocklist"
    text = stage.file.read_text().replace("name: edge", "name: other")
    head = text.partition("    blocklist:")[0]
    stage.file.write_text(f"{head}    blocklist: {{role: external, pin: {pin}}}\n")
    error = stage.call("apply", stage.file, "--reset", "blocklist", code=65)["error"]
    assert "not ours to empty" in error["message"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_stray_system_error_claims_no_more_than_it_knows(number: int) -> None:
    wrapped = _system_error(OSError(number, "told"))
    assert wrapped.exit_code == 1
    assert "nothing was changed" not in wrapped.hint


@pytest.mark.parametrize("number", [errno.E2BIG, errno.ENOMEM])
def test_a_map_too_large_is_told_by_the_word_to_change(number: int) -> None:
    assert "max_entries" in _hint(KernelError("bpf_object__load", number, "edge"))
