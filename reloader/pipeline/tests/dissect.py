"""A frame's bytes → its fields by layer, as packets.py writes them: what an expected output is compared by.

Stops where the frame does, or where it is something else; a field that is not there is simply missing.
Pure.
"""

from __future__ import annotations

import struct

from reloader.pipeline.tests.packets import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_QINQ,
    ETH_VLAN,
    PROTOCOLS,
    RIGHT,
    Value,
    checksum,
    pseudo_header,
)

Fields = dict[str, Value]  # `udp.dport` -> number or address; `payload` -> bytes
WRONG = "wrong"


def dissect(frame: bytes) -> Fields:
    """All fields that can be read. The tag of a double-tagged frame is the outer one's."""
    if len(frame) < 14:
        return {}
    out: Fields = {"eth.dst": frame[:6], "eth.src": frame[6:12]}
    kind, rest = int.from_bytes(frame[12:14], "big"), frame[14:]
    while kind in (ETH_VLAN, ETH_QINQ) and len(rest) >= 4:
        control, kind = struct.unpack_from("!HH", rest)
        for name, value in (("id", control & 0xFFF), ("pcp", control >> 13), ("dei", control >> 12 & 1)):
            out.setdefault(f"vlan.{name}", value)
        rest = rest[4:]
    out["eth.type"] = kind
    if kind == ETH_IPV4 and len(rest) >= 20 and rest[0] >> 4 == 4 and rest[0] & 15 >= 5:
        return out | _ipv4(rest)
    if kind == ETH_IPV6 and len(rest) >= 40 and rest[0] >> 4 == 6:
        return out | _ipv6(rest)
    return out | {"payload": rest}


def checksum_state(frame: bytes, layer: str) -> str:
    """Whether a layer's checksum is the one that its packet asks for; `missing` when there is none."""
    fields = dissect(frame)
    given = fields.get(f"{layer}.checksum")
    covered = fields.get(f"{layer}.covered")
    if given is None or not isinstance(covered, bytes):
        return "missing"
    right = checksum(covered) == 0 and (layer != "udp" or given != 0)
    return RIGHT if right else WRONG


def _ipv4(data: bytes) -> Fields:
    _, tos, length, ident, fragment, ttl, protocol, summed, src, dst = struct.unpack_from("!BBHHHBBH4s4s", data)
    head = (data[0] & 15) * 4
    out: Fields = {
        "ipv4.src": src, "ipv4.dst": dst, "ipv4.ttl": ttl, "ipv4.tos": tos, "ipv4.id": ident,
        "ipv4.dont_fragment": fragment >> 14 & 1, "ipv4.more_fragments": fragment >> 13 & 1,
        "ipv4.offset": fragment & 0x1FFF, "ipv4.protocol": protocol, "ipv4.length": length,
        "ipv4.checksum": summed, "ipv4.covered": data[:head],
    }  # fmt: skip
    segment = data[head : max(head, length)]
    if fragment & 0x1FFF:
        return out | {"payload": segment}
    return out | _transport(segment, protocol, (src, dst))


def _ipv6(data: bytes) -> Fields:
    first, length, protocol, hops, src, dst = struct.unpack_from("!IHBB16s16s", data)
    out: Fields = {
        "ipv6.src": src, "ipv6.dst": dst, "ipv6.hop_limit": hops, "ipv6.traffic_class": first >> 20 & 0xFF,
        "ipv6.flow_label": first & 0xFFFFF, "ipv6.next_header": protocol, "ipv6.length": length,
    }  # fmt: skip
    return out | _transport(data[40 : 40 + length], protocol, (src, dst))


def _transport(segment: bytes, protocol: int, ends: tuple[bytes, bytes]) -> Fields:
    family = 4 if len(ends[0]) == 4 else 6
    name = next((n for n, numbers in PROTOCOLS.items() if numbers[family] == protocol), "")
    least = {"udp": 8, "tcp": 20, "icmp": 8}.get(name, 0)
    if not name or len(segment) < least:
        return {"payload": segment}
    pseudo = b"" if name == "icmp" and family == 4 else pseudo_header(ends, len(segment), protocol)
    read = {"udp": _udp, "tcp": _tcp, "icmp": _icmp}[name]
    return read(segment) | {f"{name}.covered": pseudo + segment}


def _udp(segment: bytes) -> Fields:
    sport, dport, length, summed = struct.unpack_from("!HHHH", segment)
    fields = {"sport": sport, "dport": dport, "length": length, "checksum": summed}
    return {f"udp.{n}": v for n, v in fields.items()} | {"payload": segment[8:]}


def _tcp(segment: bytes) -> Fields:
    names = ("sport", "dport", "seq", "ack", "offset", "flags", "window", "checksum", "urgent")
    fields = dict(zip(names, struct.unpack_from("!HHIIBBHHH", segment), strict=True))
    offset = fields.pop("offset")
    return {f"tcp.{n}": v for n, v in fields.items()} | {"payload": segment[max(20, (offset >> 4) * 4) :]}


def _icmp(segment: bytes) -> Fields:
    names = ("type", "code", "checksum", "id", "seq")
    fields = dict(zip(names, struct.unpack_from("!BBHHH", segment), strict=True))
    return {f"icmp.{n}": v for n, v in fields.items()} | {"payload": segment[8:]}
