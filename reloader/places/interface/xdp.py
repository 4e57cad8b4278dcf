"""XDP, alone on an interface, held by a bpf_link.

target: {"interface": name, "netns": absolute path; absent for reloader's own, "mode": "native" | "skb"}
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from reloader.errors import AttachRefused, KernelError, MissingFeature
from reloader.frozen import frozen
from reloader.kernel import Fd, Interface, Kernel, LinkInfo, XdpMode
from reloader.places.interface import fields, seen, takeover, texts
from reloader.places.interface.fields import At
from reloader.places.interface.neighbours import on_xdp
from reloader.places.interface.refused import Attempt, explained, explanation, interface_for
from reloader.places.interface.wake import InterfaceChanges
from reloader.places.place import Fact, LoadHints, PacketRules, Record, Seen, Sight, Spot
from reloader.places.programs import owner_of
from reloader.wording.message import Message

_NAMED = Path("/run/netns")


@frozen
class Xdp:
    """See place.Place."""

    TYPE: ClassVar[str] = "xdp"
    TITLE: ClassVar[str] = "XDP on an interface"
    REQUIRED: ClassVar[tuple[str, ...]] = ("interface",)
    EXAMPLE: ClassVar[Mapping[str, str]] = {"interface": "eth0"}
    REMARK: ClassVar[str] = f"mode: native (default) or skb; {fields.REMARK}"
    LOADS: ClassVar[tuple[LoadHints, ...]] = (LoadHints(program_type="xdp", section="xdp", options={}),)
    SEVERAL: ClassVar[bool] = False
    PACKETS: ClassVar[PacketRules | None] = PacketRules(
        verdicts={"XDP_ABORTED": 0, "XDP_DROP": 1, "XDP_PASS": 2, "XDP_TX": 3, "XDP_REDIRECT": 4},
        least=14,  # an Ethernet header
        most=4096 - 256 - 320,  # a page without the room that XDP keeps before and behind a packet
    )
    PROPERTIES: ClassVar[Mapping[str, Any]] = {
        "interface": fields.INTERFACE,
        "mode": {
            "title": "Mode",
            "description": "native runs in the driver; skb is slower and works on every interface.",
            "type": "string",
            "enum": [XdpMode.NATIVE.value, XdpMode.SKB.value],
            "default": XdpMode.NATIVE.value,
        },
        "netns": fields.NETNS,
    }

    at: At
    mode: XdpMode

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        return cls(at=fields.named(options), mode=XdpMode(options.get("mode", XdpMode.NATIVE)))

    @classmethod
    def of(cls, target: Mapping[str, str]) -> Self:
        return cls(at=fields.recorded(target), mode=XdpMode(target["mode"]))

    @staticmethod
    def faults(options: Mapping[str, Any], placeholder: str) -> Iterator[tuple[str, Message]]:
        return fields.faults(options, placeholder)

    @property
    def target(self) -> dict[str, str]:
        return {**self.at.target, "mode": self.mode.value}

    @property
    def id(self) -> str:
        return f"xdp:{self.at.text}"

    @property
    def how(self) -> str:
        return f"{self.mode} mode"

    @property
    def load(self) -> LoadHints:
        return self.LOADS[0]

    def probe(self, kernel: Kernel) -> Message | None:
        """Links on XDP are older than everything else that reloader needs of a kernel."""
        return None

    def look(self, kernel: Kernel, link: LinkInfo | None, others: Callable[[], Mapping[int, Record]]) -> Seen:
        interface = self.at.present(kernel)
        found = self.assembled(interface, link)
        if interface is None:
            return found
        owner, foreign = owner_of(kernel, interface.xdp_prog_id), None
        if owner and found.sight is not Sight.OURS:
            foreign = seen.foreign_on(kernel, interface, others)
        neighbours = on_xdp(kernel, interface)
        return self.assembled(interface, link, owner=owner, foreign=foreign, neighbours=neighbours)

    def assembled(self, interface: Interface | None, link: LinkInfo | None, **read: Any) -> Seen:
        """Return what was read as one value. Pure."""
        now = interface.xdp_mode if interface else None
        fixed = texts.MODE_FIXED(mode=now) if now and now != self.mode else None
        return seen.assembled(self._hook, interface, link, fixed=fixed, **read)

    @property
    def _hook(self) -> seen.Hook:
        return seen.Hook(kind=self.TYPE, several=self.SEVERAL, at=self.at)

    def spot(self, kernel: Kernel) -> Spot | None:
        interface = self.at.present(kernel)
        return fields.spot_of(self.TYPE, interface) if interface else None

    def holds(self, kernel: Kernel, link: LinkInfo) -> bool:
        return seen.sight_of(self._hook, self.at.present(kernel), link) is Sight.OURS

    def record(self, link: LinkInfo, spot: Spot | None) -> dict[str, Fact]:
        return seen.record(self.at, link, spot)

    def wake(self) -> InterfaceChanges:
        return self.at.wake

    def attach(self, kernel: Kernel, program: Fd, name: str) -> Fd:
        interface = interface_for(kernel, self.at)
        with explained(self._attempt(name), interface):
            return kernel.links.create_xdp(program, ifindex=interface.ifindex, mode=self.mode, netns=self.at.netns)

    def refused(self, kernel: Kernel, error: AttachRefused, name: str) -> AttachRefused:
        return explanation(error, self._attempt(name), self.at.present(kernel))

    def _attempt(self, name: str) -> Attempt:
        return Attempt(attachment=self.id, at=self.at, program=name, mode=self.mode.value)

    def take(self, kernel: Kernel, program: Fd, name: str, *, theirs: Fd, how: str) -> Fd:
        interface = interface_for(kernel, self.at)
        with explained(self._attempt(name), interface):
            return takeover.take(kernel, self.at, interface, program, mode=self.mode, theirs=theirs, their_mode=how)

    def give_back(self, kernel: Kernel, theirs: Fd, how: str) -> None:
        takeover.give_back(kernel, self.at, theirs, how)

    def rescue(self, program: str) -> tuple[str, ...]:
        """By netlink, which needs nobody to hold it; `again` is of the script these lines go into. `--`: bpftool looks
        for options among all words, and an interface may be named `-q`."""
        kind = {XdpMode.NATIVE: "xdpdrv", XdpMode.SKB: "xdpgeneric"}[self.mode]
        attach = f"bpftool -- net attach {kind} pinned {program} dev {shlex.quote(self.at.interface)} overwrite"
        return (f"again {self.at.inside(attach)}",)

    def rescue_off(self, kernel: Kernel, programs: Mapping[int, Fd]) -> None:
        """Our own link runs another program, and so does a program that was attached after the script."""
        interface = self.at.present(kernel)
        program = programs.get(interface.xdp_prog_id) if interface else None
        if interface and program is not None and interface.xdp_mode is not None:
            kernel.links.take_off_xdp(program, ifindex=interface.ifindex, mode=interface.xdp_mode, netns=self.at.netns)

    @staticmethod
    def panic(stance: str) -> str | None:
        return f"xdp_{stance}"

    @staticmethod
    def describe_panic(stance: str) -> Message:
        return fields.describe_panic(stance)

    def traffic(self, kernel: Kernel) -> int | None:
        return self.at.counted(kernel, "rx_packets")

    @staticmethod
    def attached_without_link(kernel: Kernel) -> set[int]:
        """Return the programs that are attached in this network namespace and in those that have a name."""
        found = set[int]()
        named = sorted(_NAMED.iterdir()) if os.path.isdir(_NAMED) else []
        for netns in (None, *map(str, named)):
            with suppress(KernelError, MissingFeature):  # it was removed in between
                found |= kernel.net.xdp_programs(netns)
        return found
