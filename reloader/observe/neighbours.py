"""Programs of others on a hook of ours, and what ours and theirs mean to each other.

Seen by observe/pipeline.py; named by plan, status and doctor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import Interface, Kernel, LinkInfo, XdpMode
from reloader.kernel.traffic_control import Filter


@frozen
class Neighbour:
    """One program or filter beside ours. On tcx a program ends the list unless it returns TCX_NEXT; classic filters
    run after the list, where its last program returned TCX_NEXT."""

    before: bool  # packets meet it before ours
    prog_id: int  # 0: a classic filter that runs none
    program: str = ""  # its kernel name
    pipeline: str = ""  # of reloader's, that it belongs to
    link_id: int = 0  # 0: not attached by a bpf_link
    filter: Filter | None = None  # the classic filter that runs it; None: it is on the hook itself
    mode: XdpMode | None = None  # it is on the XDP hook, in that mode

    @property
    def name(self) -> str:
        """`tcx program guard (id 7, bpf_link 3)`, or `classic filter pref 7 handle 0x1 (bpf, program guard, id 7)`."""
        about = [f"program {self.program or '?'}", f"id {self.prog_id}"] if self.prog_id else []
        about += [f"pipeline {self.pipeline}"] if self.pipeline else []
        if self.filter:
            chain = f" chain {self.filter.chain}" if self.filter.chain else ""
            place = f"pref {self.filter.pref}{chain} handle {self.filter.handle:#x}"
            return f"classic filter {place} ({', '.join([self.filter.kind, *about])})"
        about += [f"bpf_link {self.link_id}"] if self.link_id else []
        return f"{f'xdp {self.mode}' if self.mode else 'tcx'} {about[0]} ({', '.join(about[1:])})"

    def effect(self, ours: str) -> str:
        """What becomes of packets, as a sentence. `ours`: the name of our program."""
        passed = "XDP_PASS" if self.mode else "TCX_NEXT"
        if self.before:
            return f"{self.name} runs before {ours}: {ours} sees only packets for which it returns {passed}"
        return f"{self.name} runs after {ours}: it sees only packets for which {ours} returns {passed}"

    def to_json(self, *, removed: bool = False) -> dict[str, Any]:
        """As plan, status and doctor print it. `removed`: this change takes it off the hook."""
        found = self.filter
        place = (
            {"kind": found.kind, "pref": found.pref, "handle": found.handle, "chain": found.chain} if found else None
        )
        effect = "removed" if removed else "runs_before" if self.before else "runs_after"
        return {
            "hook": "classic" if found else "xdp" if self.mode else "tcx",
            "effect": effect,
            "prog_id": self.prog_id,
            "program": self.program,
            "pipeline": self.pipeline,
            "link_id": self.link_id,
            "filter": place,
        }


@frozen
class Foreign:
    """A program on our hook that no link of ours runs."""

    prog_id: int
    link_id: int  # 0: attached by netlink
    holders: tuple[str, ...]  # who keeps it alive, in words
    pipeline: str = ""  # whose it says that it is

    @property
    def words(self) -> str:
        held = ", ".join(self.holders) or "a holder that this process cannot see"
        return f"by bpf_link {self.link_id}, held by {held}" if self.link_id else f"by netlink (held by {held})"


def on_xdp(kernel: Kernel, interface: Interface) -> tuple[Neighbour, ...]:
    """Programs in other modes: only hardware runs one beside ours, and packets meet that one first."""
    return tuple(
        _named(kernel, Neighbour(before=mode is XdpMode.HW, prog_id=number, mode=mode))
        for mode, number in interface.xdp_beside
    )


def on_tcx(
    kernel: Kernel, target: dict[str, str], interface: Interface, link: LinkInfo | None
) -> tuple[Neighbour, ...]:
    """In the order in which packets meet them. Without a link of ours there, ours would come last on the hook."""
    where = {"ifindex": interface.ifindex, "direction": target["direction"], "netns": target.get("netns")}
    entries = kernel.links.tcx_entries(**where)  # type: ignore[arg-type]  # as the Protocol names them
    ours = next((i for i, one in enumerate(entries) if link and one.link_id == link.id), len(entries))
    listed = [
        _named(kernel, Neighbour(before=i < ours, prog_id=one.prog_id, link_id=one.link_id))
        for i, one in enumerate(entries)
        if i != ours
    ]
    filters = kernel.links.filters(**where)  # type: ignore[arg-type]
    return (*listed, *(_named(kernel, Neighbour(before=False, prog_id=f.prog_id, filter=f)) for f in filters))


def _named(kernel: Kernel, found: Neighbour) -> Neighbour:
    """With the program's name and pipeline, where this process may look."""
    if not found.prog_id:
        return found
    try:
        with kernel.progs.by_id(found.prog_id) as fd:
            name = kernel.progs.info(fd).name
        whose = kernel.progs.metadata(found.prog_id).get("pipeline", "")
    except KernelError:  # detached since, or not to be looked up by its id
        return found
    return replace(found, program=name, pipeline=whose)
