"""Whether recorded interfaces are still where they were. Part of the check behind "nothing to do": it imports little.

Imports errors; the texts when one has moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.errors import MissingFeature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reloader.kernel import Kernel, LinkInfo
    from reloader.places.place import Record
    from reloader.wording.message import Message


def moved(kernel: Kernel, links: Sequence[tuple[Record, LinkInfo]]) -> Message | None:
    """Say which recorded name means another interface than the one with the link: one look into each namespace."""
    wanted: dict[tuple[object, object], dict[str, object]] = {}
    for record, link in links:
        name = str(record["interface"])
        if name and link.ifindex != record["ifindex"]:
            return _renamed(name)
        if name:
            wanted.setdefault((record["netns"], record["netns_id"]), {})[name] = record["ifindex"]
    for (netns, known), names in wanted.items():
        if not _still_means(kernel, None if netns is None else str(netns), known, names):
            return _renamed(*names)
    return None


def _still_means(kernel: Kernel, netns: str | None, known: object, names: Mapping[str, object]) -> bool:
    try:
        return kernel.net.indices(names, netns) == (known, names)
    except MissingFeature:  # the namespace is missing
        return False


def _renamed(*names: str) -> Message:
    from reloader.places.interface import texts

    return texts.RENAMED(interface=names)
