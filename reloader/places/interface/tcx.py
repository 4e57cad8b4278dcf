"""Traffic control on an interface, held by a bpf_link: ingress sees what XDP let pass, with the metadata it left.

Since Linux 6.6 (commit e420bed02507). Others may be attached to the hook as well; ours goes behind them.
target: {"interface": name, "netns": absolute path; absent for reloader's own, "direction": "ingress" | "egress"}
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from reloader.errors import AttachRefused
from reloader.frozen import frozen
from reloader.kernel import Fd, Interface, Kernel, LinkInfo
from reloader.places.interface import fields, seen, takeover, texts
from reloader.places.interface.fields import At
from reloader.places.interface.neighbours import on_tcx
from reloader.places.interface.refused import Attempt, explained, explanation, interface_for
from reloader.places.interface.wake import InterfaceChanges
from reloader.places.place import Fact, LoadHints, PacketRules, Record, Seen, Sight, Spot
from reloader.places.programs import owner_of
from reloader.wording.message import Message


@frozen
class Tcx:
    """See place.Place."""

    TYPE: ClassVar[str] = "tcx"
    TITLE: ClassVar[str] = "Traffic control on an interface"
    REQUIRED: ClassVar[tuple[str, ...]] = ("interface",)
    EXAMPLE: ClassVar[Mapping[str, str]] = {"interface": "eth0"}
    REMARK: ClassVar[str] = f"direction: ingress (default) or egress; {fields.REMARK}"
    LOADS: ClassVar[tuple[LoadHints, ...]] = (LoadHints(program_type="tc", section="tc", options={}),)
    SEVERAL: ClassVar[bool] = True
    PACKETS: ClassVar[PacketRules | None] = PacketRules(
        verdicts={
            "TCX_NEXT": 0xFFFFFFFF, "TCX_PASS": 0, "TC_ACT_OK": 0, "TC_ACT_RECLASSIFY": 1, "TCX_DROP": 2,
            "TC_ACT_SHOT": 2, "TC_ACT_PIPE": 3, "TC_ACT_STOLEN": 4, "TCX_REDIRECT": 7, "TC_ACT_REDIRECT": 7,
        },
        least=14,  # an Ethernet header
        most=4096 - 256 - 320,  # as for XDP
    )  # fmt: skip
    PROPERTIES: ClassVar[Mapping[str, Any]] = {
        "interface": fields.INTERFACE,
        "direction": {
            "title": "Direction",
            "description": "ingress: packets that come in, after XDP. egress: packets that go out.",
            "type": "string",
            "enum": ["ingress", "egress"],
            "default": "ingress",
        },
        "netns": fields.NETNS,
    }

    at: At
    direction: str

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        return cls(at=fields.named(options), direction=str(options.get("direction", "ingress")))

    @classmethod
    def of(cls, target: Mapping[str, str]) -> Self:
        return cls(at=fields.recorded(target), direction=target["direction"])

    @staticmethod
    def faults(options: Mapping[str, Any], placeholder: str) -> Iterator[tuple[str, Message]]:
        return fields.faults(options, placeholder)

    @property
    def target(self) -> dict[str, str]:
        return {**self.at.target, "direction": self.direction}

    @property
    def id(self) -> str:
        return f"tcx-{self.direction}:{self.at.text}"

    @property
    def how(self) -> str:
        return self.direction

    @property
    def load(self) -> LoadHints:
        return self.LOADS[0]

    def probe(self, kernel: Kernel) -> Message | None:
        return None if kernel.links.has_tcx() else texts.NO_TCX()

    def look(self, kernel: Kernel, link: LinkInfo | None, others: Callable[[], Mapping[int, Record]]) -> Seen:
        interface = self.at.present(kernel)
        lacks = None if link else self.probe(kernel)
        owner = owner_of(kernel, link.prog_id) if link else ""
        neighbours = on_tcx(kernel, self.at, self.direction, interface, link) if interface else ()
        return self.assembled(interface, link, owner=owner, neighbours=neighbours, lacks=lacks)

    def assembled(self, interface: Interface | None, link: LinkInfo | None, **read: Any) -> Seen:
        """Return what was read as one value. Pure."""
        return seen.assembled(self._hook, interface, link, **read)

    @property
    def _hook(self) -> seen.Hook:
        return seen.Hook(kind=self.id.partition(":")[0], several=self.SEVERAL, at=self.at)

    def spot(self, kernel: Kernel) -> Spot | None:
        interface = self.at.present(kernel)
        return fields.spot_of(self._hook.kind, interface) if interface else None

    def holds(self, kernel: Kernel, link: LinkInfo) -> bool:
        return seen.sight_of(self._hook, self.at.present(kernel), link) is Sight.OURS

    def record(self, link: LinkInfo, spot: Spot | None) -> dict[str, Fact]:
        return seen.record(self.at, link, spot)

    def wake(self) -> InterfaceChanges:
        return self.at.wake

    def attach(self, kernel: Kernel, program: Fd, name: str) -> Fd:
        """Behind what others have there."""
        interface = interface_for(kernel, self.at)
        with explained(self._attempt(name), interface):
            return kernel.links.create_tcx(
                program, ifindex=interface.ifindex, direction=self.direction, netns=self.at.netns
            )

    def refused(self, kernel: Kernel, error: AttachRefused, name: str) -> AttachRefused:
        return explanation(error, self._attempt(name), self.at.present(kernel))

    def _attempt(self, name: str) -> Attempt:
        return Attempt(attachment=self.id, at=self.at, program=name)

    def remove(self, kernel: Kernel, taken: Mapping[str, Any]) -> None:
        interface = interface_for(kernel, self.at)
        takeover.remove_filter(kernel, self.at, interface, self.direction, taken)

    def restore(self, kernel: Kernel, taken: Mapping[str, Any], theirs: Fd) -> None:
        takeover.restore_filter(kernel, self.at, self.direction, taken, theirs)

    def rescue(self, program: str) -> tuple[str, ...]:
        """By a filter of the classic kind, which plain `tc` knows and which needs nobody to hold it."""
        device = shlex.quote(self.at.interface)
        where, how = f"dev {device} {self.direction} pref 1", f"handle 1 bpf direct-action object-pinned {program}"
        return (
            f"again {self.at.inside(f'tc qdisc replace dev {device} clsact')}",
            f"again {self.at.inside(f'tc filter replace {where} {how}')}",
        )

    def rescue_off(self, kernel: Kernel, programs: Mapping[int, Fd]) -> None:
        """The filter is removed; clsact, which others may use as well, stays."""
        if interface := self.at.present(kernel):
            kernel.links.take_off_filter(
                frozenset(programs), ifindex=interface.ifindex, direction=self.direction, netns=self.at.netns
            )

    @staticmethod
    def panic(stance: str) -> str | None:
        return f"tcx_{stance}"

    @staticmethod
    def describe_panic(stance: str) -> Message:
        return fields.describe_panic(stance)

    def traffic(self, kernel: Kernel) -> int | None:
        return self.at.counted(kernel, "tx_packets" if self.direction == "egress" else "rx_packets")

    @staticmethod
    def attached_without_link(kernel: Kernel) -> set[int]:
        """Filters of traffic control hold their programs by themselves and are not looked for."""
        return set()
