"""Interfaces as places: the YAML fields that name one, and its words in a target. What the hooks here share.

A leaf of this folder; imports nothing of the package.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

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

_NAMED = "/run/netns/"


def place(options: Mapping[str, Any]) -> dict[str, str]:
    """The interface and, if it is another, its namespace."""
    out = {"interface": str(options["interface"])}
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


def place_text(target: Mapping[str, str]) -> str:
    """`eth0`, or `eth0@blue` in the namespace /run/netns/blue."""
    netns = target.get("netns", "")
    return target["interface"] + (f"@{netns.removeprefix(_NAMED)}" if netns else "")


def inside(target: Mapping[str, str]) -> str:
    """What a shell puts before a command that has to run in the interface's namespace."""
    return f"nsenter --net={shlex.quote(target['netns'])} -- " if "netns" in target else ""
