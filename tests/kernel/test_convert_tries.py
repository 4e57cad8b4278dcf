"""LPM tries in another layout: user space lists the prefixes, the kernel moves what they hold.

A look-up in a trie is content with a prefix that covers the key, so every check here is by prefix: the packets of each
address are counted where its longest prefix says, before, during and after.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.bpf.live import LiveKernel
from reloader.bpf.maps import LiveMaps
from reloader.convert import migrate
from reloader.errors import NothingSwapped, RefusedChange
from reloader.kernel import Fd, MapInfo, MapType
from reloader.layouts.rules import Conversion, Op, Rule
from tests.support import faults
from tests.support.conversions import Shifting

pytestmark = pytest.mark.kernel

F_NO_PREALLOC = 1
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct flow_key { __be32 saddr, daddr; __be16 sport, dport; __u8 proto; };
#include "flow_parse.h"
struct prefix { __u32 length; __be32 address; };
struct net { %(fields)s };
/* Packets by the longest prefix of their source. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, %(entries)d);
	__type(key, struct prefix);
	__type(value, struct net);
} nets SEC(".maps");
/* The same by the last byte of the source; its layout stays. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");
SEC("xdp") int count_nets(struct xdp_md *ctx)
{
	struct flow_key flow;
	if (parse_flow(ctx, &flow) != PARSED_FLOW)
		return XDP_DROP;
	struct prefix key = {.length = 32, .address = flow.saddr};
	__u32 last = bpf_ntohl(flow.saddr) & 0xff;
	__u64 *all = bpf_map_lookup_elem(&seen, &last);
	struct net *net = bpf_map_lookup_elem(&nets, &key);
	if (all)
		__sync_fetch_and_add(all, 1);
	if (net)
		__sync_fetch_and_add(&net->packets, 1);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
KEY = """
        key:
          struct: prefix
          size: 8
          fields: [{name: length, type: u32, at: 0}, {name: address, type: be32, at: 4}]
"""
V1 = f"""
    layout: {KEY}
        value:
          struct: net
          size: 16
          fields: [{{name: packets, type: u64, at: 0}}, {{name: owner, type: u32, at: 8}}]
    merge: {{packets: sum}}
"""
V2 = f"""
    layout: {KEY}
        value:
          struct: net
          size: 24
          fields:
            - {{name: owner, type: u64, at: 0}}
            - {{name: zone, type: u64, at: 8}}
            - {{name: packets, type: u64, at: 16}}
    merge: {{packets: sum}}
    rules: {{value: {{owner: {{widen: true}}, zone: {{default: 7}}}}}}
"""
FIELDS = {"v1": "__u64 packets; __u32 owner;", "v2": "__u64 owner; __u64 zone; __u64 packets;"}
NETS = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/28", "10.0.0.0/30", "10.0.0.2/32", "10.0.0.20/32", "10.0.0.32/27"]
SEEN = """
    layout: {key: u32, value: u64}
    merge: sum
"""


class Nets(Shifting):
    """count_nets with a few prefixes inside one another."""

    def put(self, *nets: str) -> None:
        with self.pub("nets") as fd:
            self.kernel.maps.update_many(fd, [key_of(n) for n in nets], [value_of(n) for n in nets])

    def packets(self) -> dict[str, int]:
        at = {"v1": 0, "v2": 16}[self.version]
        return {net_of(k): struct.unpack_from("=Q", v, at)[0] for k, v in self.contents("nets").items()}

    def expected(self, nets: list[str]) -> dict[str, int]:
        """Each address's packets at the longest of these prefixes."""
        out = dict.fromkeys(nets, 0)
        for slot, value in self.contents("seen").items():
            address = ipaddress.ip_address(f"10.0.0.{int.from_bytes(slot, 'little')}")
            best = max((n for n in nets if address in ipaddress.ip_network(n)), key=lambda n: int(n.partition("/")[2]))
            out[best] += int.from_bytes(value, "little")
        return out


def key_of(net: str) -> bytes:
    network = ipaddress.ip_network(net)
    return struct.pack("=I", network.prefixlen) + network.network_address.packed


