"""Packets as people write them → bytes: `{udp: {src: 192.0.2.1, dport: 53, payload: …}}` with right checksums.

What is left out has a sane default; what is given stands, also where it is wrong on purpose (a checksum, a length).
Used by pipeline/tests/cases_from_yaml.py; dissect.py reads the same fields back out of a frame. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from reloader.pipeline.tests import texts
from reloader.structs.numbers import (
    ValueProblem,
    format_address,
    format_mac,
    parse_address,
    parse_hex,
    parse_int,
    parse_mac,
    suggestion,
)

Value = int | bytes
Form = Mapping[str, Any]

RIGHT = "right"  # of a checksum: the one the rest of the packet asks for
LAYERS: dict[str, dict[str, str]] = {  # layer -> field -> what it takes
    "eth": {"dst": "mac", "src": "mac", "type": "u16"},
    "vlan": {"id": "u12", "pcp": "u3", "dei": "u1"},
    "ipv4": {
        "src": "ipv4", "dst": "ipv4", "ttl": "u8", "tos": "u8", "id": "u16", "dont_fragment": "u1",
        "more_fragments": "u1", "offset": "u13", "protocol": "u8", "length": "u16", "checksum": "checksum",
    },
    "ipv6": {
        "src": "ipv6", "dst": "ipv6", "hop_limit": "u8", "traffic_class": "u8", "flow_label": "u20",
        "next_header": "u8", "length": "u16",
    },
    "udp": {"sport": "u16", "dport": "u16", "length": "u16", "checksum": "checksum"},
    "tcp": {
        "sport": "u16", "dport": "u16", "seq": "u32", "ack": "u32", "flags": "flags", "window": "u16",
        "urgent": "u16", "checksum": "checksum",
    },
    "icmp": {"type": "icmp", "code": "u8", "id": "u16", "seq": "u16", "checksum": "checksum"},
}  # fmt: skip
TRANSPORT = ("udp", "tcp", "icmp")
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # lowest bit first
ICMP = {
    4: {"echo_reply": 0, "unreachable": 3, "redirect": 5, "echo_request": 8, "time_exceeded": 11},
    6: {"unreachable": 1, "too_big": 2, "time_exceeded": 3, "echo_request": 128, "echo_reply": 129,
        "router_solicitation": 133, "router_advertisement": 134, "neighbour_solicitation": 135,
        "neighbour_advertisement": 136},
}  # fmt: skip
PROTOCOLS = {"icmp": {4: 1, 6: 58}, "tcp": {4: 6, 6: 6}, "udp": {4: 17, 6: 17}}
ETH_IPV4, ETH_IPV6, ETH_VLAN, ETH_QINQ = 0x0800, 0x86DD, 0x8100, 0x88A8
ETH_LOCAL = 0x88B5  # of a frame that is neither: set aside for experiments
ADDRESSES = {4: ("192.0.2.1", "198.51.100.1"), 6: ("2001:db8::1", "2001:db8:1::1")}  # for documentation
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def build(form: Form) -> bytes:
    """The frame; ValueProblem when the description makes no sense."""
    lifted = lift(form)
    family = family_of(lifted)
    payload = _padded(lifted, family)
    frame = _frame(lifted, family, payload)
    cut = form.get("truncate")
    if cut is not None and cut >= len(frame):
        raise ValueProblem("truncate", texts.CUT_BEYOND_FRAME(length=len(frame), cut=cut))
    return frame[:cut]


def lift(form: Form) -> dict[str, Any]:
    """The same with the addresses that were given at the transport layer where they belong."""
    out = {name: dict(part) if isinstance(part, Mapping) else part for name, part in form.items()}
    above = [name for name in TRANSPORT if name in out]
    if len(above) > 1:
        raise ValueProblem(above[1], texts.TWO_TRANSPORTS(first=above[0], second=above[1]))
    for name in above:
        given = {side: out[name].pop(side) for side in ("src", "dst") if side in out[name]}
        for side, address in given.items():
            layer = _network_of(address, f"{name}.{side}")
            if side in out.setdefault(layer, {}):
                raise ValueProblem(f"{name}.{side}", texts.ADDRESS_GIVEN_TWICE(layer=layer, side=side))
            out[layer][side] = address
    if "ipv4" in out and "ipv6" in out:
        raise ValueProblem("ipv6", texts.IPV4_AND_IPV6())
    return out


def _network_of(address: Any, path: str) -> str:
    data = parse_address(address) if isinstance(address, str) else None
    if data is None:
        raise ValueProblem(path, texts.NOT_AN_ADDRESS(value=address))
    return "ipv4" if len(data) == 4 else "ipv6"


def family_of(form: Form) -> int:
    """4, 6, or 0 for a frame without a network layer."""
    if "ipv6" in form:
        return 6
    return 4 if "ipv4" in form or any(name in form for name in TRANSPORT) else 0


def value_of(kind: str, given: Any, path: str, family: int = 4) -> Value:
    """One field's number, or the bytes of an address."""
    match kind:
        case "mac":
            found = parse_mac(given) if isinstance(given, str) else None
            if found is None:
                raise ValueProblem(path, texts.NOT_A_MAC(value=given))
            return found
        case "ipv4" | "ipv6":
            return _address(given, path, 4 if kind == "ipv4" else 16)
        case "flags":
            return _flags(given, path)
        case "icmp" if isinstance(given, str) and parse_int(given) is None:
            return _word(given, ICMP[family or 4], path)
    return _number(kind, given, path)


