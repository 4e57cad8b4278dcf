"""State survives what is easily overlooked: a change of role, lost records, a power cut within a transaction."""

from __future__ import annotations

import os
import shutil
import signal
from typing import Literal

import pytest

from lab.sandbox import Sandbox
from reloader import fault_points, paths
from reloader.bpf.live import LiveKernel
from tests.kernel.test_main_job import Stage, stage
from tests.support import faults

pytestmark = pytest.mark.kernel
__all__ = ["stage"]

KEY, VALUE = bytes([192, 0, 2, 1]), (1).to_bytes(4, "little")


def blocklist(stage: Stage, words: str) -> None:
    """The pipeline's YAML with other words for the blocklist."""
    text = stage.write("v1").read_text()
    head = text.partition("    blocklist:")[0]
    stage.file.write_text(f"{head}    blocklist: {{{words}}}\n")


def put(stage: Stage) -> None:
    with stage.pub("blocklist") as fd:
        stage.kernel.maps.update_many(fd, [KEY], [VALUE.ljust(stage.kernel.maps.info(fd).value_size, b"\0")])


def held(stage: Stage) -> set[bytes]:
    with stage.pub("blocklist") as fd:
        assert not stage.kernel.maps.frozen(fd)
        return set(stage.kernel.maps.items(fd))


def test_a_state_map_that_serves_as_config_for_a_while_comes_back_whole(stage: Stage) -> None:
    blocklist(stage, "role: state")
    stage.call("apply", stage.file)
    put(stage)
    for entries in ("[{key: 192.0.2.7, value: {action: XDP_DROP}}]", "[{key: 192.0.2.8, value: {action: XDP_DROP}}]"):
        blocklist(stage, f"role: config, entries: {entries}")
        stage.call("apply", stage.file)
        assert held(stage) == {bytes([192, 0, 2, int(entries.split("192.0.2.")[1][0])])}
    blocklist(stage, "role: state")
    stage.call("apply", stage.file)
    assert held(stage) == {KEY}
    stage.call("remove", "edge", "--state")


def test_a_config_map_without_entries_keeps_what_others_wrote(stage: Stage) -> None:
    blocklist(stage, "role: config")
    stage.call("apply", stage.file)
    put(stage)
    stage.file.write_text(stage.file.read_text().replace("sample_rate: 0", "sample_rate: 9"))
    assert stage.call("apply", stage.file)["pipelines"][0]["changed"]
    assert held(stage) == {KEY}
    stage.call("remove", "edge", "--state")


def test_parked_state_whose_records_are_lost_is_not_forgotten(stage: Stage) -> None:
    stage.apply("v1")
    stage.call("remove", "edge")
    before = stage.sandbox.pins()
    kept = stage.sandbox.records.with_name("kept")
    stage.sandbox.records.rename(kept)
    assert stage.apply("v1", code=65)["error"]["reason"] == "stray-pin"
    assert stage.sandbox.pins() == before
    shutil.rmtree(stage.sandbox.records)
    kept.rename(stage.sandbox.records)
    stage.call("remove", "edge", "--state")


def test_parked_state_of_before_a_restart_starts_empty(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.apply("v1")
    stage.call("remove", "edge")
    restart(stage.sandbox, monkeypatch)
    stage.apply("v1")
    stage.call("remove", "edge", "--state")


@pytest.mark.parametrize("point", ["pin", "journal.commit"])
def test_a_power_cut_within_a_transaction(stage: Stage, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.apply("v1", "192.0.2.1")
    file = stage.write("v2", "192.0.2.2")
    child = os.fork()
    if child == 0:
        die_after(point)
        stage.call("apply", file)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    restart(stage.sandbox, monkeypatch)
    stage.call("recover")
    stage.apply("v2", "192.0.2.2")
    assert stage.attached()
    stage.call("remove", "edge", "--state")


def die_after(point: str) -> None:
    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        if when == "after" and name.startswith(point):
            os.kill(os.getpid(), signal.SIGKILL)

    fault_points.install(gate)


def restart(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut: the records are there, no pin is."""
    for pin in sandbox.pins():
        LiveKernel().pins.unpin(pin)
    for folder in ("edge",):
        shutil.rmtree(f"{sandbox.bpffs}/{folder}", ignore_errors=True)
    faults.inject(monkeypatch, "boot id", lambda _: "another")


def test_a_damaged_stored_object_is_mended_by_applying_again(stage: Stage) -> None:
    stage.apply("v1")
    where = paths.Paths(bpffs=stage.sandbox.bpffs, records=stage.sandbox.records)
    stored = next((where.records / "objects").iterdir())
    stage.apply("v2")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    stage.call("rollback", "edge", code=1)
    assert "does not match its digest" in stage.said
    stage.apply("v1")
    stage.apply("v2")
    stage.call("rollback", "edge")
    stage.call("remove", "edge", "--state")


def test_a_stored_object_that_is_gone_is_told(stage: Stage) -> None:
    stage.apply("v1")
    where = paths.Paths(bpffs=stage.sandbox.bpffs, records=stage.sandbox.records)
    first = list((where.records / "objects").iterdir())
    stage.apply("v2")
    for stored in first:
        stored.unlink()
    stage.call("rollback", "edge", code=1)
    assert "is missing" in stage.said
    stage.call("remove", "edge", "--state")
