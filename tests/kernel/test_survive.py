"""After a restart of the kernel, and after a loss of the records: the same pipeline, without its source tree.

A restart is played: the bpffs is mounted anew, which lets every program and map go, and the boot_id is another.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import MOUNT, run
from lab.stage import Stage, wait_until
from lab.traffic import Generator, settle
from reloader.bpf.progs import LiveProgs
from reloader.errors import LoadRejected
from reloader.kernel import Loaded, LoadRequest
from reloader.pipeline.wish import Wish
from reloader.store import records
from tests.support import faults

pytestmark = pytest.mark.kernel


@pytest.fixture
def restart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lose what a restart loses, and the sources with it."""

    def play() -> None:
        mount = str(stage.sandbox.dir / MOUNT)
        run("umount", mount)
        run("mount", "-t", "bpf", "-o", "mode=0700", "none", mount)
        faults.restarted(monkeypatch)
        stage.kernel = faults.Restarted()
        wait_until(lambda: not stage.attached())
        assert not stage.attached()
        for file in stage.folder.iterdir():
            file.unlink()

    return play


def recovered(stage: Stage, *words: str) -> list[str]:
    lines: list[str] = stage.call("recover", *words)["recovered"]
    return lines


# a restart


def test_a_restart_loads_the_last_generation_from_stored_objects(stage: Stage, restart: Callable[[], None]) -> None:
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v2", maps={"blocklist": {"role": "config", "entries": [BLOCK]}}))
    stage.assert_counts()
    listed = stage.items("blocklist")
    restart()
    (line,) = recovered(stage, "--boot")
    assert "generation 3 is live, loaded from stored objects; state starts empty: counters, flows" in line
    assert stage.items("blocklist") == listed
    assert stage.counted() == 0
    stage.assert_counts()
    (shown,) = stage.call("status")["pipelines"]
    assert (shown["state"], shown["reason"], shown["problems"]) == ("serving", "boot", [])
    assert [note.split(" started")[0] for note in shown["notes"]] == ["state map counters", "state map flows"]
    assert recovered(stage, "--boot") == ["edge: generation 3 is in force"]


BLOCK = {"key": "203.0.113.9", "value": {"action": "XDP_DROP"}}


def test_what_a_restart_emptied_is_said_until_somebody_accepts_it(stage: Stage, restart: Callable[[], None]) -> None:
    stage.apply(stage.spec())
    restart()
    recovered(stage, "--boot")
    stage.apply(stage.spec("v2"))
    assert len(stage.call("status")["pipelines"][0]["notes"]) == 2
    stage.apply(stage.spec("v2"), "--reset", "flows", "--reset", "counters")
    assert stage.call("status")["pipelines"][0]["notes"] == []


