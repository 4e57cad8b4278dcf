"""RELOADER_STATE in an object is no promise that its programs use the calls: the plan says what really happens."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from reloader.kernel import Fd
from reloader.pipeline.compile import compile_file
from reloader.plan import ops
from reloader.wording.message import code_of
from tests.kernel.test_convert_failures import before_drain
from tests.support.conversions import Shifting

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reloader_state.h"
struct flow { %(fields)s };
/* State that every packet finds under key 1. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");
RELOADER_STATE(flows);
SEC("xdp") int by_calls(struct xdp_md *ctx)
{
	struct flow first = {}, *flow;
	__u32 key = 1;

	flow = state_get_or_create(flows, &key, &first);
	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	return XDP_PASS;
}
SEC("xdp") int by_helpers(struct xdp_md *ctx)
{
	struct flow first = {}, *flow;
	__u32 key = 1;

	bpf_map_update_elem(&flows, &key, &first, BPF_NOEXIST);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
FIELDS = {"v1": "__u64 packets; __u64 mark;", "v2": "__u64 mark; __u64 packets;"}


def _layout(*names: str) -> str:
    listed = ", ".join(f"{{name: {name}, type: u64, at: {8 * i}}}" for i, name in enumerate(names))
    return f"layout: {{key: u32, value: {{struct: flow, size: 16, fields: [{listed}]}}}}\nmerge: {{packets: sum}}\n"


@pytest.fixture
def stage(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Shifting:
    files = {v: compile_bpf(SOURCE % {"fields": fields}) for v, fields in FIELDS.items()}
    made = Shifting(sandbox, tmp_path, files, "flows: {role: state}")
    made.record("flows", _layout("packets", "mark"), _layout("mark", "packets"))
    return made


def test_regress_header_declared_but_plain_calls(stage: Shifting, monkeypatch: pytest.MonkeyPatch) -> None:
    """One program of two goes past the calls: its packets keep finding their entry, for it is copied ahead."""
    stage.attached = {"by_calls": stage.sandbox.rx, "by_helpers": stage.sandbox.tx}
    stage.apply("v1")
    with stage.pub("flows") as fd:
        stage.kernel.maps.update_many(fd, [struct.pack("=I", 1)], [struct.pack("=QQ", 100, 11)])
    line = next(line for line in stage.plan("v2").lines if line.name == "flows")
    assert any(code_of(note) == "not-bridged" and "by_helpers" in note for note in line.notes)
    assert line.state is not None
    assert line.state.method == "copy, swap, drain"
    assert not any("always found" in note for note in line.notes)

    before_drain(monkeypatch, lambda bench, op: _packet(stage, bench.loads["clean"].progs["by_helpers"]))
    stage.apply("v2")
    assert stage.contents("flows") == {struct.pack("=I", 1): struct.pack("=QQ", 11, 101)}


def _packet(stage: Shifting, program: Fd) -> None:
    assert stage.kernel.progs.run(program, bytes(64)) == 2


def test_a_program_that_is_not_attached_keeps_no_bridge_away(stage: Shifting) -> None:
    stage.attached = {"by_calls": stage.sandbox.rx}
    stage.apply("v1")
    plan = stage.plan("v2")
    assert not any(isinstance(op, ops.CopyOver) for op in plan.ops)
    stage.apply("v2")
    (wish,) = (made.wish for made in compile_file(stage.file))
    assert wish.map("flows").bridge
    assert wish.map("flows").past_bridge == ()
