"""An interface in a network namespace: the YAML fields that name it, its words in a target, and the interface itself.

What XDP and traffic control share.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from reloader.errors import KernelError, MissingFeature
from reloader.frozen import frozen
from reloader.kernel import Interface, Kernel
from reloader.places.interface import texts
from reloader.places.interface.wake import InterfaceChanges
from reloader.places.place import Spot
from reloader.wording.message import Message

INTERFACE: Mapping[str, Any] = {
    "title": "Interface",
    "description": "Name of the network interface, at most 15 characters, as `ip link` shows it.",
    "type": "string",
    "pattern": r"^(?!\.{1,2}$)[^\s/:%\u0000-\u001f]{1,15}$",
}
NETNS: Mapping[str, Any] = {
    "title": "Network namespace",
    "description": "A name below /run/netns, or an absolute path; left out, reloader's own.",
    "type": "string",
    "pattern": r"^(/[^\u0000]+|(?!\.{1,2}$)[^/\u0000]+)$",
}
REMARK = "netns: a name or an absolute path"

_NAMED = "/run/netns/"
_LISTED_BY = {"interface": "ip link", "netns": "ip netns"}


@frozen
class At:
    """An interface by its name."""

    interface: str
    netns: str | None  # absolute path; None: reloader's own

    @property
    def target(self) -> dict[str, str]:
        """The words of a target, whose order is on disk."""
        return {"interface": self.interface, **({"netns": self.netns} if self.netns else {})}

    @property
    def text(self) -> str:
        """`eth0`, or `eth0@blue` in the namespace /run/netns/blue."""
        return self.interface + (f"@{self.netns.removeprefix(_NAMED)}" if self.netns else "")

    @property
    def missing(self) -> Message:
        """Say that there is no such interface."""
        if not self.netns:
            return texts.INTERFACE_MISSING(interface=self.interface, netns="")
        text = texts.INTERFACE_MISSING_IN if os.path.exists(self.netns) else texts.NAMESPACE_MISSING
        return text(interface=self.interface, netns=self.netns)

    @property
    def wake(self) -> InterfaceChanges:
        """What tells that an interface of that namespace changed."""
        return InterfaceChanges(netns=self.netns)

    def inside(self, command: str) -> str:
        """Return a command of shell that runs in the interface's namespace."""
        return f"nsenter --net={shlex.quote(self.netns)} -- {command}" if self.netns else command

    def present(self, kernel: Kernel) -> Interface | None:
        """Return the interface; None when it or its namespace does not exist."""
        try:
            return kernel.net.interface(self.interface, self.netns)
        except MissingFeature:
            return None

    def counted(self, kernel: Kernel, counter: str) -> int:
        """Return one of the interface's counters; 0 when the interface does not exist."""
        try:
            return kernel.net.counters(self.interface, self.netns).get(counter, 0)
        except (KernelError, MissingFeature):
            return 0


def named(options: Mapping[str, Any]) -> At:
    """Return the interface that the fields of an attachment name."""
    netns = options.get("netns")
    return At(interface=str(options["interface"]), netns=netns_path(netns) if netns else None)


def recorded(target: Mapping[str, str]) -> At:
    """Return the interface of a target."""
    return At(interface=target["interface"], netns=target.get("netns"))


def faults(options: Mapping[str, Any], placeholder: str) -> Iterator[tuple[str, Message]]:
    """Yield the fields that name neither one interface nor one namespace."""
    for field, command in _LISTED_BY.items():
        text = options.get(field)
        if text is None:
            continue
        values = {"name": text, "command": command, field: text}
        if text.startswith(placeholder):
            yield field, texts.PLACEHOLDER(**values)
        elif any(c in text for c in "*?["):
            yield field, texts.PATTERN(**values)


def spot_of(kind: str, interface: Interface) -> Spot:
    """Return the identity of an interface's hook."""
    return (kind, interface.netns, interface.ifindex)


def netns_path(netns: str) -> str:
    """Return a namespace as the YAML names it, as an absolute path."""
    return _normal(netns) if netns.startswith("/") else _NAMED + netns


def _normal(path: str) -> str:
    """One spelling for one namespace: /var/run/netns is /run/netns. No other link is followed, lest a path like
    /proc/self/ns/net come to mean whoever read it first."""
    folder, name = os.path.split(os.path.normpath(path))
    return _NAMED + name if os.path.realpath(folder) == _NAMED.rstrip("/") else path


def describe_panic(stance: str) -> Message:
    """Say what the panic program of a stance does with packets."""
    return (texts.PANIC_OPEN if stance == "open" else texts.PANIC_CLOSED)()
