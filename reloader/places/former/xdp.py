"""XDP, alone on an interface, held by a bpf_link.

target: {"interface": name, "mode": "native" | "skb", "netns": absolute path; absent for the caller's own}
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from reloader.kernel import Fd, Interface, Links, XdpMode
from reloader.places.former.fields import INTERFACE, NETNS, inside, place, place_text

TITLE = "XDP on an interface"
PROGRAM_TYPE = "xdp"
SECTION = "xdp"
SEVERAL = False
REQUIRED = ("interface",)
VERDICTS: Mapping[str, int] = {"XDP_ABORTED": 0, "XDP_DROP": 1, "XDP_PASS": 2, "XDP_TX": 3, "XDP_REDIRECT": 4}
PACKET_LEAST = 14  # an Ethernet header
PACKET_MOST = 4096 - 256 - 320  # a page without the room that XDP keeps before and behind a packet
PROPERTIES: Mapping[str, Any] = {
    "interface": INTERFACE,
    "mode": {
        "title": "Mode",
        "description": "native runs in the driver; skb is slower and works on every interface.",
        "type": "string",
        "enum": [XdpMode.NATIVE.value, XdpMode.SKB.value],
        "default": XdpMode.NATIVE.value,
    },
    "netns": NETNS,
}


def target(options: Mapping[str, Any]) -> dict[str, str]:
    """The checked fields of an attachment as the engine's words."""
    return {**place(options), "mode": str(options.get("mode", XdpMode.NATIVE.value))}


def attachment_id(target: Mapping[str, str]) -> str:
    """`xdp:eth0`, or `xdp:eth0@blue` in the namespace /run/netns/blue."""
    return f"xdp:{place_text(target)}"


def missing(_links: Links) -> str:
    """Links on XDP are as old as all that we ask of a kernel."""
    return ""


def attach(links: Links, prog: Fd, target: Mapping[str, str], ifindex: int) -> Fd:
    """EBUSY when something is attached already."""
    return links.create_xdp(prog, ifindex=ifindex, mode=XdpMode(target["mode"]), netns=target.get("netns"))


def rescue(target: Mapping[str, str], program: str) -> tuple[str, ...]:
    """By netlink, which needs nobody to hold it; `again` is of the script these lines go into. `--`: bpftool looks for
    options among all words, and an interface may be named `-q`."""
    kind = {XdpMode.NATIVE: "xdpdrv", XdpMode.SKB: "xdpgeneric"}[XdpMode(target["mode"])]
    device = shlex.quote(target["interface"])
    return (f"again {inside(target)}bpftool -- net attach {kind} pinned {program} dev {device} overwrite",)


def rescue_off(links: Links, target: Mapping[str, str], interface: Interface, programs: Mapping[int, Fd]) -> None:
    """Our own link runs another program, and so does whoever came after the script."""
    program = programs.get(interface.xdp_prog_id)
    if program is not None and interface.xdp_mode is not None:
        links.take_off_xdp(program, ifindex=interface.ifindex, mode=interface.xdp_mode, netns=target.get("netns"))
