"""The main job on the real kernel, by the command line: create, change, replace, refuse, roll back, remove,
under the generator's full rate. The same two checks (nothing lost, nothing forgotten) must turn red when the
swap is sabotaged.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator, Seen, read_seen, settle
from reloader import cli
from reloader.bpf.live import LiveKernel
from reloader.errors import KernelError
from reloader.kernel import Fd
from reloader.plan import ops
from tests.support import faults

pytestmark = pytest.mark.kernel

YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge}}
spec:
  objects: [{object}]
{schema}  rodata: {{default_verdict: XDP_DROP, sample_rate: {sample_rate}}}
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}}}
  maps:
    flows: {{role: {state}}}
    counters: {{role: {state}}}
    events: {{role: stream}}
{more}    blocklist: {{role: config, entries: [{entries}]}}
"""
OBJECTS = {
    "v1": "programs/flow_count/flow_count",
    "v2": "lab/bpf/flow_count_v2",
    "v3": "lab/bpf/flow_count_v3",
    "broken": "lab/bpf/flow_count_broken",
}


class Stage:
    """A pipeline in a sandbox, driven through cli.main in this process."""

    def __init__(self, sandbox: Sandbox, objects: Callable[[str], Path], folder: Path) -> None:
        self.sandbox, self.folder, self.objects = sandbox, folder, objects
        self.file = folder / "edge.yaml"
        self.kernel = LiveKernel()
        self.printed = self.said = ""

    def write(self, version: str, *blocked: str, sample_rate: int = 0, state: str = "state", schema: str = "") -> Path:
        copied = self.folder / f"{version}.bpf.o"
        shutil.copyfile(self.objects(OBJECTS[version]), copied)
        entries = ", ".join(f"{{key: {b}, value: {{action: XDP_DROP}}}}" for b in blocked)
        more = "    sizes: {role: scratch}\n" if version == "v2" else ""
        rx = self.sandbox.rx
        self.file.write_text(
            YAML.format(
                object=copied.name, interface=rx.interface, netns=rx.netns, entries=entries,
                sample_rate=sample_rate, state=state, more=more,
                schema=f"  stateSchema: {schema}\n" if schema else "",
            )
        )  # fmt: skip
        return self.file

    def call(self, *words: str | Path, code: int = 0) -> Any:
        """Run a command with -o json; its document. What it printed is kept in `printed` and `said`."""
        out, err = io.StringIO(), io.StringIO()
        where = ["--bpffs", self.sandbox.bpffs, "--records", str(self.sandbox.records), "-o", "json"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = cli.main([*map(str, words), *where])
        self.printed, self.said = out.getvalue(), err.getvalue()
        assert found == code, f"exit {found}: {self.said}{self.printed}"
        return json.loads(self.printed)

    def apply(self, version: str, *blocked: str, code: int = 0, **more: Any) -> Any:
        return self.call("apply", self.write(version, *blocked, **more), code=code)

    def attached(self) -> int:
        interface = self.kernel.net.interface(self.sandbox.rx.interface, self.sandbox.rx.netns)
        assert interface is not None
        return interface.xdp_prog_id

    def pub(self, name: str) -> Fd:
        return self.kernel.pins.get(f"{self.sandbox.bpffs}/edge/pub/{name}")

    def seen(self) -> Seen:
        with self.pub("flows") as flows, self.pub("counters") as counters:
            return read_seen(self.kernel.maps, flows, counters)


@pytest.fixture
def stage(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Stage:
    return Stage(sandbox, objects, tmp_path)


@contextlib.contextmanager
def traffic(stage: Stage) -> Iterator[Generator]:
    with Generator(stage.sandbox.tx, flows=1000) as generator:
        generator.start()
        yield generator
        generator.stop()


def assert_nothing_lost(stage: Stage, generator: Generator) -> None:
    """THE check: every packet delivered was seen, and every packet seen is in the state."""
    generator.stop()
    balance = settle(generator, lambda: stage.seen().packets)
    assert balance.traffic.sent > 10_000, "hardly any traffic"
    assert balance.lost == 0, f"{balance.lost} of {balance.traffic.sent} packets lost"
    assert stage.seen().missing == 0, f"{stage.seen().missing} packets forgotten"


def test_everything_under_full_traffic(stage: Stage) -> None:
    stage.apply("v1")
    with traffic(stage) as generator:
        assert stage.apply("v1", "10.0.0.1")["pipelines"][0]["why"].startswith("entries of blocklist")
        assert stage.apply("v1", "10.0.0.1", sample_rate=1000)["pipelines"][0]["why"] == "changed: rodata sample_rate"
        assert stage.apply("v2", "10.0.0.1")["pipelines"][0]["generation"] == 4
        serving = stage.attached()
        assert stage.apply("broken", code=1)["error"]["code"] == "verifier-rejected"
        assert stage.apply("v3", code=65)["error"]["code"] == "refused"
        assert stage.attached() == serving
        assert stage.call("rollback", "edge")["pipelines"][0]["generation"] == 5
        for _ in range(10):
            stage.apply("v2")
            stage.apply("v1")
        assert_nothing_lost(stage, generator)
    stage.call("remove", "edge", "--state")
    assert stage.attached() == 0
    assert stage.sandbox.pins() == []


def test_sabotage_detach_and_attach_turns_the_check_red(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the link taken off and made anew at each swap, assert_nothing_lost must fail."""
    stage.apply("v1")
    _swap_by_detaching(stage, monkeypatch)
    with traffic(stage) as generator:
        for version in ("v2", "v1", "v2"):
            stage.apply(version)
        with pytest.raises(AssertionError, match="packets lost"):
            assert_nothing_lost(stage, generator)


def _swap_by_detaching(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from reloader.engine import execute as apply_module
    from reloader.engine.workspace import Workspace
    from reloader.plan.ops import CreateLink

    def bare(bench: Workspace, op: Any) -> None:
        attachment = next(a for a in bench.wish.attachments if a.id == op.attachment) if bench.wish else None
        bench.kernel.pins.unpin(op.path)
        assert attachment is not None
        time.sleep(0.2)  # a script's own pace; packets must have come by on the busiest machine
        created = CreateLink(attachment=attachment, program=op.new, path=op.path)
        for _ in range(200):  # the kernel lets go of an unpinned link in its own time, and says EBUSY until then
            try:
                return apply_module.execute(bench, created)
            except KernelError as error:
                if error.errno != errno.EBUSY:
                    raise
            time.sleep(0.01)
        raise AssertionError("the old link never went")

    faults.inject(monkeypatch, "swap a link", bare)


def test_sabotage_fresh_state_turns_the_check_red(stage: Stage) -> None:
    """With `flows` as scratch, every load forgets, and assert_nothing_lost must fail."""
    stage.apply("v1", state="scratch")
    with traffic(stage) as generator:
        stage.apply("v2", state="scratch")
        with pytest.raises(AssertionError, match=r"packets (lost|forgotten)"):
            assert_nothing_lost(stage, generator)


def test_layout_change_is_refused_with_every_difference(stage: Stage) -> None:
    stage.apply("v1")
    error = stage.apply("v3", code=65)["error"]
    assert "flows" in error["detail"]
    assert "value.bytes" in error["detail"]
    assert "value.packets" in error["detail"]
    assert "--reset" in error["hint"]
    before = stage.seen()
    stage.call("apply", stage.write("v3"), "--reset", "flows")
    assert stage.seen().flows <= before.flows


# state/flow-count/ records that v3 has the counts of v1 and v2 the other way round.
CONVERTED: dict[str, Any] = {"schema": "flow-count"}


def there_and_back(stage: Stage, generator: Generator) -> None:
    """v1 → v3 → v1, three times in a row; then THE check, and that no established flow was ever unknown."""
    time.sleep(0.3)
    known = stage.seen().unknown
    for _ in range(3):
        result = stage.apply("v3", **CONVERTED)["pipelines"][0]
        assert any(line["action"] == "state: convert" for line in result["lines"])
        stage.call("rollback", "edge")
    assert_nothing_lost(stage, generator)
    assert stage.seen().unknown == known, f"{stage.seen().unknown - known} packets of established flows met no entry"


def test_layout_changes_and_comes_back_under_full_traffic(stage: Stage) -> None:
    stage.apply("v1", **CONVERTED)
    with traffic(stage) as generator:
        there_and_back(stage, generator)


def test_sabotage_no_bridge_turns_the_check_red(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drained without the bridge: counts are kept, but packets meet no entry meanwhile."""

    faults.no_bridge(monkeypatch)
    faults.inject(monkeypatch, "before the swap", _marks_only)
    stage.apply("v1", **CONVERTED)
    with traffic(stage) as generator, pytest.raises(AssertionError, match="met no entry"):
        there_and_back(stage, generator)


def _marks_only(moves: Any) -> list[Any]:
    """Nothing is copied ahead."""
    return [ops.OweDrainBack(map=m.map, source=m.source, target=m.target, back=m.pair.back) for m in moves]


def test_sabotage_copy_then_swap_turns_the_check_red(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script would do: drain while the old program still counts, then swap."""
    from reloader.plan import builder

    plain = builder.PlanBuilder._convert_and_attach

    def drained_first(made: Any) -> list[Any]:
        found = plain(made)
        drains = [op for op in found if isinstance(op, ops.Drain)]
        return [*drains, *(op for op in found if not isinstance(op, ops.Drain))]

    faults.inject(monkeypatch, "convert and attach", drained_first)

    faults.no_bridge(monkeypatch)
    faults.retire_at_once(monkeypatch)
    stage.apply("v1", **CONVERTED)
    with traffic(stage) as generator, pytest.raises(AssertionError, match=r"packets (lost|forgotten)|met no entry"):
        there_and_back(stage, generator)


def test_state_survives_removal_and_comes_back(stage: Stage) -> None:
    stage.apply("v1")
    with Generator(stage.sandbox.tx, flows=4) as generator:
        generator.send(100)
        settle(generator, lambda: stage.seen().packets)
        stage.call("remove", "edge")
        assert stage.attached() == 0
        assert [p for p in stage.sandbox.pins() if "/state/" not in p] == []
        assert stage.call("status")["pipelines"][0]["state"] == "removed"
        stage.apply("v2")
        assert stage.seen().in_flows == 100


def test_retired_config_map_is_frozen_and_pub_moves(stage: Stage) -> None:
    stage.apply("v1", "10.0.0.1")
    with stage.pub("blocklist") as old:
        stage.apply("v2", "10.0.0.1")
        assert stage.kernel.maps.frozen(old)
        with pytest.raises(OSError, match="EPERM"):
            stage.kernel.maps.update_many(old, [bytes(4)], [bytes(4)])
        with stage.pub("blocklist") as new:
            assert stage.kernel.maps.info(new).id != stage.kernel.maps.info(old).id
            assert not stage.kernel.maps.frozen(new)


def test_no_change_does_nothing(stage: Stage) -> None:
    stage.apply("v1", "10.0.0.1")
    serving, pins = stage.attached(), stage.sandbox.pins()
    assert stage.apply("v1", "10.0.0.1")["pipelines"][0]["changed"] is False
    assert stage.call("plan", stage.file)["pipelines"][0]["changes"] is False
    assert (stage.attached(), stage.sandbox.pins()) == (serving, pins)


def test_entries_changed_by_hand_are_put_right(stage: Stage) -> None:
    stage.apply("v1", "10.0.0.1")
    with stage.pub("blocklist") as fd:
        stage.kernel.maps.delete_many(fd, [bytes([10, 0, 0, 1])])
    assert stage.apply("v1", "10.0.0.1")["pipelines"][0]["changed"] is True
    with stage.pub("blocklist") as fd:
        assert list(stage.kernel.maps.items(fd)) == [bytes([10, 0, 0, 1])]


def test_a_config_map_can_be_emptied(stage: Stage) -> None:
    stage.apply("v1", "192.0.2.66")
    assert stage.apply("v1")["pipelines"][0]["changed"] is True
    with stage.pub("blocklist") as fd:
        assert stage.kernel.maps.items(fd) == {}
    stage.call("remove", "edge", "--state")
