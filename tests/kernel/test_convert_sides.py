"""Which side is newer where an entry is in both maps, and what is gone from one of them: fields that do not add up.

Counts have tests of their own; here a program also writes a state, and deletes, at the worst moment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from reloader.engine.execute import execute
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError, NeedsHuman, RolledBack
from reloader.kernel import PERCPU_TYPES
from reloader.plan import ops
from tests.kernel.test_convert_failures import before_drain
from tests.support import faults
from tests.support.conversions import Shifting, cpu_values, joined

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reloader_state.h"
struct flow { %(fields)s };
/* A count, and a state that the second version writes. */
struct {
	__uint(type, BPF_MAP_TYPE_%(kind)s);
	__uint(max_entries, 100);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");
%(declared)s
SEC("xdp") int touch(struct xdp_md *ctx)
{
	struct flow first = {}, *flow;
	__u32 key = 1;

	flow = %(find)s;
	if (!flow)
		return XDP_DROP;
	__sync_fetch_and_add(&flow->packets, 1);
	%(then)s
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
KINDS = {
    "bridged": ("HASH", True), "bridged per CPU": ("PERCPU_HASH", True), "hash": ("HASH", False),
    "per CPU": ("PERCPU_HASH", False), "LRU": ("LRU_HASH", False), "array": ("ARRAY", False),
    "array per CPU": ("PERCPU_ARRAY", False),
}  # fmt: skip
OLD, NEW = 11, 77  # states
INJECTED = KernelError("bpf", 12, "injected")


def _source(version: str, kind: str, calls: bool) -> str:
    fields = {"v1": "__u64 packets; __u64 state;", "v2": "__u64 state; __u64 packets;"}[version]
    by_helper = "bpf_map_lookup_elem(&flows, &key); (void)first"
    return SOURCE % {
        "fields": fields, "kind": kind, "declared": "RELOADER_STATE(flows);" if calls else "",
        "find": "state_get_or_create(flows, &key, &first)" if calls else by_helper,
        "then": f"flow->state = {NEW};" if version == "v2" else "",
    }  # fmt: skip


def _layout(*names: str) -> str:
    listed = ", ".join(f"{{name: {name}, type: u64, at: {8 * i}}}" for i, name in enumerate(names))
    return f"layout: {{key: u32, value: {{struct: flow, size: 16, fields: [{listed}]}}}}\nmerge: {{packets: sum}}\n"


class Sides(Shifting):
    """Keys 0 to 2, each of 100 packets and in the old state, on every CPU."""

    def fill(self) -> None:
        with self.pub("flows") as fd:
            kind = self.kernel.maps.info(fd).type
            cpus = self.kernel.possible_cpus() if kind in PERCPU_TYPES else 1
            value = joined(kind, [struct.pack("=QQ", 100, OLD)] * cpus)
            self.kernel.maps.update_many(fd, [struct.pack("=I", key) for key in range(3)], [value] * 3)

    def states(self, pin: str = "") -> dict[int, tuple[int, set[int]]]:
        """By key: packets of all CPUs beyond what `fill` put there, and the states found."""
        with self.kernel.pins.get(pin) if pin else self.pub("flows") as fd:
            info, items = self.kernel.maps.info(fd), self.kernel.maps.items(fd)
        found = {}
        for key, data in items.items():
            parts = [struct.unpack("=QQ", v) for v in cpu_values(info.type, info.value_size, data)]
            if self.version == "v2":
                parts = [(packets, state) for state, packets in parts]
            found[int.from_bytes(key, "little")] = (
                sum(p for p, _ in parts) - 100 * len(parts), {s for _, s in parts},
            )  # fmt: skip
        return {key: found[key] for key in range(3) if key in found}

    def packet(self, bench: Workspace) -> None:
        """One, met by the version that has just been swapped in."""
        stage = "bridge" if "bridge" in bench.loads else "clean"
        assert self.kernel.progs.run(bench.loads[stage].progs["touch"], bytes(64)) == 2


@pytest.fixture
def stage_of(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Sides]:
    def made(what: str) -> Sides:
        files = {v: compile_bpf(_source(v, *KINDS[what])) for v in ("v1", "v2")}
        stage = Sides(sandbox, tmp_path, files, "flows: {role: state}")
        stage.attached = {"touch": sandbox.rx}
        stage.record("flows", _layout("packets", "state"), _layout("state", "packets"))
        stage.apply("v1")
        stage.fill()
        return stage

    return made


@pytest.mark.parametrize("what", KINDS)
def test_regress_undo_keeps_what_the_new_program_wrote(
    what: str, stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is not the count: both are as the new program left them."""
    stage = stage_of(what)

    def served_then_failed(bench: Workspace, _: ops.Drain) -> None:
        stage.packet(bench)
        raise INJECTED

    before_drain(monkeypatch, served_then_failed)
    with pytest.raises(RolledBack):
        stage.apply("v2")
    found = stage.states()
    assert found[0] == found[2] == (0, {OLD})
    assert found[1][0] == 1
    assert NEW in found[1][1]
    assert found[1][1] <= ({OLD, NEW} if "CPU" in what else {NEW})
    assert len(stage.pins_of("flows")) == 1


