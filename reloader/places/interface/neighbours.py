"""Programs of others on an interface's hook beside ours, and what they mean to each other.

On tcx a program ends the list unless it returns TCX_NEXT; classic filters run after the list, where its last program
returned TCX_NEXT.
"""

from __future__ import annotations

from dataclasses import asdict

from reloader.kernel import Interface, Kernel, LinkInfo, XdpMode
from reloader.kernel.traffic_control import Filter
from reloader.places.interface import texts
from reloader.places.interface.fields import At
from reloader.places.place import Neighbour
from reloader.places.programs import Program, named, read_program


def on_xdp(kernel: Kernel, interface: Interface) -> tuple[Neighbour, ...]:
    """Return programs in other modes: only hardware runs one beside ours, and packets meet that one first."""
    return tuple(_in_mode(read_program(kernel, number), mode) for mode, number in interface.xdp_beside)


def on_tcx(
    kernel: Kernel, at: At, direction: str, interface: Interface, link: LinkInfo | None
) -> tuple[Neighbour, ...]:
    """Return them in the order in which packets meet them. Without a link of ours, ours would come last on the hook."""
    links, ifindex = kernel.links, interface.ifindex
    entries = links.tcx_entries(ifindex=ifindex, direction=direction, netns=at.netns)
    ours = next((i for i, one in enumerate(entries) if link and one.link_id == link.id), len(entries))
    listed = [
        _listed(read_program(kernel, one.prog_id), one.link_id, before=i < ours)
        for i, one in enumerate(entries)
        if i != ours
    ]
    filters = links.filters(ifindex=ifindex, direction=direction, netns=at.netns)
    return (*listed, *(_classic(read_program(kernel, one.prog_id), one) for one in filters))


def _in_mode(program: Program, mode: XdpMode) -> Neighbour:
    return Neighbour(
        before=mode is XdpMode.HW,
        prog_id=program.id,
        name=named(f"xdp {mode}", program.words),
        verdict="XDP_PASS",
        take_over=texts.NOT_A_FILTER(),
        takes=None,
        shown=program.shown("xdp"),
    )


def _listed(program: Program, link: int, *, before: bool) -> Neighbour:
    return Neighbour(
        before=before,
        prog_id=program.id,
        name=named("tcx", [*program.words, *([f"bpf_link {link}"] if link else [])]),
        verdict="TCX_NEXT",
        take_over=texts.NOT_A_FILTER(),
        takes=None,
        shown=program.shown("tcx", link=link),
    )


def _classic(program: Program, found: Filter) -> Neighbour:
    chain = f" chain {found.chain}" if found.chain else ""
    place = f"pref {found.pref}{chain} handle {found.handle:#x}"
    shown = {"kind": found.kind, "pref": found.pref, "handle": found.handle, "chain": found.chain}
    return Neighbour(
        before=False,
        prog_id=program.id,
        name=f"classic filter {place} ({', '.join([found.kind, *program.words])})",
        verdict="TCX_NEXT",
        take_over=texts.TAKES_OVER() if found.exact else texts.NOT_EXACT(),
        takes=asdict(found) if found.exact else None,
        shown=program.shown("classic", filter=shown),
    )
