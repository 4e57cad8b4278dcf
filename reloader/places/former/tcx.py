"""Traffic control on an interface, held by a bpf_link: ingress sees what XDP let pass, with the metadata it left.

Since Linux 6.6 (commit e420bed02507). Others may sit on the hook as well; ours goes behind them.
target: {"interface": name, "direction": "ingress" | "egress", "netns": absolute path; absent for the caller's own}
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from reloader.kernel import Fd, Interface, Links
from reloader.places.former.fields import INTERFACE, NETNS, inside, place, place_text

TITLE = "Traffic control on an interface"
PROGRAM_TYPE = "tc"
SECTION = "tc"
SEVERAL = True
REQUIRED = ("interface",)
VERDICTS: Mapping[str, int] = {
    "TCX_NEXT": 0xFFFFFFFF, "TCX_PASS": 0, "TC_ACT_OK": 0, "TC_ACT_RECLASSIFY": 1, "TCX_DROP": 2, "TC_ACT_SHOT": 2,
    "TC_ACT_PIPE": 3, "TC_ACT_STOLEN": 4, "TCX_REDIRECT": 7, "TC_ACT_REDIRECT": 7,
}  # fmt: skip
PACKET_LEAST = 14  # an Ethernet header
PACKET_MOST = 4096 - 256 - 320  # as for XDP
PROPERTIES: Mapping[str, Any] = {
    "interface": INTERFACE,
    "direction": {
        "title": "Direction",
        "description": "ingress: packets that come in, after XDP. egress: packets that go out.",
        "type": "string",
        "enum": ["ingress", "egress"],
        "default": "ingress",
    },
    "netns": NETNS,
}


def target(options: Mapping[str, Any]) -> dict[str, str]:
    """The checked fields of an attachment as the engine's words."""
    return {**place(options), "direction": str(options.get("direction", "ingress"))}


def attachment_id(target: Mapping[str, str]) -> str:
    """`tcx-ingress:eth0`, or `tcx-ingress:eth0@blue` in the namespace /run/netns/blue."""
    return f"tcx-{target['direction']}:{place_text(target)}"


def missing(links: Links) -> str:
    """By trying, never by version."""
    return "" if links.has_tcx() else "this kernel has no links on traffic control (tcx, Linux 6.6)"


def attach(links: Links, prog: Fd, target: Mapping[str, str], ifindex: int) -> Fd:
    """Behind what others have there."""
    return links.create_tcx(prog, ifindex=ifindex, direction=target["direction"], netns=target.get("netns"))


def rescue(target: Mapping[str, str], program: str) -> tuple[str, ...]:
    """By a filter of the classic kind, which plain `tc` knows and which needs nobody to hold it."""
    device, tc = shlex.quote(target["interface"]), f"again {inside(target)}tc"
    where, how = f"dev {device} {target['direction']} pref 1", f"handle 1 bpf direct-action object-pinned {program}"
    return (
        f"{tc} qdisc replace dev {device} clsact",
        f"{tc} filter replace {where} {how}",
    )


def rescue_off(links: Links, target: Mapping[str, str], interface: Interface, programs: Mapping[int, Fd]) -> None:
    """The filter goes; clsact, which others may use as well, stays."""
    links.take_off_filter(
        frozenset(programs), ifindex=interface.ifindex, direction=target["direction"], netns=target.get("netns")
    )
