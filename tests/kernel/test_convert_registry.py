"""Conversions by a real registry, from YAML to kernel, under traffic: several in a row, four versions in one pass,
other sizes and flags, global variables, and a process that goes on writing to the map it opened before.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.cli import main
from reloader.errors import RefusedChange
from tests.support.conversions import Shifting
from tests.support.refusals import refused_for

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reloader_state.h"
struct flow_key { __be32 saddr, daddr; __be16 sport, dport; __u8 proto; };
#include "flow_parse.h"
struct port { __u32 number; };
struct flow { %(fields)s };
/* Packets by source port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, %(entries)s);
	__uint(map_flags, %(flags)s);
	__type(key, struct port);
	__type(value, struct flow);
} flows SEC(".maps");
RELOADER_STATE(flows);
/* Packets in all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");
SEC("xdp") int count_ports(struct xdp_md *ctx)
{
	struct flow_key parsed;
	struct flow first = {}, *flow;
	struct port port = {};
	__u32 zero = 0;
	__u64 *all = bpf_map_lookup_elem(&seen, &zero);

	if (!all || parse_flow(ctx, &parsed) != PARSED_FLOW)
		return XDP_DROP;
	port.number = bpf_ntohs(parsed.sport);
	flow = state_get_or_create(flows, &port, &first);
	if (!flow)
		return XDP_DROP;
	__sync_fetch_and_add(all, 1);
	__sync_fetch_and_add(&flow->packets, 1);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
FIELDS = {
    "v1": "__u64 packets; __u64 bytes; __u32 mark; __u32 kind;",
    "v2": "__u64 bytes; __u64 packets; __u32 kind; __u32 mark;",
    "v3": "__u64 octets; __u64 packets; __u64 mark; __u32 kind; __u32 zone;",
    "v4": "__u32 zone; __u32 kind; __u64 mark; __u64 packets; __u64 octets; __u8 tags[8];",
}
LAYOUTS = {
    "v1": "packets:u64:0 bytes:u64:8 mark:u32:16 kind:u32:20",
    "v2": "bytes:u64:0 packets:u64:8 kind:u32:16 mark:u32:20",
    "v3": "octets:u64:0 packets:u64:8 mark:u64:16 kind:u32:24 zone:u32:28",
    "v4": "zone:u32:0 kind:u32:4 mark:u64:8 packets:u64:16 octets:u64:24 tags:u8[8]:32",
}
RULES = {
    "v3": "rules: {value: {octets: {rename: bytes}, mark: {widen: true}, zone: {default: 7}}}",
    "v4": "rules: {value: {tags: {default: [1, 2]}}}",
}
SIZES = {"v1": 24, "v2": 24, "v3": 32, "v4": 40}
PLACES = {  # packets, octets, mark: offset and format
    "v1": ((0, "Q"), (8, "Q"), (16, "I")), "v2": ((8, "Q"), (0, "Q"), (20, "I")),
    "v3": ((8, "Q"), (0, "Q"), (16, "Q")), "v4": ((16, "Q"), (24, "Q"), (8, "Q")),
}  # fmt: skip
MADE_BY_HAND = {1 << 20 | n: (n, 3 * n + 1, n + 5) for n in range(500)}  # port -> packets, octets, mark


def layout(version: str) -> str:
    fields = [f.split(":") for f in LAYOUTS[version].split()]
    listed = ", ".join(f'{{name: {name}, type: "{kind}", at: {at}}}' for name, kind, at in fields)
    size, octets = SIZES[version], "bytes" if version < "v3" else "octets"
    key = "{struct: port, size: 4, fields: [{name: number, type: u32, at: 0}]}"
    body = f"layout: {{key: {key}, value: {{struct: flow, size: {size}, fields: [{listed}]}}}}"
    return f"{body}\nmerge: {{packets: sum, {octets}: sum}}\n{RULES.get(version, '')}\n"


class Ports(Shifting):
    """count_ports with a few hundred entries that no packet touches."""

    def put(self) -> None:
        with self.pub("flows") as fd:
            keys = [struct.pack("=I", port) for port in MADE_BY_HAND]
            values = [struct.pack("=QQII", *numbers, 0) for numbers in MADE_BY_HAND.values()]
            self.kernel.maps.update_many(fd, keys, values)

    def numbers(self) -> dict[int, tuple[int, ...]]:
        places = PLACES[self.version[:2]]
        return {
            struct.unpack("=I", key)[0]: tuple(struct.unpack_from(f"={f}", value, at)[0] for at, f in places)
            for key, value in self.contents("flows").items()
        }

    def seen(self) -> int:
        return int.from_bytes(self.contents("seen")[bytes(4)], "little")

    def assert_whole(self, generator: Generator) -> None:
        """Every packet is in an entry, and what no packet touched is as it was made."""
        generator.stop()
        before = -1
        while before != (before := self.seen()):
            time.sleep(0.05)
        numbers = self.numbers()
        assert {port: numbers.pop(port) for port in MADE_BY_HAND} == MADE_BY_HAND
        assert sum(packets for packets, _, _ in numbers.values()) == before > 5_000


@pytest.fixture
def ports(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Ports:
    words = {"entries": 5000, "flags": 0}
    files = {v: compile_bpf(SOURCE % {**words, "fields": fields}) for v, fields in FIELDS.items()}
    sizes = {"v4-sparse": (6000, "BPF_F_NO_PREALLOC"), "v4-small": (800, 0), "v4-tiny": (600, 0)}
    for name, (entries, flags) in sizes.items():
        files[name] = compile_bpf(SOURCE % {"entries": entries, "flags": flags, "fields": FIELDS["v4"]})
    stage = Ports(sandbox, tmp_path, files, "flows: {role: state}, seen: {role: state}")
    stage.record("flows", *map(layout, FIELDS))
    stage.record("seen", "layout: {key: u32, value: u64}\nmerge: sum\n")
    stage.attached, stage.lossy = {"count_ports": sandbox.rx}, True
    stage.apply("v1")
    stage.put()
    return stage


@pytest.fixture
def traffic(ports: Ports) -> Iterator[Generator]:
    with Generator(ports.sandbox.tx, flows=250) as generator:
        generator.start(rate=100_000)
        time.sleep(0.1)
        yield generator


def test_three_upgrades_in_a_row_and_all_the_way_back(ports: Ports, traffic: Generator) -> None:
    for version in ("v2", "v3", "v4"):
        ports.apply(version)
        time.sleep(0.03)
    for version in ("v3", "v2", "v1"):
        ports.rollback()
        ports.version = version
        time.sleep(0.03)
    ports.assert_whole(traffic)


def test_from_the_first_version_to_the_fourth_in_one_pass(ports: Ports, traffic: Generator) -> None:
    line = next(line for line in ports.plan("v4").lines if line.name == "flows")
    assert line.detail[0] == "version 1 → 4"
    ports.apply("v4")
    ports.assert_whole(traffic)
    for value in ports.contents("flows").values():
        zone, tags = struct.unpack_from("=I", value)[0], value[32:]
        assert (zone, tags) in ((7, bytes([1, 2, 0, 0, 0, 0, 0, 0])), (0, bytes(8)))  # converted, or born since


def test_regress_a_version_written_anew_is_refused_and_nothing_changes_places(ports: Ports) -> None:
    """`rm -r state; reloader state new` for the second version: both are version 1, and mean different layouts."""
    before = ports.contents("flows")
    ports.record("flows", layout("v2"))
    for change in (ports.plan, ports.apply):
        with pytest.raises(RefusedChange) as refused:
            change("v2")
        values = refused_for(refused.value, "version-edited")
        assert (values["version"], values["generation"]) == (1, 1)
        assert "        value.packets: offset 0 → 8" in refused.value.detail
    assert ports.contents("flows") == before


def test_regress_two_branches_with_a_version_two_each_are_told_apart(ports: Ports) -> None:
    ports.apply("v2")
    before = ports.contents("flows")
    ports.record("flows", layout("v1"), layout("v3"))
    with pytest.raises(RefusedChange) as refused:
        ports.apply("v3")
    values = refused_for(refused.value, "version-edited")
    assert (values["version"], values["generation"]) == (2, 2)
    assert ports.contents("flows") == before
    ports.record("flows", *map(layout, ("v1", "v2", "v3")))
    ports.apply("v3")
    assert ports.numbers() == MADE_BY_HAND


def test_size_and_flags_change_by_the_same_way(ports: Ports, traffic: Generator) -> None:
    """From preallocated to entry by entry with more room, and to a smaller preallocated map again."""
    ports.apply("v4")
    for name, (entries, flags) in {"v4-sparse": (6000, 1), "v4-small": (800, 0)}.items():
        said = next(line for line in ports.plan(name).lines if line.name == "flows")
        assert said.action == "state: convert"
        ports.apply(name)
        with ports.pub("flows") as fd:
            info = ports.kernel.maps.info(fd)
        assert (info.max_entries, info.map_flags & 1) == (entries, flags)
        time.sleep(0.03)
    ports.assert_whole(traffic)
    with pytest.raises(RefusedChange) as refused:
        ports.apply("v4-tiny")
    values = refused_for(refused.value, "entries-too-many")
    assert (values["count"], values["max_entries"]) == (750, 600)


WRITER = """
import json, struct, sys
from reloader.bpf.live import LiveKernel
from reloader.errors import KernelError
from tests.support.refusals import refused_for
kernel, path = LiveKernel(), sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
refused = 0
with kernel.pins.get(path) as fd:
    print("open", flush=True)
    for written in range(1_000_000):
        try:
            key, value = struct.pack("=I", 1 << 24 | written), struct.pack("=QQII", written, 1, 2, 3)
            kernel.maps.update_many(fd, [key], [value])
        except KernelError as error:
            refused = error.errno
            break
