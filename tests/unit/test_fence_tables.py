"""The fence's prototype tables and struct layouts, as far as they can be judged without a kernel's help."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from reloader.bpf import libbpf, netlink, syscall
from reloader.kernel import MapInfo, MapType, XdpMode
from tests.support import faults

UAPI = Path("/usr/include/linux/bpf.h")


def test_every_libbpf_symbol_in_the_fence_has_a_prototype() -> None:
    fence = Path(libbpf.__file__).parent
    used = {
        name
        for path in fence.glob("*.py")
        for name in re.findall(r"\blib\.((?:bpf_|btf__|libbpf_)\w+)", path.read_text())
    }
    assert used
    assert used <= set(libbpf.PROTOTYPES)


@pytest.mark.parametrize("name", libbpf.PROTOTYPES)
def test_a_pointer_is_never_an_int(name: str) -> None:
    """Functions that libbpf.h declares to return a pointer have a pointer, or text, for a result."""
    declared = "".join(Path(f"/usr/include/bpf/{h}").read_text() for h in ("libbpf.h", "btf.h"))
    prototype = libbpf.PROTOTYPES[name]
    found = re.search(rf"LIBBPF_API ([\w\s]*?)(\**)\s*{name}\(([^;]*)\);", declared)
    assert found, f"{name} is not in the headers"
    wide = (libbpf.Pointer, libbpf._TEXT)
    assert (prototype.result in wide) == (bool(found[2]) or name == "libbpf_set_print")
    arguments = [a for a in re.sub(r"\s+", " ", found[3]).split(",") if a.strip() != "void"]
    assert len(arguments) == len(prototype.arguments)


@pytest.mark.parametrize(
    "wrong",
    [
        (None, [libbpf.Pointer], None),  # not made by one of the three makers
        libbpf.Prototype(libbpf.Pointer, libbpf.Pointer, None),  # type: ignore[arg-type]  # no list
        libbpf.Prototype(libbpf.Pointer, [int], None),
    ],
)
def test_a_wrong_prototype_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: libbpf.Prototype) -> None:
    monkeypatch.setitem(libbpf.PROTOTYPES, "wrong", wrong)
    with pytest.raises(TypeError, match="wrong"):
        libbpf._check_table()


def test_command_numbers_are_the_headers() -> None:
    body = UAPI.read_text().split("enum bpf_cmd {", 1)[1].split("};", 1)[0]
    names = re.findall(r"^\s*(BPF_\w+)", body, re.MULTILINE)
    numbers = {name: i for i, name in enumerate(n for n in names if n != "BPF_PROG_RUN")}  # an alias
    assert {c.name: c.value for c in syscall.Command} == {c.name: numbers[c.name] for c in syscall.Command}


def test_map_types_are_the_headers() -> None:
    body = UAPI.read_text().split("enum bpf_map_type {", 1)[1].split("};", 1)[0]
    names = [n for n in re.findall(r"^\s*BPF_MAP_TYPE_(\w+)(?!\w)", body, re.MULTILINE) if not n.startswith("__")]
    known = {i: n.removesuffix("_DEPRECATED") for i, n in enumerate(dict.fromkeys(names))}
    shared = {i: n for i, n in known.items() if i < MapType.CGROUP_STORAGE}
    assert shared == {i: MapType(i).name for i in shared}


@pytest.mark.parametrize(
    ("kind", "size", "room"), [(MapType.HASH, 5, 5), (MapType.PERCPU_ARRAY, 5, 24), (MapType.PERCPU_HASH, 16, 48)]
)
def test_the_room_a_value_needs(kind: MapType, size: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "possible CPUs", lambda: 3)
    info = MapInfo(id=1, type=kind, name="m", key_size=4, value_size=size, max_entries=1, map_flags=0)
    assert syscall.value_bytes(info) == room


def attr(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ({}, (0, None)),
        ({netlink.IFLA_XDP_SKB_PROG_ID: 7}, (7, XdpMode.SKB)),
        ({netlink.IFLA_XDP_DRV_PROG_ID: 8}, (8, XdpMode.NATIVE)),
        ({netlink.IFLA_XDP_SKB_PROG_ID: 7, netlink.IFLA_XDP_DRV_PROG_ID: 8}, (8, XdpMode.NATIVE)),
        ({netlink.IFLA_XDP_HW_PROG_ID: 9}, (9, XdpMode.HW)),
    ],
)
def test_what_sits_on_xdp(ids: dict[int, int], wanted: tuple[int, XdpMode | None]) -> None:
    nested = attr(netlink.IFLA_XDP_ATTACHED, b"\1") + b"".join(attr(k, struct.pack("=I", v)) for k, v in ids.items())
    payload = (
        struct.pack("=BxHiII", 0, 0, 12, 0, 0) + attr(netlink.IFLA_IFNAME, b"eth0\0") + attr(netlink.IFLA_XDP, nested)
    )
    link = netlink._link(payload)
    assert (link.name, link.ifindex, (link.xdp_prog_id, link.xdp_mode)) == ("eth0", 12, wanted)


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 16, struct.pack("=IHHII", 15, 16, 0, 0, 0), b"\xff" * 64])
def test_netlink_rubbish_makes_no_endless_loop(data: bytes) -> None:
    assert len(list(netlink.messages(data))) <= 1
    assert len(netlink.attrs(data)) <= 1