def test_regress_undo_after_the_drain(stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it had moved when the second swap of links failed."""
    stage = stage_of("bridged")

    def executed(bench: Workspace, op: ops.Op) -> None:
        if isinstance(op, ops.SwapLink) and any(isinstance(done, ops.Drain) for done in bench.done):
            raise INJECTED
        execute(bench, op)
        if isinstance(op, ops.Drain):
            stage.packet(bench)

    faults.inject(monkeypatch, "execute", executed)
    with pytest.raises(RolledBack):
        stage.apply("v2")
    assert stage.states() == {0: (0, {OLD}), 1: (1, {NEW}), 2: (0, {OLD})}


@pytest.mark.parametrize("what", ["hash", "array", "bridged"])
def test_regress_undo_without_a_swap_touches_nothing(
    what: str, stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the swap: what the old version wrote since the copy, and what it deleted, stays so."""
    stage = stage_of(what)

    def executed(bench: Workspace, op: ops.Op) -> None:
        if not isinstance(op, ops.SwapLink):
            return execute(bench, op)
        with bench.kernel.pins.get(stage.pins_of("flows")[0]) as fd:
            assert bench.kernel.maps.info(fd).value_size == 16
        with stage.pub("flows") as fd:
            bench.kernel.maps.update_many(fd, [struct.pack("=I", 1)], [struct.pack("=QQ", 105, 12)])
            if what != "array":
                bench.kernel.maps.delete_many(fd, [struct.pack("=I", 2)])
        raise INJECTED

    faults.inject(monkeypatch, "execute", executed)
    with pytest.raises(RolledBack):
        stage.apply("v2")
    rest = {2: (0, {OLD})} if what == "array" else {}
    assert stage.states() == {0: (0, {OLD}), 1: (5, {12}), **rest}


def test_regress_undo_that_was_cut_short_yields_to_the_old_program(
    stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It served for as long as nobody called recover: its state is the newer one by then, and counts still add up."""
    stage = stage_of("hash")

    def executed(bench: Workspace, op: ops.Op) -> None:
        if isinstance(op, ops.Drain):
            if not op.back:
                stage.packet(bench)
            raise INJECTED
        execute(bench, op)

    with monkeypatch.context() as patched:
        faults.inject(patched, "execute", executed)
        faults.inject(patched, "execute within apply", executed)
        with pytest.raises(NeedsHuman):
            stage.apply("v2")
    with stage.pub("flows") as fd:
        stage.kernel.maps.update_many(fd, [struct.pack("=I", 1)], [struct.pack("=QQ", 103, 12)])
    stage.recover()
    assert stage.states() == {0: (0, {OLD}), 1: (4, {12}), 2: (0, {OLD})}


@pytest.mark.parametrize("what", ["hash", "per CPU", "bridged"])
def test_regress_deleted_after_the_swap_stays_deleted(
    what: str, stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new program deletes an entry whose counts are still in the old map; one born since the copy comes along."""
    stage = stage_of(what)
    key, born = struct.pack("=I", 2), struct.pack("=I", 50)

    def deleted(bench: Workspace, op: ops.Drain) -> None:
        with bench.kernel.pins.get(op.target) as new, bench.kernel.pins.get(op.source) as old:
            value = bench.kernel.maps.lookup(old, key)
            assert value is not None
            bench.kernel.maps.update_many(old, [born], [value])
            for fd in (new, old) if what == "bridged" else (new,):
                bench.kernel.maps.delete_many(fd, [key])

    before_drain(monkeypatch, deleted)
    stage.apply("v2")
    assert stage.states() == {0: (0, {OLD}), 1: (0, {OLD})}
    assert born in stage.contents("flows")
    assert len(stage.pins_of("flows")) == 1


def test_what_the_bridge_did_is_reported(stage_of: Callable[[str], Sides], monkeypatch: pytest.MonkeyPatch) -> None:
    """One packet met an entry that had not moved yet."""
    stage = stage_of("bridged")
    before_drain(monkeypatch, lambda bench, _: stage.packet(bench))
    assert stage.apply("v2").bridge == {"taken": 1}
    assert stage.apply("v1").bridge == {}
