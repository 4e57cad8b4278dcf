"""The `test` part of the published schema: packets, expectations, budgets. Composed by pipeline/schema.py.

Words only; pipeline/tests/cases_from_yaml.py and packets.py say what a schema cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reloader.pipeline.tests.packets import LAYERS, TRANSPORT

_FILE = {"type": "string", "pattern": r"^[^\u0000]+$"}


def _object(properties: Mapping[str, Any], **words: Any) -> dict[str, Any]:
    return {"type": "object", **words, "additionalProperties": False, "properties": dict(properties)}


def _said(title: str, description: str, **rule: Any) -> dict[str, Any]:
    return {"title": title, "description": description, **rule}


_TITLES = {
    "eth": "Ethernet", "vlan": "VLAN tag", "ipv4": "IPv4", "ipv6": "IPv6", "udp": "UDP", "tcp": "TCP", "icmp": "ICMP",
}  # fmt: skip
_KINDS: dict[str, tuple[Any, str]] = {
    "mac": ("string", "A MAC, for example 02:00:00:00:00:01."),
    "ipv4": ("string", "An IPv4 address."),
    "ipv6": ("string", "An IPv6 address."),
    "u1": (["boolean", "integer"], "A bit."),
    "flags": (["string", "array", "integer"], "Names, for example SYN ACK, or a list of them."),
    "checksum": (["string", "integer"], "right, or a number that may be wrong on purpose."),
    "icmp": (["string", "integer"], "A name, for example echo_request, or a number."),
}
_PAYLOAD = _said("Payload", "Text, or bytes as hex:….", type="string")
_ADDRESS = "An IPv4 or IPv6 address; it decides which of them the packet is."


def _field(layer: str, name: str, kind: str) -> dict[str, Any]:
    types, text = _KINDS.get(kind, (["string", "integer"], f"A number of {kind[1:]} bits, decimal or 0x…."))
    return _said(f"{_TITLES[layer]} {name}", text, type=types)


def _layer(name: str) -> dict[str, Any]:
    fields = {field: _field(name, field, kind) for field, kind in LAYERS[name].items()}
    if name in TRANSPORT:
        sides = {side: _said(f"{_TITLES[name]} {side}", _ADDRESS, type="string") for side in ("src", "dst")}
        fields = {**sides, **fields, "payload": _PAYLOAD}
    text = f"Fields of the {_TITLES[name]} header. A field that is not given has a default."
    return _object(fields, title=_TITLES[name], description=text)


def _layers() -> dict[str, Any]:
    found = {name: _layer(name) for name in LAYERS}
    tag = found.pop("vlan")
    rule = {"type": ["integer", "object", "array"], "items": {**tag, "type": ["integer", "object"]}}
    return {**found, "vlan": {**tag, **rule, "description": "An id, {id, pcp, dei}, or a list, the outer tag first."}}


def _bytes(description: str) -> dict[str, Any]:
    return _said("Bytes", description, type="string", minLength=1)


_PACKET = _object(
    {
        "hex": _bytes("The frame in hexadecimal; spaces and colons may divide it."),
        "pcap": _said("Capture", "A pcap or pcapng file of Ethernet, beside the YAML.", **_FILE),
        "frames": _said(
            "Frames",
            "Frames of the capture, for example 3, 2-5 or a list. The first is 1; without it, all.",
            type=["integer", "string", "array"],
            items={"type": ["integer", "string"]},
        ),
        **_layers(),
        "payload": _PAYLOAD,
        "size": _said("Size", "Bytes of the frame; zeros behind the payload fill it.", type="integer", minimum=14),
        "truncate": _said("Truncate", "Cut the frame after this number of bytes.", type="integer", minimum=14),
    },
    title="Packet",
    description="One of hex, pcap, and layers, for example {udp: {src: 192.0.2.1, dport: 53}}.",
    minProperties=1,
)

_OUTPUT = _object(
    {
        "hex": _bytes("The bytes expected; a ? stands for a digit that does not matter."),
        "at": _said(
            "Offset", "Where the bytes start; without it, they are the whole packet.", type="integer", minimum=0
        ),
        "length": _said("Length", "Bytes of the whole packet.", type="integer", minimum=0),
        **_layers(),
        "payload": _PAYLOAD,
    },
    title="Output",
    description="same, or the bytes or fields that the packet must have afterwards. Others are not compared.",
    minProperties=1,
) | {"type": ["string", "object"], "pattern": "^same$"}

_CHECKED = _object(
    {
        "key": _said("Key", "A scalar, or a mapping by field name.", **{"not": {"type": "null"}}),
        "value": _said(
            "Value",
            "Only the given fields are compared. A number may be a range, for example 1..5, 1.. or ..5.",
            **{"not": {"type": "null"}},
        ),
        "absent": _said("Absent", "true: the map must not have this key.", type="boolean"),
    },
    title="Expected entry",
    description="A key, and what its value must be.",
    required=["key"],
)

_EXPECT = _object(
    {
        "verdict": _said(
            "Verdict",
            "What the program must return: a name, for example XDP_PASS, or a number.",
            type=["string", "integer"],
        ),
        "output": _OUTPUT,
        "maps": _said(
            "Maps",
            "Entries that maps must hold now: a list, or {count, entries}.",
            type="object",
            additionalProperties={
                "type": ["array", "object"],
                "items": {"$ref": "#/definitions/expected_entry"},
                "additionalProperties": False,
                "properties": {
                    "count": _said(
                        "Count", "Number of entries, or a range, for example 1..5.", type=["integer", "string"]
                    ),
                    "entries": _said(
                        "Entries",
                        "Entries to compare; others may exist.",
                        type="array",
                        items={"$ref": "#/definitions/expected_entry"},
                    ),
                },
            },
        ),
    },
    title="Expectation",
    description="What must hold after the packet.",
    minProperties=1,
)

_SEED = _said(
    "Seed",
    "Entries to write to maps before the packet, by map, in the form of entries.",
    type="object",
    additionalProperties={"type": "array", "items": {"$ref": "#/definitions/entry"}},
)

_STEP = {
    "seed": _SEED,
    "packet": {"$ref": "#/definitions/packet", "title": "Packet", "description": "The packet."},
    "repeat": _said(
        "Repeat",
        "How often each packet of the step is run. Verdict and output must hold every time, maps after all runs.",
        type="integer",
        minimum=1,
        maximum=100000,
        default=1,
    ),
    "expect": {
        "$ref": "#/definitions/expect",
        "title": "Expectation",
        "description": "What must hold after the packet.",
    },
}

_FACTOR = {"type": "number", "minimum": 0.01, "maximum": 1000}
_BUDGET = _object(
    {
        "ns_max_vs_active": _said(
            "Time", "Most nanoseconds for the packet, as a multiple of the running version's.", **_FACTOR
        ),
        "insns_max_vs_active": _said(
            "Instructions", "Most verified instructions, as a multiple of the running version's.", **_FACTOR
        ),
    },
    title="Budget",
    description="How much more than the running version it may cost. Skipped if no version runs.",
    minProperties=1,
)

_CASE = _object(
    {
        "name": _said("Name", "The name in reports.", type="string", minLength=1),
        "program": _said(
            "Program", "The program to run; not needed if only one is attached.", type="string", minLength=1
        ),
        **_STEP,
        "steps": _said(
            "Steps",
            "A scenario: steps in order, over the same maps.",
            type="array",
            minItems=1,
            items=_object(_STEP, title="Step", description="Seeds, a packet, what must hold.", minProperties=1),
        ),
        "budget": _BUDGET,
    },
    title="Test",
    description="Run on a separate load with its own maps, before any attachment is swapped.",
)

TEST = _said(
    "Tests",
    "What a new version must do with packets before it goes live.",
    type="array",
    items={"$ref": "#/definitions/test"},
)
DEFINITIONS = {"test": _CASE, "packet": _PACKET, "expect": _EXPECT, "expected_entry": _CHECKED}
