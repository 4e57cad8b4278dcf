"""pipeline/tests/packets.py, pipeline/tests/dissect.py and pipeline/tests/pcap.py: frames from words, fields from
frames, captures as streams.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reloader.pipeline.tests import packets
from reloader.pipeline.tests.dissect import checksum_state, dissect
from reloader.pipeline.tests.pcap import PcapProblem, frames
from reloader.structs.numbers import ValueProblem


def frame(**form: Any) -> bytes:
    return packets.build(form)


def test_a_plain_datagram() -> None:
    data = frame(udp={"src": "192.0.2.1", "dst": "192.0.2.2", "sport": 1234, "dport": 53, "payload": "hi"})
    assert data[:14].hex() == "0200000000020200000000010800"
    assert data[14:24].hex() == "4500001e000000004011"
    assert data[26:34].hex() == "c0000201c0000202"
    assert data[34:40].hex() == "04d20035000a"
    assert data[42:] == b"hi"
    assert packets.checksum(data[14:34]) == 0


def test_the_checksum_of_rfc_1071() -> None:
    """The RFC's own example: the sum is ddf2, its complement the checksum."""
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_a_header_checksum_known_from_elsewhere() -> None:
    """The worked example that textbooks and Wikipedia give: b861."""
    head = bytes.fromhex("45000073000040004011" + "0000" + "c0a80001c0a800c7")
    assert packets.checksum(head) == 0xB861
    form = {"ipv4": {"src": "192.168.0.1", "dst": "192.168.0.199", "dont_fragment": True}, "udp": {}, "size": 14 + 0x73}
    assert packets.build(form)[24:26].hex() == "b861"


