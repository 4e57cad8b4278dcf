"""State in maps of maps: the very same map while the layout of the maps in it stays, else a successor for each.

Packets count in the map of their tenant, which user space made and put there, as is usual; a plain array counts the
same packets by tenant and keeps its layout.
"""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.convert import migrate, nested
from reloader.engine import execute as apply_module
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError, RefusedChange, RolledBack
from reloader.kernel import Fd, MapInfo, MapType
from reloader.plan import ops
from tests.support import faults
from tests.support.conversions import Shifting
from tests.support.refusals import refused_for

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct flow_key { __be32 saddr, daddr; __be16 sport, dport; __u8 proto; };
#include "flow_parse.h"
struct usage { %(fields)s };
const volatile struct usage usage_layout = {}; /* or clang leaves its fields out of the BTF */
struct usage_map {
	__uint(type, BPF_MAP_TYPE_%(inner)s);
	__uint(max_entries, %(entries)s);
	__type(key, __u32);
	__type(value, struct usage);
};
/* For each tenant a map of packets by port. */
struct {
	__uint(type, BPF_MAP_TYPE_%(outer)s);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct usage_map);
} tenants SEC(".maps");
/* Packets by tenant, in all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");
SEC("xdp") int meter(struct xdp_md *ctx)
{
	struct flow_key flow;
	if (parse_flow(ctx, &flow) != PARSED_FLOW)
		return XDP_DROP;
	__u32 tenant = bpf_ntohl(flow.saddr) & 3, port = bpf_ntohs(flow.sport) & 63;
	__u64 *all = bpf_map_lookup_elem(&seen, &tenant);
	void *ports = bpf_map_lookup_elem(&tenants, &tenant);
	struct usage first = {}, *usage;
	if (!all || !ports)
		return XDP_DROP;
	usage = bpf_map_lookup_elem(ports, &port);
	if (!usage) {
		bpf_map_update_elem(ports, &port, &first, BPF_NOEXIST);
		usage = bpf_map_lookup_elem(ports, &port);
	}
	if (!usage)
		return XDP_DROP;
	__sync_fetch_and_add(all, 1);
	__sync_fetch_and_add(&usage->packets, 1);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
FIELDS = {"v1": "__u64 packets; __u64 quota;", "v2": "__u64 quota; __u64 zone; __u64 packets;"}
VALUES = {
    "v1": "{struct: usage, size: 16, fields: [{name: packets, type: u64, at: 0}, {name: quota, type: u64, at: 8}]}",
    "v2": "{struct: usage, size: 24, fields: [{name: quota, type: u64, at: 0}, {name: zone, type: u64, at: 8},"
    " {name: packets, type: u64, at: 16}]}",
}
PACKETS_AT = {16: 0, 24: 16}
WORDS = {"outer": "HASH_OF_MAPS", "inner": "HASH", "entries": 1024}
TENANTS = (0, 1, 2)  # the fourth has no map: its packets are dropped


def versions(inner: str) -> tuple[str, str]:
    body = "layout: {{key: u32, value: {{map: {}, key: u32, value: {}}}}}\nmerge: {{packets: sum}}\n"
    first, second = (body.format(inner.lower(), VALUES[v]) for v in ("v1", "v2"))
    return first, second + "rules: {value: {zone: {default: 7}}}\n"


class Tenants(Shifting):
    """meter with a map for each of three tenants."""

    inner = MapType.HASH
    room = 1024  # entries of an inner map

    def put(self, tenant: int) -> int:
        """A new map for a tenant, made by user space in the layout of version 1; its id."""
        name = f"tenant_{tenant}"
        shape = MapInfo(id=0, type=self.inner, name=name, key_size=4, value_size=16, max_entries=self.room, map_flags=0)
        with self.kernel.maps.create(shape) as fd, self.pub("tenants") as outer:
            self.kernel.maps.update_many(outer, [tenant.to_bytes(4, "little")], [fd.fileno().to_bytes(4, "little")])
            self.kernel.maps.update_many(fd, [bytes(4)], [struct.pack("=2Q", 0, 100 + tenant)])
            return self.kernel.maps.info(fd).id

    def held(self) -> dict[int, int]:
        """Tenant → id of its map."""
        with self.pub("tenants") as outer:
            return {int.from_bytes(k, "little"): i for k, i in nested.slots(self.kernel, outer).items()}

    def inside(self, tenant: int) -> Fd:
        return self.kernel.maps.by_id(self.held()[tenant])

    def packets(self) -> dict[int, int]:
        out = {}
        for tenant in self.held():
            with self.inside(tenant) as fd:
                at, values = PACKETS_AT[self.kernel.maps.info(fd).value_size], self.kernel.maps.items(fd).values()
            out[tenant] = sum(struct.unpack_from("=Q", v, at)[0] for v in values)
        return out

    def everywhere(self) -> int:
        """Packets in the maps of both outer maps, while there are two."""
        ids: set[int] = set()
        for pin in self.pins_of("tenants"):
            with self.kernel.pins.get(pin) as outer:
                ids |= set(nested.slots(self.kernel, outer).values())
        total = 0
        for inner in ids:
            with self.kernel.maps.by_id(inner) as fd:
                at, values = PACKETS_AT[self.kernel.maps.info(fd).value_size], self.kernel.maps.items(fd).values()
            total += sum(struct.unpack_from("=Q", v, at)[0] for v in values)
        return total

    def serves(self) -> int:
        """The value size of inner maps that serve."""
        with self.inside(0) as fd:
            return self.kernel.maps.info(fd).value_size

    def seen(self) -> dict[int, int]:
        counted = {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in self.contents("seen").items()}
        return {tenant: counted[tenant] for tenant in self.held()}

    def settle(self, generator: Generator) -> None:
        generator.stop()
        before: dict[int, int] = {}
        while before != (before := self.seen()):
            time.sleep(0.05)


@pytest.fixture(params=["HASH_OF_MAPS HASH", "ARRAY_OF_MAPS HASH", "HASH_OF_MAPS ARRAY", "HASH_OF_MAPS LRU_HASH"])
def kinds(request: pytest.FixtureRequest) -> tuple[str, str]:
    outer, inner = request.param.split()
    return outer, inner


def staged(sandbox: Sandbox, compile_bpf: Callable[[str], Path], folder: Path, outer: str, inner: str) -> Tenants:
    words = {**WORDS, "outer": outer, "inner": inner}
    files = {v: compile_bpf(SOURCE % {**words, "fields": fields}) for v, fields in FIELDS.items()}
    files["again"] = compile_bpf(SOURCE % {**words, "fields": FIELDS["v1"]} + "const volatile int more = 1;\n")
    stage = Tenants(sandbox, folder, files, "tenants: {role: state}, seen: {role: state}")
    stage.inner = MapType[inner]
    stage.record("tenants", *versions(inner))
    stage.record("seen", "layout: {key: u32, value: u64}\nmerge: sum\n")
    stage.attached, stage.lossy = {"meter": sandbox.rx}, True
    stage.apply("v1")
    for tenant in TENANTS:
        stage.put(tenant)
    return stage


@pytest.fixture
def every(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path, kinds: tuple[str, str]) -> Tenants:
    return staged(sandbox, compile_bpf, tmp_path, *kinds)


@pytest.fixture
def stage(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Tenants:
    return staged(sandbox, compile_bpf, tmp_path, "HASH_OF_MAPS", "HASH")


@pytest.fixture
def traffic(stage: Tenants) -> Iterator[Generator]:
    with Generator(stage.sandbox.tx, flows=2_000) as generator:
        generator.start(rate=100_000)
        time.sleep(0.1)
        yield generator


def test_inner_maps_of_every_type_convert_there_and_back_under_traffic(every: Tenants) -> None:
    with Generator(every.sandbox.tx, flows=2_000) as generator:
        generator.start(rate=200_000)
        time.sleep(0.1)
        for version in ("v2", "v1", "v2"):
            every.apply(version)
            assert len(every.pins_of("tenants")) == 1
            time.sleep(0.05)
        every.settle(generator)
    assert sum(every.seen().values()) > 10_000, "hardly any traffic"
    assert every.packets() == every.seen()
    for tenant in TENANTS:
        with every.inside(tenant) as fd:
            quota, zone, _ = struct.unpack("=3Q", every.kernel.maps.lookup(fd, bytes(4)) or b"")
        assert (quota, zone) == (100 + tenant, 7)


def test_the_same_layout_is_the_very_same_maps(stage: Tenants) -> None:
    before, pins = stage.held(), stage.pins_of("tenants")
    done = stage.apply("again")
    assert done.changed
    assert (stage.held(), stage.pins_of("tenants")) == (before, pins)


def test_a_rollback_brings_the_counts_home(stage: Tenants, traffic: Generator) -> None:
    stage.apply("v2")
    time.sleep(0.05)
    stage.rollback()
    stage.settle(traffic)
    assert stage.packets() == stage.seen()


DECLARED = """
struct usage_map gold SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, %(outer)d); __type(key, __u32);
	__array(values, struct usage_map); } tenants SEC(".maps") = { .values = { [3] = &gold } };
/* Packets by tenant"""


def declared(fields: str, outer: int) -> str:
    """meter with a map of the object's own for the fourth tenant."""
    head, _, rest = (SOURCE % {**WORDS, "fields": fields}).partition("/* For each tenant")
    return head + DECLARED % {"outer": outer} + rest.partition("/* Packets by tenant")[2]


def test_inner_maps_that_the_object_declares_go_their_own_way(
    sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path
) -> None:
    """They are state by their own name, with rules of their own; a load puts them into the outer map. The others there
    follow the outer map's rules. A larger outer map then keeps the very maps that are the object's."""
    files = {v: compile_bpf(declared(fields, 8)) for v, fields in FIELDS.items()}
    files["larger"] = compile_bpf(declared(FIELDS["v2"], 16))
    stage = Tenants(sandbox, tmp_path, files, "tenants: {role: state}, gold: {role: state}, seen: {role: state}")
    stage.record("tenants", *versions("HASH"))
    first, second = (f"layout: {{key: u32, value: {VALUES[v]}}}\nmerge: {{packets: sum}}\n" for v in ("v1", "v2"))
    stage.record("gold", first, second + "rules: {value: {zone: {default: 7}}}\n")
    stage.record("seen", "layout: {key: u32, value: u64}\nmerge: sum\n")
    stage.attached, stage.lossy = {"meter": sandbox.rx}, True
    stage.apply("v1")
    stage.put(0)
    with Generator(sandbox.tx, flows=2_000) as generator:
        generator.start(rate=100_000)
        for version in ("v2", "v1", "v2", "larger"):
            time.sleep(0.05)
            stage.apply(version)
            with stage.pub("gold") as gold:
                assert stage.held()[3] == stage.kernel.maps.info(gold).id
                assert not stage.kernel.maps.frozen(gold)
        time.sleep(0.05)
        stage.settle(generator)
    assert sorted(stage.held()) == [0, 3]
    assert stage.packets() == stage.seen()
    assert min(stage.seen().values()) > 1_000


def test_what_user_space_changes_in_the_outer_map_meanwhile_is_followed(
    stage: Tenants, traffic: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant that comes, one that goes and one that gets another map, between the copy and the drain."""
    execute = apply_module.execute
    exchanged: list[int] = []

    def changed(bench: Workspace, op: ops.Op) -> None:
        if isinstance(op, ops.Drain) and op.map == "tenants" and not exchanged:
            stage.version = "v1"
            stage.put(3)
            exchanged.append(stage.put(1))
            with stage.pub("tenants") as outer:
                stage.kernel.maps.delete_many(outer, [(2).to_bytes(4, "little")])
        execute(bench, op)

    faults.inject(monkeypatch, "execute", changed)
    stage.apply("v2")
    assert exchanged
    assert sorted(stage.held()) == [0, 1, 3]
    for tenant, quota in ((1, 101), (3, 103)):
        with stage.inside(tenant) as fd:
            assert struct.unpack("=3Q", stage.kernel.maps.lookup(fd, bytes(4)) or b"")[0] == quota
    stage.settle(traffic)
    assert stage.packets()[0] == stage.seen()[0]


def test_a_failure_in_the_middle_takes_all_of_them_back(
    stage: Tenants, traffic: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, calls = migrate.drain, []

    def failing(*args: object, **more: object) -> migrate.Moved:
        calls.append(args)
        if len(calls) == 2:
            raise KernelError("convert", 12, "no memory")
        return drain(*args, **more)  # type: ignore[arg-type]

    before = stage.held()
    faults.inject(monkeypatch, "drain", failing)
    with pytest.raises(RolledBack):
        stage.apply("v2")
    assert stage.held() == before
    assert len(stage.pins_of("tenants")) == 1
    stage.settle(traffic)
    assert stage.packets() == stage.seen()


def test_killed_at_points_all_over_the_conversion_counts_are_in_one_of_both(stage: Tenants, tmp_path: Path) -> None:
    """SIGKILL, then recover, then the same again to its end."""
    stage.intake("v2")
    noted = tmp_path / "points"
    assert gated(stage, "count", "before", str(noted)).returncode == 0
    points = [line.split(" ", 1)[1] for line in noted.read_text().splitlines() if line.startswith("before ")]
    stage.apply("v1")
    names = ("prog.run", "map.update", "link.update", "journal.commit", "map.freeze")
    struck = [p for p in points if p.split()[1] in names]  # copies, the outer map, the swap, drains, the end
    assert len(struck) >= 13
    with Generator(stage.sandbox.tx, flows=2_000) as generator:
        for point in struck[::2]:
            generator.start(rate=50_000)
            stage.intake("v2")
            assert gated(stage, "kill", "after", point).returncode == -signal.SIGKILL, point
            stage.settle(generator)
            assert stage.everywhere() == sum(stage.seen().values()), point
            stage.recover()
            stage.version = "v2" if stage.serves() == 24 else "v1"
            assert len(stage.pins_of("tenants")) == 1, point
            assert stage.packets() == stage.seen(), point
            generator.start(rate=50_000)
            for version in ("v2", "v1"):
                stage.apply(version)
            stage.settle(generator)
            assert stage.packets() == stage.seen(), point


def gated(stage: Tenants, mode: str, when: str, point: str) -> subprocess.CompletedProcess[str]:
    where = ["--bpffs", stage.sandbox.bpffs, "--records", str(stage.sandbox.records), "-q"]
    words = ["apply", str(stage.file), "--allow-lossy-rollback", *where]
    command = [sys.executable, "-m", "lab.crash.gated", mode, when, point, "--", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_who_still_writes_to_an_old_inner_map_is_told(stage: Tenants) -> None:
    with stage.inside(1) as old:
        stage.apply("v2")
        with pytest.raises(KernelError) as refused:
            stage.kernel.maps.update_many(old, [bytes(4)], [bytes(16)])
    assert refused.value.errno == 1


def test_the_plan_names_the_maps_and_all_their_entries(stage: Tenants) -> None:
    line = next(line for line in stage.plan("v2").lines if line.name == "tenants")
    assert line.notes[0].startswith("3 entries")
    assert any("3 maps in it" in note for note in line.notes)
    assert "value.packets (u64): offset 0 → 16, sum" in line.detail


def test_inner_maps_are_resized_too_unless_user_space_chose_their_size(
    stage: Tenants, compile_bpf: Callable[[str], Path]
) -> None:
    stage.room = 77
    stage.put(1)
    stage.object("small", compile_bpf(SOURCE % {**WORDS, "entries": 64, "fields": FIELDS["v2"]}))
    stage.apply("small")
    sizes = {}
    for tenant in TENANTS:
        with stage.inside(tenant) as fd:
            sizes[tenant] = stage.kernel.maps.info(fd).max_entries
    assert sizes == {0: 64, 1: 77, 2: 64}


def test_fewer_entries_than_one_of_them_has_is_refused_with_the_count(
    stage: Tenants, compile_bpf: Callable[[str], Path]
) -> None:
    with stage.inside(0) as fd:
        stage.kernel.maps.update_many(fd, [bytes([1, 0, 0, 0])], [bytes(16)])
    stage.object("small", compile_bpf(SOURCE % {**WORDS, "entries": 1, "fields": FIELDS["v2"]}))
    with pytest.raises(RefusedChange) as refused:
        stage.apply("small")
    assert "it holds 2 entries; max_entries 1 is too small" in refused_for(refused.value, "inner-maps")["why"]


def test_maps_of_another_type_are_refused(stage: Tenants, compile_bpf: Callable[[str], Path]) -> None:
    stage.object("other", compile_bpf(SOURCE % {**WORDS, "inner": "LRU_HASH", "fields": FIELDS["v1"]}))
    stage.schema = ""
    with pytest.raises(RefusedChange) as refused:
        stage.apply("other")
    assert "maps of type hash → lru_hash" in refused.value.detail
