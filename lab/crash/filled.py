"""Scenarios with state that user space filled: a full LPM trie, and maps in a map. Both are converted without a bridge.

Each knows its YAML, its history in the registry, how it is filled, and how to count its packets wherever they are.
"""

from __future__ import annotations

import struct
from pathlib import Path

from reloader.bpf.live import LiveKernel
from reloader.convert.nested import slots
from reloader.kernel import NESTED_TYPES, MapInfo, MapType
from reloader.kernel.host import Host

PREFIXES = 300  # as many as the trie takes
TENANTS = (0, 1, 2, 3)
PORTS = range(64, 164)  # entries of a tenant's map before any packet; packets have others
HELD = {"nets": PREFIXES, "tenants": len(TENANTS) * len(PORTS)}
PACKETS_AT = {16: 0, 24: 16}  # in struct net and struct usage, by their size
ATTACH = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{{{name: flow-count}}}}
spec:
  objects: [{{object}}]
  stateSchema: filled
  attach:
    - {{{{program: {program}, type: xdp, interface: {{interface}}, netns: {{netns}}, mode: native}}}}
  maps: {{{{{map}: {{{{role: state}}}}}}}}
"""
NETS_YAML = ATTACH.format(program="count_nets", map="nets")
TENANTS_YAML = ATTACH.format(program="meter", map="tenants")
HEAD = "apiVersion: reloader/v1\nkind: StateLayout\nmetadata: {{schema: filled, map: {map}, version: {version}}}\n"
NET_KEY = "{struct: prefix, size: 8, fields: [{name: length, type: u32, at: 0}, {name: address, type: be32, at: 4}]}"
NET = (
    "{struct: net, size: 16, fields: [{name: packets, type: u64, at: 0}, {name: owner, type: u32, at: 8}]}",
    "{struct: net, size: 24, fields: [{name: owner, type: u64, at: 0}, {name: zone, type: u64, at: 8},"
    " {name: packets, type: u64, at: 16}]}",
)
USAGE = (
    "{struct: usage, size: 16, fields: [{name: packets, type: u64, at: 0}, {name: quota, type: u64, at: 8}]}",
    "{struct: usage, size: 24, fields: [{name: quota, type: u64, at: 0}, {name: zone, type: u64, at: 8},"
    " {name: packets, type: u64, at: 16}]}",
)


def record(folder: Path) -> None:
    """Write the history of both maps below `folder`, the registry."""
    (folder / "filled").mkdir()
    rules = {"nets": "owner: {widen: true}, zone: {default: 7}", "tenants": "zone: {default: 7}"}
    for version in (1, 2):
        layouts = {
            "nets": f"{{key: {NET_KEY}, value: {NET[version - 1]}}}",
            "tenants": f"{{key: u32, value: {{map: hash, key: u32, value: {USAGE[version - 1]}}}}}",
        }
        for name, layout in layouts.items():
            text = HEAD.format(map=name, version=version) + f"layout: {layout}\nmerge: {{packets: sum}}\n"
            text += f"rules: {{value: {{{rules[name]}}}}}\n" if version == 2 else ""
            (folder / "filled" / f"{name}.{version}.yaml").write_text(text)


def fill_trie(host: Host, pipeline: str) -> None:
    """Prefixes inside one another, until it takes no more; every packet's source is in one."""
    nets = [(0, 0), (8, 0x0A000000), (28, 0x0A000000), (32, 0x0A000002)]
    nets += [(24, 0x0B000000 + (i << 8)) for i in range(PREFIXES - len(nets))]
    keys = [struct.pack("=I", length) + address.to_bytes(4, "big") for length, address in nets]
    with host.kernel.pins.get(host.paths.pub_pin(pipeline, "nets")) as fd:
        host.kernel.maps.update_many(fd, keys, [struct.pack("=QII", 0, i, 0) for i in range(len(keys))])


def fill_tenants(host: Host, pipeline: str) -> None:
    """A map for each tenant, with entries in it, in the layout of version 1."""
    shape = MapInfo(id=0, type=MapType.HASH, name="tenant", key_size=4, value_size=16, max_entries=200, map_flags=0)
    keys = [port.to_bytes(4, "little") for port in PORTS]
    for tenant in TENANTS:
        with (
            host.kernel.maps.create(shape) as fd,
            host.kernel.pins.get(host.paths.pub_pin(pipeline, "tenants")) as outer,
        ):
            host.kernel.maps.update_many(fd, keys, [struct.pack("=2Q", 0, tenant)] * len(keys))
            host.kernel.maps.update_many(outer, [tenant.to_bytes(4, "little")], [fd.fileno().to_bytes(4, "little")])


def counted(kernel: LiveKernel, pins: list[str]) -> int:
    """Packets in these state pins; of maps of maps each inner map once, for two outer maps may hold it."""
    found, inner = 0, set()
    for pin in pins:
        with kernel.pins.get(pin) as fd:
            if kernel.maps.info(fd).type in NESTED_TYPES:
                inner |= set(slots(kernel, fd).values())
            else:
                found += _packets(kernel.maps.items(fd))
    for number in inner:
        with kernel.maps.by_id(number) as fd:
            found += _packets(kernel.maps.items(fd))
    return found


def _packets(items: dict[bytes, bytes]) -> int:
    return sum(struct.unpack_from("=Q", value, PACKETS_AT[len(value)])[0] for value in items.values())


def entries(kernel: LiveKernel, pin: str) -> int:
    """How many there are, in the map or in the maps in it."""
    with kernel.pins.get(pin) as fd:
        if kernel.maps.info(fd).type not in NESTED_TYPES:
            return kernel.maps.count(fd)
        found = 0
        for number in slots(kernel, fd).values():
            with kernel.maps.by_id(number) as inner:
                found += sum(int.from_bytes(key, "little") in PORTS for key in kernel.maps.items(inner))
        return found