def net_of(key: bytes) -> str:
    return f"{ipaddress.ip_address(key[4:])}/{struct.unpack_from('=I', key)[0]}"


def value_of(net: str) -> bytes:
    return struct.pack("=QII", 0, owner_of(net), 0)


def owner_of(net: str) -> int:
    return sum(key_of(net)) + 1000


@pytest.fixture
def nets(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Nets:
    files = {v: compile_bpf(SOURCE % {"fields": fields, "entries": 1000}) for v, fields in FIELDS.items()}
    files["small"] = compile_bpf(SOURCE % {"fields": FIELDS["v2"], "entries": len(NETS) - 1})
    stage = Nets(sandbox, tmp_path, files, "nets: {role: state}, seen: {role: state}")
    stage.record("nets", V1, V2)
    stage.record("seen", SEEN)
    stage.attached, stage.lossy = {"count_nets": sandbox.rx}, True
    stage.apply("v1")
    stage.put(*NETS)
    return stage


def settled(nets: Nets, generator: Generator) -> None:
    generator.stop()
    before: dict[bytes, bytes] = {}
    while before != (before := nets.contents("seen")):
        time.sleep(0.05)


def test_every_count_is_at_its_prefix_after_conversions_there_and_back(nets: Nets) -> None:
    with Generator(nets.sandbox.tx, flows=10_000) as generator:
        generator.start(rate=200_000)
        time.sleep(0.1)
        for version in ("v2", "v1", "v2"):
            nets.apply(version)
            assert len(nets.pins_of("nets")) == 1
            time.sleep(0.05)
        settled(nets, generator)
    assert sum(nets.packets().values()) > 10_000, "hardly any traffic"
    assert nets.packets() == nets.expected(NETS)
    for key, value in nets.contents("nets").items():
        assert struct.unpack_from("=2Q", value) == (owner_of(net_of(key)), 7)


def test_a_rollback_finds_the_counts_too(nets: Nets) -> None:
    with Generator(nets.sandbox.tx, flows=10_000) as generator:
        generator.start(rate=200_000)
        nets.apply("v2")
        nets.rollback()
        nets.version = "v1"
        settled(nets, generator)
    assert nets.packets() == nets.expected(NETS)


def test_sabotage_a_merge_from_user_space_turns_the_check_red(nets: Nets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, add, write: what packets add in between is gone."""

    def by_hand(kernel: LiveKernel, source: Fd, target: Fd, *_: object, **__: object) -> migrate.Moved:
        for key, old in kernel.maps.items(source).items():
            new = bytearray(kernel.maps.lookup(target, key) or b"")
            time.sleep(0.02)
            struct.pack_into("=Q", new, 16, struct.unpack_from("=Q", new, 16)[0] + struct.unpack_from("=Q", old)[0])
            kernel.maps.update_many(target, [key], [bytes(new)])
            kernel.maps.delete_many(source, [key])
        return migrate.Moved()

    with Generator(nets.sandbox.tx, flows=10_000) as generator:
        generator.start(rate=200_000)
        time.sleep(0.1)
        faults.inject(monkeypatch, "drain", by_hand)
        faults.inject(monkeypatch, "check of prefixes", lambda *_: None)
        nets.apply("v2")
        settled(nets, generator)
    assert nets.packets() != nets.expected(NETS)


def test_the_plan_says_what_packets_can_notice(nets: Nets) -> None:
    line = next(line for line in nets.plan("v2").lines if line.name == "nets")
    told = "\n".join((*line.notes, *line.detail))
    assert f"{len(NETS)} entries" in line.notes[0]
    assert "packets of a prefix added since meet the one that covers it until the drain comes to it" in told
    assert "version 1 → 2" in told


def test_fewer_entries_than_there_are_is_refused_with_the_count(nets: Nets) -> None:
    with pytest.raises(RefusedChange) as refused:
        nets.apply("small")
    assert f"it holds {len(NETS)} entries, {len(NETS) - 1} is too small" in refused.value.detail


def test_a_key_of_another_layout_is_refused(nets: Nets, compile_bpf: Callable[[str], Path]) -> None:
    """The bits of a prefix are counted from the front, so its bytes cannot go anywhere else."""
    address, zone = "{name: address, type: be32, at: 4}", "{name: zone, type: u32, at: 4}"
    moved = V2.replace("size: 8", "size: 12").replace(address, f"{zone}, {address.replace('4}', '8}')}")
    nets.record("nets", V1, moved.replace("rules: {", "rules: {key: {zone: {const: 1}}, "))
    source = (SOURCE % {"fields": FIELDS["v2"], "entries": 1000}).replace("__u32 length;", "__u32 length; __u32 zone;")
    nets.object("moved", compile_bpf(source))
    with pytest.raises(RefusedChange) as refused:
        nets.apply("moved")
    assert "a trie's key is a prefix" in refused.value.detail


# the migration program alone, where what it must not do can be shown


SUM = Conversion(
    key=(), value=(Rule(op=Op.SUM, src_off=0, dst_off=8, src_size=8, dst_size=8),), old_key_size=8, new_key_size=8,
    old_value_size=8, new_value_size=16,
)  # fmt: skip


@pytest.fixture
def pair() -> Iterator[tuple[LiveKernel, Fd, Fd]]:
    kernel = LiveKernel()
    shapes = [
        MapInfo(id=0, type=MapType.LPM_TRIE, name="t", key_size=8, value_size=size, max_entries=50_000, map_flags=1)
        for size in (8, 16)
    ]
    with kernel.maps.create(shapes[0]) as source, kernel.maps.create(shapes[1]) as target:
        yield kernel, source, target


def test_a_prefix_deleted_after_it_was_listed_takes_nothing_from_the_one_that_covers_it(
    pair: tuple[LiveKernel, Fd, Fd], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, source, target = pair
    there, gone = key_of("10.0.0.0/8"), key_of("10.1.0.0/16")
    kernel.maps.update_many(source, [there], [struct.pack("=Q", 41)])
    keys = LiveMaps.keys
    faults.inject(monkeypatch, "keys", lambda *a: iter([gone + k for k in keys(*a)]))
    migrate.drain(kernel, source, target, SUM)
    assert kernel.maps.items(target) == {there: struct.pack("=2Q", 0, 41)}
    assert kernel.maps.items(source) == {}


def test_what_the_new_trie_has_is_added_to_at_that_prefix(pair: tuple[LiveKernel, Fd, Fd]) -> None:
    kernel, source, target = pair
    keys = [key_of(n) for n in ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16")]
    kernel.maps.update_many(source, keys, [struct.pack("=Q", n) for n in (1, 2, 3)])
    kernel.maps.update_many(target, keys[1:2], [struct.pack("=2Q", 5, 40)])
    moved = migrate.drain(kernel, source, target, SUM)
    assert (moved.inserted, moved.merged) == (2, 1)
    values = [struct.unpack("=2Q", kernel.maps.items(target)[k]) for k in keys]
    assert values == [(0, 1), (5, 42), (0, 3)]


def test_many_prefixes_in_many_pieces(pair: tuple[LiveKernel, Fd, Fd]) -> None:
    """More than a run takes: a trie's walk starts over when the key it stands on was moved."""
    kernel, source, target = pair
    keys = [struct.pack("=I", 24 + n % 9) + struct.pack("!I", n << 12) for n in range(40_000)]
    kernel.maps.update_many(source, keys, [struct.pack("=Q", n) for n in range(40_000)])
    count = kernel.maps.count(source)
    assert migrate.drain(kernel, source, target, SUM).inserted == count
    assert {k: struct.unpack("=2Q", v)[1] for k, v in kernel.maps.items(target).items()} == {
        k: n for n, k in enumerate(keys)
    }
    assert kernel.maps.count(source) == 0


def test_a_kernel_whose_tries_ignore_the_flag_is_found_out_before_the_swap(
    nets: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Linux 6.1 before its backport: NOEXIST writes over what is there."""
    drain = migrate.drain
    faults.inject(monkeypatch, "drain", lambda *a, **k: drain(*a, **k) and migrate.Moved(inserted=1))
    with pytest.raises(NothingSwapped, match="ignores BPF_NOEXIST"):
        nets.apply("v2")
    assert len(nets.pins_of("nets")) == 1
