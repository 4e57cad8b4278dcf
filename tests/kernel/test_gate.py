"""Two hooks that change together: with the generation gate no packet meets two versions, without it some do.

The subject is lab/bpf/gate_pair.bpf.c: XDP writes its version into the packet, and traffic control on the same
interface compares it with its own. That count knows nothing of the gate.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Stage, wait_until
from lab.traffic import Generator
from reloader.plan import ops
from reloader.plan.attach import gate
from reloader.plan.ops import Op
from tests.kernel import test_rescue
from tests.support import faults

pytestmark = pytest.mark.kernel

PAIRS = struct.Struct("=3Q")  # struct pairs
STATS = struct.Struct("=3Q")  # struct rl_gate_stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    entered: int
    left: int
    mixed: int


@pytest.fixture
def stage(stage: Stage, objects: Callable[[str], Path]) -> Stage:
    stage.put(objects("lab/bpf/gate_pair"), "gate.bpf.o")
    return stage


def spec(stage: Stage, version: int, *, gated: bool = True, **changes: Any) -> dict[str, Any]:
    rx = stage.sandbox.rx
    leave = {"program": "leave", "type": "tcx", "interface": rx.interface, "netns": rx.netns}
    return {
        "objects": ["gate.bpf.o"],
        "rodata": {"version": version, "gated": int(gated)},
        "attach": [stage.attach("enter"), leave],
        "gate": gated,
        "maps": {"pairs": {"role": "state"}},
        **changes,
    }


def pairs(stage: Stage) -> Pairs:
    entered, left, mixed = PAIRS.unpack(stage.items("pairs")[bytes(4)])
    return Pairs(entered=entered, left=left, mixed=mixed)


def stats(stage: Stage, load: int) -> tuple[int, ...]:
    """bare, unmarked, stale: of the CPUs together."""
    with stage.kernel.pins.get(stage.paths.map_pin("edge", load, "rl_gate_stats")) as fd:
        value = stage.kernel.maps.lookup(fd, bytes(4)) or b""
    return tuple(sum(column) for column in zip(*STATS.iter_unpack(value), strict=True))


def reload_under_traffic(stage: Stage, wishes: list[dict[str, Any]]) -> Pairs:
    with Generator(stage.sandbox.tx, flows=16) as generator:
        generator.start()
        for wish in wishes:
            stage.apply(wish)
        generator.stop()
        wait_until(lambda: (seen := pairs(stage)).entered == seen.left)
    after = pairs(stage)
    assert after.entered > 1000, "hardly any packet came by"
    assert after.entered == after.left, "each packet that entered was judged at the second hook"
    return after


def test_a_link_of_traffic_control_is_ours_like_any(stage: Stage) -> None:
    """Made, swapped, found as recorded, and taken off."""
    stage.apply(spec(stage, 1))
    stage.send(10)
    assert pairs(stage) == Pairs(entered=10, left=10, mixed=0)
    assert not stage.apply(spec(stage, 1))["changed"]
    stage.apply(spec(stage, 2))
    reasons = {a["id"].split(":")[0]: a["reason"] for a in stage.call("status", "edge")["pipelines"][0]["attachments"]}
    assert reasons == {"xdp": "as-recorded", "tcx-ingress": "as-recorded"}
    stage.call("rollback", "edge")
    stage.send(10)
    assert pairs(stage) == Pairs(entered=20, left=20, mixed=0)
    stage.call("remove", "edge", "--state")
    assert not stage.sandbox.pins()


def test_no_packet_meets_two_versions(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    after = reload_under_traffic(stage, [spec(stage, n) for n in range(2, 12)])
    assert after.mixed == 0
    assert stats(stage, 11) == (0, 0, 0)


def test_without_the_gate_some_do(stage: Stage) -> None:
    stage.apply(spec(stage, 1, gated=False))
    for start in range(2, 60, 5):
        if reload_under_traffic(stage, [spec(stage, n, gated=False) for n in range(start, start + 5)]).mixed:
            return
    pytest.fail("60 reloads of two hooks without a gate, and no packet met two versions")


def test_sabotage_the_first_hook_swapped_first_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = gate.in_order

    def exchanged(*words: Any, **named: Any) -> list[Op]:
        made = real(*words, **named)
        swaps = [op for op in made if isinstance(op, ops.SwapLink)]
        return [*reversed(swaps), *(op for op in made if op not in swaps)]

    faults.inject(monkeypatch, "gate in order", exchanged)
    stage.apply(spec(stage, 1))
    for start in range(2, 60, 5):
        if reload_under_traffic(stage, [spec(stage, n) for n in range(start, start + 5)]).mixed:
            return
    pytest.fail("the first hook was swapped first, and no packet met two versions")


def test_sabotage_a_gate_that_leads_nowhere_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later hooks that cannot hand packets back to the version before."""
    faults.inject(monkeypatch, "gate handed back", lambda *_: [])
    stage.apply(spec(stage, 1))
    for start in range(2, 60, 5):
        if reload_under_traffic(stage, [spec(stage, n) for n in range(start, start + 5)]).mixed:
            return
    pytest.fail("nothing was handed back, and no packet met two versions")


