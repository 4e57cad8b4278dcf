"""The schema fragment of `health:`, apart from its reader, which the composed schema does not need."""

from __future__ import annotations

from typing import Any

from reloader.pipeline.checks import DURATION

BOUNDS = ("above", "below", "rate_above", "rate_below", "ratio_above", "ratio_below")
_DURATION = {"type": "string", "pattern": DURATION}
_FAILURES = {
    "title": "Failures",
    "description": "How many looks in a row must fail until the check fails.",
    "type": "integer",
    "minimum": 1,
    "default": 1,
}
_NETNS = {
    "title": "Network namespace",
    "description": "Where to look from: a name below /run/netns, or an absolute path; without it, reloader's own.",
    "type": "string",
    "pattern": r"^(/[^\u0000]+|(?!\.{1,2}$)[^/\u0000]+)$",
}


def _text(title: str, description: str, pattern: str = r"^[^\u0000]+$") -> dict[str, Any]:
    return {"title": title, "description": description, "type": "string", "pattern": pattern}


def _number(title: str, description: str) -> dict[str, Any]:
    return {"title": title, "description": description, "type": "number"}


def _rate(title: str, description: str) -> dict[str, Any]:
    pattern = r"^[0-9]+(\.[0-9]+)?/(s|m|h)$"
    return {"title": title, "description": description, "type": ["number", "string"], "pattern": pattern}


HEALTH: dict[str, Any] = {
    "title": "Health",
    "description": "What a new version must prove after the swap; otherwise it is rolled back, with its state.",
    "type": "object",
    "required": ["window", "checks"],
    "additionalProperties": False,
    "properties": {
        "window": {
            "title": "Window",
            "description": "How long a new version is unconfirmed, for example 10s or 2m.",
            **_DURATION,
        },
        "interval": {
            "title": "Interval",
            "description": "Time between two looks, for example 500ms.",
            **_DURATION,
            "default": "1s",
        },
        "failures": _FAILURES,
        "checks": {
            "title": "Checks",
            "description": "The first check that fails rolls the new version back.",
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/definitions/check"},
        },
    },
}

CHECK: dict[str, Any] = {
    "title": "Check",
    "description": "One thing to look at: a map, a program, an interface, an answer by TCP or HTTP, or a command.",
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "map": _text("Map", "A map of the pipeline, by its name in the object."),
        "field": _text("Field", "The number in its values, by BTF field name; summed over entries and CPUs."),
        "key": {"title": "Key", "description": "Only this entry, written as in entries.", "not": {"type": "null"}},
        "program": _text("Program", "A program of the pipeline: nanoseconds a run; its rate is runs a second."),
        "interface": _text("Interface", "The interface that has the counter.", r"^[^\s/:%\u0000-\u001f]{1,15}$"),
        "counter": _text("Counter", "A name from `ip -s link` or `ethtool -S`: rx_dropped, rx_errors, xdp_drops."),
        "tcp": _text("TCP", "ADDRESS:PORT that must accept a connection."),
        "http": _text(
            "HTTP", "http://ADDRESS[:PORT]/PATH that must answer a GET.", r"^http://[^\s/?#@]+([/?][!-~]*)?$"
        ),
        "status": {
            "title": "Status",
            "description": "The HTTP status expected.",
            "type": "integer",
            "minimum": 100,
            "maximum": 599,
            "default": 200,
        },
        "body": _text("Body", "Text that must be in the first MiB of the answer."),
        "command": _text(
            "Command",
            "A command, by its name in the host's host.yaml; it must exit with 0.",
            "^[a-z][a-z0-9_-]{0,62}$",
        ),
        "netns": _NETNS,
        "timeout": {"title": "Timeout", "description": "How long to wait: 1s, for a command 5s.", **_DURATION},
        "failures": _FAILURES,
        "above": _number("Above", "The number must stay above this."),
        "below": _number("Below", "The number must stay below this."),
        "rate_above": _rate("Rate above", "It must grow by more than this, for example 100/s."),
        "rate_below": _rate("Rate below", "It must grow by less than this, for example 1/s or 5/m."),
        "ratio_above": _number("Ratio above", "Its rate divided by the rate before the swap must be above this."),
        "ratio_below": _number("Ratio below", "Its rate divided by the rate before the swap must be below this."),
    },
}
