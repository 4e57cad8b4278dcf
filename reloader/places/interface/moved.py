"""Whether recorded interfaces are still where they were. Imports little: the check behind "nothing to do" asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.errors import MissingFeature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reloader.kernel import Kernel, LinkInfo
    from reloader.places.place import Fact, Record
    from reloader.wording.message import Message


def moved(kernel: Kernel, links: Sequence[tuple[Record, LinkInfo]]) -> Message | None:
    """Say which recorded name means another interface than the one with the link: one look into each namespace."""
    wanted: dict[tuple[Fact, Fact], dict[str, Fact]] = {}
    for record, link in links:
        name = record.get("interface")
        if name and link.ifindex != record.get("ifindex"):
            return _renamed(str(name))
        if name:
            wanted.setdefault((record.get("netns"), record.get("netns_id")), {})[str(name)] = record.get("ifindex")
    for (netns, known), names in wanted.items():
        if not _still_means(kernel, netns, known, names):
            return _renamed(*names)
    return None


def _still_means(kernel: Kernel, netns: Fact, known: Fact, names: Mapping[str, Fact]) -> bool:
    try:
        return kernel.net.indices(names, str(netns) if netns else None) == (known, names)
    except MissingFeature:  # the namespace is missing
        return False


def _renamed(*names: str) -> Message:
    from reloader.places.interface import texts

    return texts.RENAMED(interface=names)
