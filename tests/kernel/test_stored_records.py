"""tests/records/tree on this kernel: its open journal is ended, and what it recorded is loaded again."""

from __future__ import annotations

import shutil

import pytest

from lab.stage import Stage
from reloader.store import records
from tests.records.make import NETNS, PINS, TREE, moved, relinked

pytestmark = pytest.mark.kernel


def test_stored_records_serve_again_after_a_restart(stage: Stage) -> None:
    shutil.copytree(TREE, stage.records, dirs_exist_ok=True)
    moved(stage.records, {PINS: stage.sandbox.bpffs, NETNS: stage.sandbox.rx.netns})
    relinked(stage.records)
    done = stage.run("recover", "--boot")
    assert done.code == 0, done.err
    assert not records.open_journals(stage.paths, "edge")
    assert stage.standing().generation == 4  # the third was committed, and is loaded again as the fourth
    assert stage.attached()
    assert records.read_generation(stage.paths, "edge", 4).cause is records.Cause.BOOT
    stage.call("rollback", "edge", "--to", "1")
    assert stage.standing().generation == 5