with kernel.pins.get(path) as fd:
    print(json.dumps({"written": written, "errno": refused, "value_size": kernel.maps.info(fd).value_size}), flush=True)
"""


def test_a_process_that_writes_on_to_the_old_map_is_told_and_loses_nothing(
    ports: Ports, compile_bpf: Callable[[str], Path]
) -> None:
    """It opened pub/flows before; every write that succeeded is there, the first one that would be lost is refused, and
    pub/flows then leads to the new map."""
    words = {"entries": 2_000_000, "flags": "BPF_F_NO_PREALLOC"}
    ports.object("roomy", compile_bpf(SOURCE % {**words, "fields": FIELDS["v1"]}))
    ports.object("v4", compile_bpf(SOURCE % {**words, "fields": FIELDS["v4"]}))
    ports.apply("roomy")
    path = ports.paths.pub_pin("edge", "flows")
    command = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin
        assert writer.stdout
        try:
            assert writer.stdout.readline().strip() == "ready"
            print(file=writer.stdin, flush=True)
            assert writer.stdout.readline().strip() == "open"
            time.sleep(0.05)
            ports.apply("v4")
            told = json.loads(writer.stdout.readline())
        finally:
            writer.kill()
    assert told["errno"] == 1
    assert told["value_size"] == SIZES["v4"]
    assert told["written"] > 100
    numbers = ports.numbers()
    missing = [n for n in range(told["written"]) if numbers.get(1 << 24 | n) != (n, 1, 2)]
    assert missing == []


GLOBALS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
%s
SEC("xdp") int tally(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&total, 1);
	__sync_fetch_and_add(&started_packets, 1);
	return mode ? XDP_ABORTED : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
BEFORE = "__u8 mode; __u64 total; __u64 started_packets = 1000;"
AFTER = "__u64 more_packets[3]; __u64 total; __u8 mode; __u8 level = 4; __u64 started_packets = 7;"


def test_global_variables_take_another_layout_under_traffic(
    sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path
) -> None:
    """.bss and .data, recorded by `state new` alone: what packets counted goes on, initial values do not win."""
    files = {"v1": compile_bpf(GLOBALS % BEFORE), "v2": compile_bpf(GLOBALS % AFTER)}
    stage = Shifting(sandbox, tmp_path, files, ".bss: {role: state}, .data: {role: state}")
    stage.attached, stage.schema, stage.lossy = {"tally": sandbox.rx}, "edge", True
    for path in files.values():
        assert main(["state", "new", str(path), "--schema", "edge", "--dir", str(tmp_path / "state"), "-q"]) == 0
    stage.apply("v1")
    with Generator(sandbox.tx, flows=10) as generator:
        generator.start(rate=200_000)
        for version in ("v2", "v1", "v2"):
            time.sleep(0.03)
            stage.apply(version)
        sent = generator.stop().delivered
        end = time.monotonic() + 2
        while _variable(stage, ".bss", "total") < sent and time.monotonic() < end:
            time.sleep(0.01)
    assert sent > 5_000
    assert _variable(stage, ".bss", "total") == sent
    assert _variable(stage, ".data", "started_packets") == sent + 1000


def _variable(stage: Shifting, section: str, name: str) -> int:
    wanted = next(m for m in stage.intake(stage.version).wish.maps if m.name == section)
    assert wanted.value
    at = next(m.offset_bits // 8 for m in wanted.value.fields() if m.name == name)
    (value,) = stage.contents(section).values()
    return int(struct.unpack_from("=Q", value, at)[0])