FORMS: list[dict[str, Any]] = [
    {"udp": {}},
    {"udp": {"src": "2001:db8::7", "payload": "x"}},
    {"tcp": {"src": "192.0.2.9", "flags": ["SYN", "ACK"], "seq": 7, "ack": 8, "window": 9, "payload": "hex:0001"}},
    {"tcp": {"dst": "2001:db8::9", "flags": "FIN"}},
    {"icmp": {}},
    {"icmp": {"src": "2001:db8::1", "type": "neighbour_solicitation"}},
    {"ipv4": {"ttl": 3, "tos": 4, "id": 5, "more_fragments": 1}, "udp": {}},
    {"ipv6": {"hop_limit": 3, "flow_label": 0xFFFFF, "traffic_class": 9}, "udp": {}},
    {"vlan": 7, "udp": {}},
    {"vlan": [{"id": 7, "pcp": 3}, 8], "tcp": {}},
    {"udp": {}, "size": 1400},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_checksums_are_right_wherever_there_are_some(form: dict[str, Any]) -> None:
    data = packets.build(form)
    states = {layer: checksum_state(data, layer) for layer in ("ipv4", "udp", "tcp", "icmp")}
    assert set(states.values()) <= {"right", "missing"}
    transport = next(name for name in ("udp", "tcp", "icmp") if name in form)
    assert states[transport] == "right"
    broken = bytearray(data)
    broken[-1] ^= 1
    assert checksum_state(bytes(broken), transport) == "wrong"


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_was_said_is_read_back(form: dict[str, Any]) -> None:
    found = dissect(packets.build(form))
    for layer, part in packets.lift(form).items():
        if layer not in packets.LAYERS or not isinstance(part, dict):
            continue
        for name, value in part.items():
            if name == "payload":
                assert found["payload"] == packets.text_bytes(value, "")
            else:
                family = 6 if "ipv6.src" in found else 4
                assert found[f"{layer}.{name}"] == packets.value_of(packets.LAYERS[layer][name], value, "", family)


@given(some.binary(max_size=200))
def test_any_bytes_can_be_taken_apart(data: bytes) -> None:
    dissect(data)
    for layer in ("ipv4", "udp", "tcp", "icmp"):
        checksum_state(data, layer)


@given(some.binary(max_size=60), some.integers(0, 60))
def test_a_frame_of_ours_cut_anywhere_is_taken_apart(payload: bytes, cut: int) -> None:
    data = packets.build({"tcp": {"payload": "hex:" + payload.hex()}})
    dissect(data[:cut])


def test_wrong_on_purpose() -> None:
    data = frame(ipv4={"checksum": 0x1234, "length": 9}, udp={"checksum": "0", "length": 3})
    assert data[24:26].hex() == "1234"
    assert data[16:18].hex() == "0009"
    assert data[38:42].hex() == "00030000"
    assert len(frame(udp={}, truncate=20)) == 20


@pytest.mark.parametrize(
    ("form", "path", "code"),
    [
        ({"udp": {"sport": 65536}}, "udp.sport", "number-too-large"),
        ({"udp": {"sport": "http"}}, "udp.sport", "not-a-number"),
        ({"udp": {"src": "192.0.2"}}, "udp.src", "not-an-address"),
        ({"udp": {"src": "192.0.2.1", "dst": "::1"}}, "ipv6", "ipv4-and-ipv6"),
        ({"udp": {"src": "192.0.2.1"}, "ipv4": {"src": "192.0.2.2"}}, "udp.src", "address-given-twice"),
        ({"udp": {}, "tcp": {}}, "tcp", "two-transports"),
        ({"eth": {"src": "2:0:0"}}, "eth.src", "not-a-mac"),
        ({"tcp": {"flags": "SYN ACH"}}, "tcp.flags", "unknown-name"),
        ({"icmp": {"type": "echo"}}, "icmp.type", "unknown-name"),
        ({"udp": {"payload": "hex:0"}}, "udp.payload", "not-hex"),
        ({"udp": {"payload": "a"}, "payload": "b"}, "payload", "payload-given-twice"),
        ({"udp": {}, "size": 30}, "size", "frame-too-small"),
        ({"udp": {}, "truncate": 90}, "truncate", "cut-beyond-frame"),
        ({"ipv4": {"checksum": "wrong"}}, "ipv4.checksum", "not-a-checksum"),
        ({"vlan": 4096}, "vlan.id", "number-too-large"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said(form: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        packets.build(form)
    assert (caught.value.path, caught.value.reason) == (path, code)


# captures


def classic(*data: bytes, order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    head = struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    return head + b"".join(struct.pack(f"{order}IIII", 1, 2, len(d), len(d)) + d for d in data)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def next_generation(*data: bytes, order: str = "<", link: int = 1) -> bytes:
    section = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    interface = block(1, struct.pack(f"{order}HHI", link, 0, 65535), order)
    enhanced = [block(6, struct.pack(f"{order}IIIII", 0, 1, 2, len(d), len(d)) + d, order) for d in data]
    other = block(5, b"statistics", order)
    return section + interface + other + b"".join(enhanced) + other


def read(data: bytes) -> list[bytes]:
    return list(frames(io.BytesIO(data)))


TWO = (b"\x02" * 61, b"\x03" * 64)


@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_of_a_capture(order: str) -> None:
    assert read(classic(*TWO, order=order)) == list(TWO)
    assert read(classic(*TWO, order=order, magic=0xA1B23C4D)) == list(TWO)
    assert read(next_generation(*TWO, order=order)) == list(TWO)


def test_a_capture_is_read_no_further_than_asked() -> None:
    stream = frames(io.BytesIO(classic(*TWO)[:-10]))
    assert next(stream) == TWO[0]
    with pytest.raises(PcapProblem) as caught:
        next(stream)
    assert caught.value.message.values == {"part": "frame 2", "wanted": 64, "found": 54}


@pytest.mark.parametrize("whole", [classic(*TWO), next_generation(*TWO)], ids=["pcap", "pcapng"])
def test_cut_anywhere_it_is_a_problem_or_a_whole_capture(whole: bytes) -> None:
    for cut in range(len(whole)):
        try:
            assert set(read(whole[:cut])) <= set(TWO)
        except PcapProblem:
            continue


@pytest.mark.parametrize("whole", [classic(*TWO), next_generation(*TWO)], ids=["pcap", "pcapng"])
def test_damaged_anywhere_it_is_a_problem_or_a_capture(whole: bytes) -> None:
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        try:
            read(bytes(damaged))
        except PcapProblem:
            continue


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "capture-cut-off"),
        (b"GIF89a" * 9, "not-a-capture"),
        (classic(*TWO, link=101), "link-type"),
        (next_generation(*TWO, link=101), "link-type"),
        (classic()[:24] + struct.pack("<IIII", 0, 0, 60, 90) + bytes(60), "frame-in-part"),
        (classic()[:24] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "frame-too-long"),
    ],
)
def test_what_is_no_capture_is_said(data: bytes, code: str) -> None:
    with pytest.raises(PcapProblem) as caught:
        read(data)
    assert caught.value.message.code == code
