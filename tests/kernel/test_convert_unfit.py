"""Entries without a place in the layout gone to: told before the swap, and no reason for a way back to fail."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from reloader.disk.lock import writer_of
from reloader.engine import execute as apply_module
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError, NothingSwapped, RolledBack
from reloader.kernel import PERCPU_TYPES
from reloader.lifecycle.carry_out import Result
from reloader.lifecycle.return_to_previous import describe_return, end_trial
from reloader.lifecycle.rollback import rollback as roll_back
from reloader.plan import ops
from reloader.store import records
from reloader.store.records import Trial
from tests.support import faults
from tests.support.conversions import Shifting, cpu_values, joined

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reloader_state.h"
struct key { %(key)s };
struct flow { %(value)s };
/* Numbers that the tests put there. */
struct {
	__uint(type, BPF_MAP_TYPE_%(type)s);
	__uint(max_entries, 100);
	__type(key, %(of)s);
	__type(value, struct flow);
} flows SEC(".maps");
%(declared)s
SEC("xdp") int count(struct xdp_md *ctx)
{
	%(of)s key = {};
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	return flow && flow->packets ? XDP_PASS : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
IP, IP_ZONE = "__u32 ip;", "__u32 ip, zone;"
BYTES = {"__u32": 4, "__u64": 8}
RULES = {"zone": "rules: {key: {zone: {default: 7}}}", "unzone": "rules: {key: {zone: {drop: true, was: 7}}}"}
RULES |= {"wide": "rules: {value: {packets: {widen: true}}}"}


def layout(key: str, value: str, *, indexed: bool = False, rules: str = "") -> str:
    names = re.findall(r"\w+", key)[1:]
    fields = ", ".join(f"{{name: {name}, type: u32, at: {4 * i}}}" for i, name in enumerate(names))
    keys = "u32" if indexed else f"{{struct: key, size: {4 * len(names)}, fields: [{fields}]}}"
    size = BYTES[value.split()[0]]
    values = f"{{struct: flow, size: {size}, fields: [{{name: packets, type: u{8 * size}, at: 0}}]}}"
    return f"layout: {{key: {keys}, value: {values}}}\nmerge: {{packets: sum}}\n{RULES.get(rules, '')}\n"


Entries = dict[tuple[int, ...], int]  # fields of the key → packets


class Unfit(Shifting):
    """Ten entries in version 1; then version 2, where some may be made that version 1 has no place for."""

    def put(self, entries: Entries) -> None:
        with self.pub("flows") as fd:
            info = self.kernel.maps.info(fd)
            cpus = self.kernel.possible_cpus() if info.type in PERCPU_TYPES else 1
            of = {struct.pack(f"={len(k)}I", *k): n.to_bytes(info.value_size, "little") for k, n in entries.items()}
            zero = bytes(info.value_size)
            each = [joined(info.type, [v, *[zero] * (cpus - 1)]) for v in of.values()]
            self.kernel.maps.update_many(fd, list(of), each)

    def numbers(self) -> Entries:
        with self.pub("flows") as fd:
            info = self.kernel.maps.info(fd)
        return {
            struct.unpack(f"={len(k) // 4}I", k): sum(
                int.from_bytes(v, "little") for v in cpu_values(info.type, info.value_size, data)
            )
            for k, data in self.contents("flows").items()
        }


Make = Callable[..., Unfit]
KINDS = [("HASH", True), ("HASH", False), ("LRU_HASH", True), ("PERCPU_HASH", False), ("PERCPU_HASH", True)]


@pytest.fixture
def make(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Make:
    def made(kind: str, old: tuple[str, str], new: tuple[str, str], rules: str, *, header: bool = False) -> Unfit:
        indexed = "ARRAY" in kind
        words = {"type": kind, "of": "__u32" if indexed else "struct key"}
        words["declared"] = "RELOADER_STATE(flows);" if header else ""
        files = {
            f"v{n}": compile_bpf(SOURCE % {**words, "key": k, "value": v}) for n, (k, v) in enumerate((old, new), 1)
        }
        stage = Unfit(sandbox, tmp_path, files, "flows: {role: state}")
        stage.attached = {"count": sandbox.rx}
        stage.record("flows", layout(*old, indexed=indexed), layout(*new, indexed=indexed, rules=rules))
        stage.apply("v1")
        return stage

    return made


def longer_key(make: Make, kind: str = "HASH", *, header: bool = True) -> Unfit:
    stage = make(kind, (IP, "__u64 packets;"), (IP_ZONE, "__u64 packets;"), "zone", header=header)
    stage.put({(n,): 100 + n for n in range(10)})
    return stage


TEN: Entries = {(n,): 100 + n for n in range(10)}
ODD: Entries = {(100, 8): 5, (3, 9): 6}  # of two other zones
ONLY = r"flows: 2 keys cannot be converted; only entries where key\.zone is 7 can; nothing was swapped"


def go_back(stage: Unfit, *, leave_out: bool) -> Result:
    with writer_of(stage.host) as writer:
        return roll_back(writer, "edge", None, leave_out=leave_out)


@pytest.mark.parametrize(("kind", "header"), KINDS)
def test_regress_new_keys_outside_the_guard_do_not_block_the_rollback(make: Make, kind: str, header: bool) -> None:
    stage = longer_key(make, kind, header=header)
    (line,) = (line for line in stage.plan("v2").lines if line.name == "flows")
    assert any("a rollback refuses entries unless key.zone is 7" in note for note in line.notes)
    stage.apply("v2")
    stage.put(ODD)
    before = stage.numbers()
    with pytest.raises(NothingSwapped, match=ONLY) as refused:
        go_back(stage, leave_out=False)
    assert "--allow-lossy-rollback" in refused.value.hint
    assert stage.numbers() == before == {(*k, 7): n for k, n in TEN.items()} | ODD
    assert go_back(stage, leave_out=True).left_out == {"flows": 2}
    assert stage.numbers() == TEN
    assert len(stage.pins_of("flows")) == 1


@pytest.mark.parametrize(("kind", "header"), [*KINDS, ("ARRAY", False), ("PERCPU_ARRAY", False)])
def test_regress_a_count_that_grew_too_large_does_not_block_the_rollback(make: Make, kind: str, header: bool) -> None:
    stage = make(kind, (IP, "__u32 packets;"), (IP, "__u64 packets;"), "wide", header=header)
    stage.put(TEN)
    (line,) = (line for line in stage.plan("v2").lines if line.name == "flows")
    assert any("a rollback refuses entries unless value.packets fits u32" in note for note in line.notes)
    stage.apply("v2")
    stage.put({(1,): 1 << 40})
    with pytest.raises(NothingSwapped, match=r"1 value cannot be converted, .*value\.packets fits u32") as refused:
        go_back(stage, leave_out=False)
    assert "--allow-lossy-rollback" in refused.value.hint
    assert stage.numbers()[(1,)] == 1 << 40
    assert go_back(stage, leave_out=True).left_out == {"flows": 1}
    left = {key: n for key, n in stage.numbers().items() if n}
    assert left == {key: n for key, n in TEN.items() if key != (1,)}


@pytest.mark.parametrize("header", [True, False])
def test_regress_the_undo_leaves_out_what_has_no_place(
    make: Make, monkeypatch: pytest.MonkeyPatch, header: bool
) -> None:
    stage = longer_key(make, header=header)
    execute = apply_module.execute

    def executed(bench: Workspace, op: ops.Op) -> None:
        if isinstance(op, ops.Drain) and op.source.endswith("-1"):
            with bench.kernel.pins.get(op.target) as new:
                bench.kernel.maps.update_many(new, [struct.pack("=II", *k) for k in ODD], [bytes(8)] * len(ODD))
            raise KernelError("bpf", 12, "injected")
        execute(bench, op)

    faults.inject(monkeypatch, "execute", executed)
    with pytest.raises(RolledBack, match="flows: dropped 2 entries that the layout cannot hold"):
        stage.apply("v2")
    assert stage.numbers() == TEN
    assert stage.recover() == []
    assert len(stage.pins_of("flows")) == 1


def test_regress_a_failed_trial_finds_its_way_home(make: Make) -> None:
    stage = longer_key(make)
    stage.apply("v2")
    stage.put(ODD)
    current = records.read_current(stage.paths, "edge")
    assert current is not None
    trial = Trial(
        generation=2, back_to=1, boot_id=stage.kernel.boot_id(), healthy_at=0, until=1, confirm=False, grace=0, guard=0,
        guard_born=0,
    )  # fmt: skip
    on_trial = replace(current, trial=trial)
    with writer_of(stage.host) as writer:
        sent = end_trial(writer, on_trial, "a check failed")
    assert stage.numbers() == TEN
    told = "flows: dropped 2 entries that the layout cannot hold"
    assert told in describe_return(on_trial, sent)
    ended = records.read_generation(stage.paths, "edge", 2).outcome
    assert ended is not None
    assert (ended.kind, told in ended.words) == (records.OutcomeKind.BACK, True)


def test_regress_a_dropped_key_part_that_varies_is_refused_before_the_swap(make: Make) -> None:
    stage = make("HASH", (IP_ZONE, "__u64 packets;"), (IP, "__u64 packets;"), "unzone")
    stage.put({(1, 7): 1, (2, 7): 2, **ODD})
    before = stage.numbers()
    with pytest.raises(NothingSwapped, match=ONLY):
        stage.apply("v2")
    assert stage.numbers() == before
    with stage.pub("flows") as fd:
        stage.kernel.maps.delete_many(fd, [struct.pack("=II", *k) for k in ODD])
    stage.apply("v2")
    assert stage.numbers() == {(1,): 1, (2,): 2}
