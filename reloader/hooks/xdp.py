"""XDP, alone on an interface, held by a bpf_link.

target: {"interface": name, "mode": "native" | "skb", "netns": absolute path; absent for the caller's own}
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from reloader.kernel import XdpMode

TITLE = "XDP on an interface"
PROGRAM_TYPE = "xdp"
SECTION = "xdp"
REQUIRED = ("interface",)
VERDICTS: Mapping[str, int] = {"XDP_ABORTED": 0, "XDP_DROP": 1, "XDP_PASS": 2, "XDP_TX": 3, "XDP_REDIRECT": 4}
PACKET_LEAST = 14  # an Ethernet header
PACKET_MOST = 4096 - 256 - 320  # a page without the room that XDP keeps before and behind a packet
PROPERTIES: Mapping[str, Any] = {
    "interface": {
        "title": "Interface",
        "description": "Name of the network interface, at most 15 characters, as `ip link` shows it.",
        "type": "string",
        "pattern": r"^(?!\.{1,2}$)[^\s/:%\u0000-\u001f]{1,15}$",
    },
    "mode": {
        "title": "Mode",
        "description": "native runs in the driver; skb is slower and works on every interface.",
        "type": "string",
        "enum": [XdpMode.NATIVE.value, XdpMode.SKB.value],
        "default": XdpMode.NATIVE.value,
    },
    "netns": {
        "title": "Network namespace",
        "description": "A name below /run/netns, or an absolute path; left out, reloader's own.",
        "type": "string",
        "pattern": r"^(/[^\u0000]+|(?!\.{1,2}$)[^/\u0000]+)$",
    },
}

_NAMED = "/run/netns/"


def target(options: Mapping[str, Any]) -> dict[str, str]:
    """The checked fields of an attachment as the engine's words."""
    out = {"interface": str(options["interface"]), "mode": str(options.get("mode", XdpMode.NATIVE.value))}
    if netns := options.get("netns"):
        out["netns"] = netns_path(netns)
    return out


def netns_path(netns: str) -> str:
    """A namespace as the YAML names it, as an absolute path."""
    return _normal(netns) if netns.startswith("/") else _NAMED + netns


def _normal(path: str) -> str:
    """One spelling for one namespace: /var/run/netns is /run/netns. No other link is followed, lest a path like
    /proc/self/ns/net come to mean whoever read it first."""
    folder, name = os.path.split(os.path.normpath(path))
    return _NAMED + name if os.path.realpath(folder) == _NAMED.rstrip("/") else path


def attachment_id(target: Mapping[str, str]) -> str:
    """`xdp:eth0`, or `xdp:eth0@blue` in the namespace /run/netns/blue."""
    netns = target.get("netns", "")
    return f"xdp:{target['interface']}" + (f"@{netns.removeprefix(_NAMED)}" if netns else "")


def rescue(target: Mapping[str, str], program: str) -> tuple[str, ...]:
    """By netlink, which needs nobody to hold it; `again` is of the script these lines go into."""
    kind = {XdpMode.NATIVE: "xdpdrv", XdpMode.SKB: "xdpgeneric"}[XdpMode(target["mode"])]
    inside = f"nsenter --net={shlex.quote(target['netns'])} -- " if "netns" in target else ""
    return (
        f"again {inside}bpftool net attach {kind} pinned {program} dev {shlex.quote(target['interface'])} overwrite",
    )