def _address(given: Any, path: str, size: int) -> bytes:
    data = parse_address(given) if isinstance(given, str) else None
    if data is None or len(data) != size:
        raise ValueProblem(path, (texts.NOT_IPV4 if size == 4 else texts.NOT_IPV6)(value=given))
    return data


def _flags(given: Any, path: str) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return _number("u8", given, path)
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    return sum({1 << _word(str(word).upper(), {n: i for i, n in enumerate(FLAGS)}, path) for word in words})


def _word(given: str, known: Mapping[str, int], path: str) -> int:
    if given not in known:
        raise ValueProblem(path, texts.UNKNOWN_NAME(value=given, hint=suggestion(given, list(known))))
    return known[given]


def _number(kind: str, given: Any, path: str) -> int:
    number = parse_int(given) if isinstance(given, str) else given
    if kind == "u1" and isinstance(given, bool):
        return int(given)
    if type(number) is not int:
        raise ValueProblem(
            path,
            texts.NOT_A_CHECKSUM(value=given, right=RIGHT) if kind == "checksum" else texts.NOT_A_NUMBER(value=given),
        )
    bits = {"checksum": 16, "icmp": 8}.get(kind) or int(kind[1:])
    if not 0 <= number < 1 << bits:
        raise ValueProblem(path, texts.NUMBER_TOO_LARGE(number=number, bits=bits, most=(1 << bits) - 1))
    return number


def shown(kind: str, value: Value | str | None) -> str:
    """A field's value as one would write it."""
    if value is None or isinstance(value, str):
        return value or "missing"
    if isinstance(value, bytes):
        return format_mac(value) if kind == "mac" else format_address(value)
    if kind == "flags":
        return " ".join(name for i, name in enumerate(FLAGS) if value >> i & 1) or "none"
    return f"{value:#06x}" if kind == "checksum" else str(value)


def text_bytes(given: Any, path: str) -> bytes:
    """A payload: text, or bytes as `hex:…`."""
    if not isinstance(given, str):
        raise ValueProblem(path, texts.NOT_TEXT(value=given))
    if not given.startswith("hex:"):
        return given.encode()
    data = parse_hex(given)
    if data is None:
        raise ValueProblem(path, texts.NOT_HEX(value=given))
    return data


# building


def _payload(form: Form) -> bytes:
    places = [(f"{name}.payload", form[name]["payload"]) for name in TRANSPORT if "payload" in form.get(name, {})]
    places += [("payload", form["payload"])] if "payload" in form else []
    if len(places) > 1:
        raise ValueProblem("payload", texts.PAYLOAD_GIVEN_TWICE(other=places[0][0]))
    return text_bytes(places[0][1], places[0][0]) if places else b""


def _padded(form: Form, family: int) -> bytes:
    """The payload, with zeros behind it up to the wished size of the frame."""
    payload = _payload(form)
    if "size" not in form:
        return payload
    least = len(_frame(form, family, payload))
    if form["size"] < least:
        raise ValueProblem("size", texts.FRAME_TOO_SMALL(size=form["size"], least=least))
    return payload.ljust(len(payload) + form["size"] - least, b"\0")


def _frame(form: Form, family: int, payload: bytes) -> bytes:
    if family:
        ends = _ends(form, family)
        segment, protocol = _transport(form, family, ends, payload)
        packet = (_ipv4 if family == 4 else _ipv6)(form, ends, segment, protocol)
        return _ethernet(form, ETH_IPV4 if family == 4 else ETH_IPV6) + packet
    return _ethernet(form, ETH_LOCAL) + payload


def _get(form: Form, layer: str, field: str, default: Any, family: int = 4) -> Any:
    given = form.get(layer, {}).get(field, default)
    return value_of(LAYERS[layer][field], given, f"{layer}.{field}", family)


def _ends(form: Form, family: int) -> tuple[bytes, bytes]:
    layer = f"ipv{family}"
    return _get(form, layer, "src", ADDRESSES[family][0]), _get(form, layer, "dst", ADDRESSES[family][1])


