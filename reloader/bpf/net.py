"""Interfaces of any network namespace. Implements kernel.Net."""

from __future__ import annotations

import socket
from collections.abc import Collection

from reloader.bpf import netlink
from reloader.bpf import netns as namespaces
from reloader.bpf.netlink import LinkEvents
from reloader.errors import MissingFeature
from reloader.kernel import Fd, Interface


class LiveNet:
    """See kernel.Net."""

    def interface(self, name: str, netns: str | None) -> Interface | None:
        with _socket(netns) as channel:
            link = netlink.link_by_name(channel, name)
        if link is None:
            return None
        return Interface(
            name=link.name, ifindex=link.ifindex, netns=namespaces.identity(netns), mtu=link.mtu,
            xdp_prog_id=link.xdp_prog_id, xdp_mode=link.xdp_mode, xdp_beside=link.xdp_beside,
        )  # fmt: skip

    def indices(self, names: Collection[str], netns: str | None) -> tuple[str, dict[str, int]]:
        with _socket(netns) as channel:
            found = {name: index for name in names if (index := netlink.index_by_name(channel, name))}
        return namespaces.identity(netns), found

    def counters(self, name: str, netns: str | None) -> dict[str, int]:
        from reloader.bpf import ethtool

        with _socket(netns) as channel:
            found = netlink.statistics(channel, name)
            if found is None:
                raise MissingFeature(f"no interface {name}", hint=f"in {netns}" if netns else "see `ip link`")
            return {**ethtool.statistics(channel, name), **found}

    def stream(self, family: int, netns: str | None) -> Fd:
        return Fd(namespaces.inside(netns, lambda: socket.socket(family, socket.SOCK_STREAM).detach()))

    def xdp_programs(self, netns: str | None) -> set[int]:
        with _socket(netns) as channel:
            return {link.xdp_prog_id for link in netlink.all_links(channel)} - {0}

    def changes(self, netns: str | None) -> LinkEvents:
        return link_events(netns)


def link_events(namespace: str | None = None) -> LinkEvents:
    """Changes of a namespace's interfaces from now on; the caller closes it."""
    return LinkEvents(_socket(namespace, netlink.RTMGRP_LINK))


def _socket(namespace: str | None, groups: int = 0) -> socket.socket:
    """Made inside the namespace; works from here all the same."""
    return socket.socket(fileno=namespaces.inside(namespace, lambda: netlink.open_socket(groups).detach()))