def test_the_way_back_under_traffic_mixes_nothing_either(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both hooks are swapped, then the commit fails."""
    stage.apply(spec(stage, 1))

    def fails(*_: Any) -> None:
        raise OSError(5, "injected")

    with Generator(stage.sandbox.tx, flows=16) as generator:
        generator.start()
        with monkeypatch.context() as patched:
            faults.inject(patched, "reserve disk space", fails)
            done = stage.run("apply", stage.write(spec(stage, 2)))
        assert done.code == 3, done.err
        generator.stop()
        wait_until(lambda: (seen := pairs(stage)).entered == seen.left)
    after = pairs(stage)
    assert after.entered == after.left > 1000
    assert after.mixed == 0


def test_the_plan_says_what_packets_can_meet(stage: Stage) -> None:
    stage.apply(spec(stage, 1, gated=False))
    assert attachments(stage, spec(stage, 2, gated=False)) == {"two versions at two hooks for about 1 ms"}
    first = stage.call("plan", stage.write(spec(stage, 2)))["pipelines"][0]["lines"]
    notes = [note for line in first for note in line["notes"]]
    assert "the gate is not used: packets of the running version do not carry their generation" in notes
    stage.apply(spec(stage, 2))
    assert attachments(stage, spec(stage, 3)) == {"none (gate)"}


def attachments(stage: Stage, wish: dict[str, Any]) -> set[str]:
    lines = stage.call("plan", stage.write(wish))["pipelines"][0]["lines"]
    return {line["interruption"] for line in lines if line["kind"] == "attachment"}


def test_a_gate_that_nobody_obeys_is_refused(stage: Stage) -> None:
    wish = stage.spec("v1", gate=True)
    done = stage.run("validate", stage.write(wish), where=False)
    assert done.code == 65
    assert done.error["reason"] == "gate-not-checked"


def test_a_kernel_without_tcx_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 6.6 the attach type is one that the kernel does not know."""
    faults.inject(monkeypatch, "attach types", {**faults.real("attach types"), "tcx_ingress": 199})
    done = stage.run("apply", stage.write(spec(stage, 1)))
    assert done.code == 69, done.err
    assert "not have links on traffic control (tcx, Linux 6.6)" in done.err
    assert not stage.sandbox.pins()


def filters(stage: Stage) -> str:
    return stage.sandbox.rx.run("tc", "filter", "show", "dev", stage.sandbox.rx.interface, "ingress")


def test_both_hooks_without_reloader(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored generation's script brings back the program on traffic control as well, by a classic filter."""
    stage.apply(spec(stage, 1))
    stage.apply(spec(stage, 2))
    monkeypatch.setattr(test_rescue, "TOOLS", (*test_rescue.TOOLS, "tc"))
    done = test_rescue.rescue(stage, 1)
    try:
        assert done.returncode == 0, done.stderr
        assert stage.attached()
        before = pairs(stage)
        stage.send(10)
        wait_until(lambda: pairs(stage).left >= before.left + 10)
        after = pairs(stage)
        assert (after.entered - before.entered, after.left - before.left, after.mixed) == (10, 10, 0)
    finally:
        test_rescue.sweep(stage)
    assert "bpf" not in filters(stage)


def test_reports_fit_their_schemas(stage: Stage) -> None:
    """Each document a command prints is held to its schema by `call`."""
    stage.apply(spec(stage, 1))
    stage.apply(spec(stage, 2))
    shown = stage.call("show", "edge")
    assert [a["type"] for a in shown["attachments"]] == ["xdp", "tcx"]
    stage.call("history", "edge")
    assert stage.call("diff", "edge", "1", "2")


def test_a_recreated_interface_gets_both_hooks_again(stage: Stage) -> None:
    """The links are dead with the old one; the next apply, unchanged, mends them."""
    rx = stage.sandbox.rx
    wish = spec(stage, 1)
    rx.run("ip", "link", "add", "rx1", "type", "veth", "peer", "name", "rx2")
    for attachment in wish["attach"]:
        attachment["interface"] = "rx1"
    stage.apply(wish)
    rx.run("ip", "link", "delete", "rx1")
    rx.run("ip", "link", "add", "rx1", "type", "veth", "peer", "name", "rx2")
    assert stage.apply(wish)["changed"]
    assert stage.attached("rx1")
    assert not stage.apply(wish)["changed"]
    reasons = {a["reason"] for a in stage.call("status", "edge")["pipelines"][0]["attachments"]}
    assert reasons == {"as-recorded"}


def test_regress_rebuilt_records_know_the_gate(stage: Stage) -> None:
    """Records that were lost: the version that serves carries its generation all the same."""
    stage.apply(spec(stage, 1))
    shutil.rmtree(stage.records)
    stage.records.mkdir(mode=0o700)
    stage.call("recover", "edge")
    (planned,) = stage.call("plan", stage.write(spec(stage, 2)))["pipelines"]
    swaps = [line["interruption"] for line in planned["lines"] if line["kind"] == "attachment"]
    assert swaps == ["none (gate)"] * 2
    assert reload_under_traffic(stage, [spec(stage, 2)]).mixed == 0


def test_regress_the_scripts_filter_does_not_stay_behind_the_link(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each packet would be judged twice."""
    stage.apply(spec(stage, 1))
    monkeypatch.setattr(test_rescue, "TOOLS", (*test_rescue.TOOLS, "tc"))
    assert test_rescue.rescue(stage, 1).returncode == 0
    assert "bpf" in filters(stage)
    stage.call("apply", stage.file)
    assert "bpf" not in filters(stage)
    before = pairs(stage)
    stage.send(10)
    wait_until(lambda: pairs(stage).left >= before.left + 10)
    assert pairs(stage).left == before.left + 10