def _ethernet(form: Form, kind: int) -> bytes:
    tags = form.get("vlan", [])
    tags = tags if isinstance(tags, list) else [tags]
    head: bytes = _get(form, "eth", "dst", MACS[1]) + _get(form, "eth", "src", MACS[0])
    for index, tag in enumerate(tags):
        part = {"vlan": tag if isinstance(tag, Mapping) else {"id": tag}}
        outer = index < len(tags) - 1
        control = _get(part, "vlan", "pcp", 0) << 13 | _get(part, "vlan", "dei", 0) << 12 | _get(part, "vlan", "id", 0)
        head += struct.pack("!HH", ETH_QINQ if outer else ETH_VLAN, control)
    return head + struct.pack("!H", _get(form, "eth", "type", kind))


def _ipv4(form: Form, ends: tuple[bytes, bytes], segment: bytes, protocol: int) -> bytes:
    def get(field: str, default: int) -> Any:
        return _get(form, "ipv4", field, default)

    fragment = get("dont_fragment", 0) << 14 | get("more_fragments", 0) << 13 | get("offset", 0)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, get("tos", 0), get("length", _fits(20 + len(segment))), get("id", 0), fragment,
        get("ttl", 64), get("protocol", protocol), 0, *ends,
    )  # fmt: skip
    return _summed(head, 10, form.get("ipv4", {}), "ipv4", checksum(head)) + segment


def _ipv6(form: Form, ends: tuple[bytes, bytes], segment: bytes, protocol: int) -> bytes:
    def get(field: str, default: int) -> Any:
        return _get(form, "ipv6", field, default)

    first = 6 << 28 | get("traffic_class", 0) << 20 | get("flow_label", 0)
    rest = get("length", _fits(len(segment))), get("next_header", protocol), get("hop_limit", 64)
    return struct.pack("!IHBB16s16s", first, *rest, *ends) + segment


def _fits(length: int) -> int:
    if length > 0xFFFF:
        raise ValueProblem("payload", texts.PACKET_TOO_LARGE(length=length, limit=0xFFFF))
    return length


def _transport(form: Form, family: int, ends: tuple[bytes, bytes], payload: bytes) -> tuple[bytes, int]:
    """(header and payload, protocol number)."""
    name = next((n for n in TRANSPORT if n in form), "")
    if not name:
        return payload, 253  # set aside for experiments
    head, at = {"udp": _udp, "tcp": _tcp, "icmp": _icmp}[name](form, family, payload)
    protocol = PROTOCOLS[name][family]
    pseudo = b"" if name == "icmp" and family == 4 else pseudo_header(ends, len(head) + len(payload), protocol)
    right = checksum(pseudo + head + payload)
    if name == "udp" and not right:
        right = 0xFFFF  # a checksum of 0 means: none
    return _summed(head, at, form[name], name, right) + payload, protocol


def _udp(form: Form, _: int, payload: bytes) -> tuple[bytes, int]:
    ports = _get(form, "udp", "sport", 40000), _get(form, "udp", "dport", 9)
    return struct.pack("!HHHH", *ports, _get(form, "udp", "length", _fits(8 + len(payload))), 0), 6


def _tcp(form: Form, _: int, __: bytes) -> tuple[bytes, int]:
    def get(field: str, default: Any) -> Any:
        return _get(form, "tcp", field, default)

    numbers = get("sport", 40000), get("dport", 80), get("seq", 0), get("ack", 0)
    head = struct.pack("!HHIIBBHHH", *numbers, 5 << 4, get("flags", "SYN"), get("window", 65535), 0, get("urgent", 0))
    return head, 16


def _icmp(form: Form, family: int, _: bytes) -> tuple[bytes, int]:
    kind = _get(form, "icmp", "type", "echo_request", family)
    rest = _get(form, "icmp", "code", 0), 0, _get(form, "icmp", "id", 1), _get(form, "icmp", "seq", 1)
    return struct.pack("!BBHHH", kind, *rest), 2


def _summed(head: bytes, at: int, given: Form, layer: str, right: int) -> bytes:
    """The header with its checksum, or the wrong one that was asked for."""
    asked = given.get("checksum", RIGHT)
    number = right if asked == RIGHT else _number("checksum", asked, f"{layer}.checksum")
    return head[:at] + struct.pack("!H", number) + head[at + 2 :]


def pseudo_header(ends: tuple[bytes, bytes], length: int, protocol: int) -> bytes:
    """What a transport checksum covers besides the segment (RFC 768, RFC 8200)."""
    tail = struct.pack("!BBH", 0, protocol, length) if len(ends[0]) == 4 else struct.pack("!II", length, protocol)
    return ends[0] + ends[1] + tail


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - int(total)