def test_recovering_at_boot_needs_no_yaml_at_all(stage: Stage, restart: Callable[[], None]) -> None:
    """A process that cannot import yaml, jsonschema or the spec's compiler."""
    stage.apply(stage.spec(test=[{"packet": {"udp": {}}, "expect": {"verdict": "XDP_DROP", "output": "same"}}]))
    restart()
    code = (
        "import sys\n"
        "for name in ('yaml', 'jsonschema', 'reloader.pipeline.compile', 'reloader.pipeline.parse'):\n"
        "    sys.modules[name] = None\n"
        "from reloader import cli\n"
        "from reloader.bpf.live import LiveKernel\n"
        "LiveKernel.boot_id = lambda self: 'another'\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    done = stage.spawn("recover", "--boot", code=code)
    assert done.code == 0, done.err
    assert "generation 2 is live, loaded from stored objects" in done.out
    stage.assert_counts()


def test_one_pipeline_that_cannot_be_loaded_does_not_stop_the_others(stage: Stage, restart: Callable[[], None]) -> None:
    rx = stage.sandbox.rx
    rx.run("ip", "link", "add", "gone0", "type", "veth", "peer", "name", "gone1")
    stage.write(stage.spec())
    for name, spec in {"adrift": stage.spec(attach=[stage.attach(interface="gone0")]), "edge": stage.spec()}.items():
        stage.file.write_text(json.dumps(stage.document(spec, name=name)))
        stage.call("apply", stage.file)
    rx.run("ip", "link", "del", "gone0")
    damaged = stage.paths.current_file("adrift")
    restart()
    done = stage.run("recover", "--boot")
    assert done.code == 69
    assert "interface 'gone0' is missing" in done.err
    assert "edge: generation 2 is live" in done.err
    stage.assert_counts()
    damaged.write_bytes(b"{}")
    done = stage.run("recover", "--boot")
    assert (done.code, "damaged" in done.err, "edge: generation 2 is in force" in done.err) == (4, True, True)


def test_a_kernel_that_refuses_the_last_version_runs_the_one_before(
    stage: Stage, restart: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: a new kernel may reject what ran yesterday (Calico #10911)."""
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v2"))
    newest = next(d for d in records.read_generation(stage.paths, "edge", 2).wish.objects).digest
    refused = stage.paths.object_file(newest).read_bytes()
    restart()

    load = LiveProgs.load

    def strict(self: LiveProgs, request: LoadRequest) -> Loaded:
        if refused in request.objects:
            raise LoadRejected("count_flows", 13, "R1 invalid mem access 'scalar'\nprocessed 1 insns")
        return load(self, request)

    faults.inject(monkeypatch, "load", strict)
    (line,) = recovered(stage, "--boot")
    assert "of generation 1; this kernel refuses the newer generation" in line
    stage.assert_counts()


def test_a_name_nobody_recorded(stage: Stage) -> None:
    stage.apply(stage.spec())
    done = stage.run("recover", "--boot", "other")
    assert (done.code, done.error["code"]) == (65, "not-found")


# records lost while the kernel lives


def lose_records(stage: Stage) -> None:
    for entry in stage.records.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def test_lost_records_are_rebuilt_and_taken_over_under_traffic(stage: Stage) -> None:
    """Nothing of the old generation but what the kernel shows; every packet seen, every count kept."""
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_DROP", "sample_rate": 7}))
    before = stage.map_id("flows"), stage.map_id("events"), stage.attached()
    lose_records(stage)
    refused = stage.run("apply", stage.write(stage.spec("v2")))
    assert refused.code == 65
    assert "`reloader recover edge`" in refused.error["hint"]
    listed = stage.run("recover")
    assert listed.document["recovered"] == []
    assert "`reloader recover edge` rebuilds" in listed.err
    (line,) = recovered(stage, "edge")
    assert "generation 2, load 2, 1 link, state maps: counters, flows" in line
    (shown,) = stage.call("status")["pipelines"]
    assert (shown["state"], shown["problems"]) == ("serving", [])
    assert "rebuilt from the kernel" in shown["notes"][0]
    assert (stage.map_id("flows"), stage.map_id("events"), stage.attached()) == before
    take_over_under_traffic(stage)
    assert (stage.map_id("flows"), stage.map_id("events")) == before[:2]
    done = stage.run("rollback", "edge")
    assert (done.code, done.error["code"]) == (65, "not-found")
    done = stage.run("rollback", "edge", "--to", "2")
    assert done.error["reason"] == "generation-rebuilt"
    assert stage.call("status")["pipelines"][0]["notes"] == []


def take_over_under_traffic(stage: Stage) -> None:
    with Generator(stage.sandbox.tx, flows=100) as generator:
        generator.start()
        result = stage.apply(stage.spec("v2"))
        generator.stop()
        balance = settle(generator, stage.counted)
    assert result["why"] == "its records were rebuilt from the kernel"
    assert balance.traffic.sent > 1000
    assert balance.lost == 0


def test_a_lost_current_record_is_made_again_from_its_generation(stage: Stage) -> None:
    """The generation's own record is whole: nothing of the wish is lost, and a rollback goes on working."""
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v2"))
    before = stage.standing()
    for damage in (b"", b"{}", None):
        current = stage.paths.current_file("edge")
        current.unlink() if damage is None else current.write_bytes(damage)
        assert "generation 2, load 2" in recovered(stage, "edge")[0]
        assert stage.standing() == before
        assert stage.call("status")["pipelines"][0]["notes"] == []
    stage.call("rollback", "edge")
    stage.assert_counts()


def test_rebuilt_records_let_go_of_everything(stage: Stage) -> None:
    stage.apply(stage.spec("v2"))
    lose_records(stage)
    recovered(stage, "edge")
    stage.call("remove", "edge", "--state")
    assert stage.standing().pins == ()
    assert not stage.attached()


def test_records_elsewhere_are_not_rebuilt_unasked(stage: Stage, tmp_path: Path) -> None:
    stage.apply(stage.spec())
    elsewhere = dataclasses.replace(stage.paths, records=tmp_path / "other")
    stage.records = elsewhere.records
    assert recovered(stage) == []
    assert not elsewhere.current_file("edge").exists()


def test_a_generation_that_fails_its_tests_on_this_kernel_is_passed_over(
    stage: Stage, restart: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a new kernel lets the same program do something else: here the newer one's constant is another."""
    from reloader.packet_tests import shadow

    wanted = {"packet": {"udp": {}}, "expect": {"verdict": "XDP_PASS"}}
    stage.apply(stage.spec("v1", rodata={}, test=[wanted]))
    stage.apply(stage.spec("v2", rodata={}, test=[wanted]))
    restart()
    plain = shadow.request_of

    def otherwise(wish: Wish, blobs: shadow.Blobs) -> LoadRequest:
        asked = plain(wish, blobs)
        newer = any(m.name == "sizes" for m in wish.maps)
        return dataclasses.replace(asked, rodata={"default_verdict": bytes([1, 0, 0, 0])} if newer else {})

    faults.inject(monkeypatch, "shadow request", otherwise)
    (line,) = recovered(stage, "--boot")
    assert "generation 3 is live, loaded from stored objects of generation 1" in line
    assert "1 of 1 test failed" in line
    stage.assert_counts()
