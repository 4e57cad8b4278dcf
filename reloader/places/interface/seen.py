"""One look at an interface's hook: where our link is, whose program runs there, and what is in the way.

`assembled` is pure: it makes a Seen of what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import Interface, Kernel, LinkInfo
from reloader.places.interface import texts
from reloader.places.interface.fields import At, spot_of
from reloader.places.place import Fact, Foreign, Neighbour, Record, Seen, Sight, Spot
from reloader.wording.message import Message


@frozen
class Hook:
    """What kind of hook on an interface it is about."""

    kind: str
    several: bool
    at: At


def sight_of(hook: Hook, interface: Interface | None, link: LinkInfo | None) -> Sight:
    """Tell where our link is. A recreated interface leaves a dead link behind; a renamed one, or a namespace that was
    made again, one that is attached elsewhere."""
    if interface is None:
        return Sight.VANISHED
    if link is None:
        return Sight.FREE
    here = link.ifindex == interface.ifindex and (hook.several or link.prog_id == interface.xdp_prog_id)
    return Sight.OURS if here and link.attached else Sight.ELSEWHERE if link.attached else Sight.DETACHED


def assembled(
    hook: Hook, interface: Interface | None, link: LinkInfo | None, *,
    owner: str = "", foreign: Foreign | None = None, neighbours: tuple[Neighbour, ...] = (),
    lacks: Message | None = None, fixed: Message | None = None,
) -> Seen:  # fmt: skip
    """Return what was read as one value, with what follows from it."""
    sight = sight_of(hook, interface, link)
    trouble = _trouble(hook, sight, link)
    return Seen(
        sight=sight,
        link=link,
        spot=spot_of(hook.kind, interface) if interface else None,
        owner=owner,
        foreign=foreign,
        neighbours=neighbours,
        lacks=lacks,
        trouble=trouble,
        blocked=trouble if sight is Sight.ELSEWHERE else _occupied(owner, foreign),
        fixed=fixed if sight is Sight.OURS else None,
    )


def _trouble(hook: Hook, sight: Sight, link: LinkInfo | None) -> Message | None:
    match sight:
        case Sight.VANISHED:
            return hook.at.missing
        case Sight.ELSEWHERE:
            return texts.ELSEWHERE(ifindex=link.ifindex if link else 0, place=hook.at.text)
        case Sight.DETACHED:
            return texts.RECREATED()
    return None


def _occupied(owner: str, foreign: Foreign | None) -> Message | None:
    if foreign is None:
        return None
    text = texts.HELD_BY_LINK if foreign.link_id else texts.OCCUPIED
    return text(owner=owner, held=foreign.held)


def foreign_on(kernel: Kernel, interface: Interface, others: Callable[[], Mapping[int, Record]]) -> Foreign:
    """Return the program on an interface's XDP hook, which is in the way of our link."""
    number, away = interface.xdp_prog_id, _in_other_namespaces(others(), interface.netns)
    links = (link for link in kernel.links.all() if (link.prog_id, link.ifindex) == (number, interface.ifindex))
    link = next((link for link in links if link.id not in away), None)
    holders = kernel.holders("link", link.id) if link else kernel.holders("prog", number)
    whose = ""
    with suppress(KernelError):  # not to be looked up by its id, or unloaded since
        whose = kernel.progs.metadata(number).get("pipeline", "")
    held = holders or (texts.UNSEEN_HOLDER(),)
    return Foreign(
        prog_id=number,
        link_id=link.id if link else 0,
        held=texts.BY_LINK(link=link.id, holders=held) if link else texts.BY_NETLINK(holders=held),
        pipeline=whose,
        how=str(interface.xdp_mode) if interface.xdp_mode and not link else "",
    )


def _in_other_namespaces(others: Mapping[int, Record], netns: str) -> set[int]:
    """Recorded links that are in other namespaces: the kernel tells a link's ifindex, but not of which namespace."""
    return {link for link, record in others.items() if record.get("netns_id", "") not in ("", netns)}


def record(at: At, link: LinkInfo, spot: Spot | None) -> dict[str, Fact]:
    """Return what a record keeps of an interface: its name, and who had that name."""
    return {
        "interface": at.interface,
        "ifindex": link.ifindex,
        "netns": at.netns,
        "netns_id": str(spot[1]) if spot else "",
    }
