"""What becomes of each attachment: keep, compare-and-swap, create, or refuse. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reloader.frozen import frozen
from reloader.kernel.traffic_control import Filter
from reloader.observe.neighbours import Neighbour
from reloader.observe.pipeline import Observed, SeenAttachment
from reloader.paths import Paths
from reloader.pipeline.wish import WishAttachment
from reloader.plan import ops
from reloader.plan.model import Line, Sign
from reloader.plan.ops import Op


@frozen
class AttachmentChoice:
    wanted: WishAttachment
    sign: Sign = Sign.KEEP
    action: str = "unchanged"
    cas: bool | None = None
    interruption: str = "none"
    notes: tuple[str, ...] = ()
    ops: tuple[Op, ...] = ()
    refusal: str = ""  # why it cannot be done; empty when it can
    missing: bool = False  # the refusal is that the host has no such interface
    taken: tuple[str, ...] = ()  # pins that hold somebody else's programs until the commit
    neighbours: tuple[dict[str, Any], ...] = ()  # others on the hook, as Neighbour.to_json

    def line(self) -> Line:
        return Line(
            sign=self.sign,
            kind="attachment",
            name=self.wanted.id,
            action=self.action,
            cas=self.cas,
            interruption=self.interruption,
            notes=(f"program {self.wanted.program}", *self.notes),
            neighbours=self.neighbours,
        )


def choose_attachment(
    wanted: WishAttachment, seen: Observed, paths: Paths, pipeline: str, load: int, *, take_over: bool = False
) -> AttachmentChoice:
    """The outcome for one wished attachment; somebody else's program is only touched with `take_over`."""
    there = seen.attachments[wanted.id]
    choice = _choose(wanted, there, seen, paths, pipeline, load, take_over=take_over)
    if choice.refusal or not there.neighbours:
        return choice
    return with_neighbours(choice, there, seen, paths, pipeline, take_over=take_over)


def _choose(
    wanted: WishAttachment, there: SeenAttachment, seen: Observed, paths: Paths, pipeline: str, load: int, *,
    take_over: bool,
) -> AttachmentChoice:  # fmt: skip
    base = AttachmentChoice(wanted=wanted)
    if there.interface is None:
        why = f"attachment {wanted.id}: no interface {wanted.target['interface']!r}{_where(wanted)}"
        return replace(base, refusal=why, missing=True)
    if not there.alive and there.missing:
        return replace(base, refusal=f"attachment {wanted.id}: {there.missing}", missing=True)
    ours_by_hand = there.foreign is not None and there.foreign.prog_id in seen.rescued
    if (take_over or ours_by_hand) and (taken := _taken(base, there, seen, paths, pipeline, load)):
        return taken
    if not there.alive:
        return _create(base, there, seen, paths, pipeline, load)
    return _swap(base, there, seen, paths, pipeline, load)


def _where(wanted: WishAttachment) -> str:
    return f" in {wanted.target['netns']}" if wanted.target.get("netns") else ""


def _create(
    base: AttachmentChoice, there: SeenAttachment, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice:
    wanted = base.wanted
    if why := _occupied(wanted, there, seen, pipeline):
        return replace(base, refusal=f"attachment {wanted.id}: {why}")
    op = ops.CreateLink(
        attachment=wanted,
        program=paths.prog_pin(pipeline, load, wanted.program),
        path=paths.link_pin(pipeline, wanted.id),
    )
    how = f"{wanted.target['mode']} mode" if "mode" in wanted.target else wanted.target.get("direction", "")
    action = f"attach by bpf_link, {how}"
    return replace(base, sign=Sign.ADD, action=action, ops=(op,))


def _occupied(wanted: WishAttachment, there: SeenAttachment, seen: Observed, pipeline: str) -> str:
    """Why no link can be made there; empty when one can."""
    if there.elsewhere and there.link:
        return (
            f"our link serves on interface {there.link.ifindex}, which is no longer {wanted.target['interface']!r}"
            f"{_where(wanted)}; it is not taken off there for a change. {_way_out(pipeline)}"
        )
    if there.several or not there.interface or not there.interface.xdp_prog_id:
        return ""
    if own := _under_another_name(there, seen):
        return (
            f"it is the same interface as {own} of this pipeline, which lets go only after the commit. "
            f"{_way_out(pipeline)}"
        )
    if there.foreign and there.foreign.link_id:
        return (
            f"{there.owner} is attached there already, {there.foreign.words}, and it is not ours to replace: only "
            "who holds a link can let it go"
        )
    how = f", {there.foreign.words}" if there.foreign else ""
    return f"{there.owner} is attached there already{how}, and it is not ours to replace (--take-over does, on purpose)"


def _taken(
    base: AttachmentChoice, there: SeenAttachment, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice | None:
    """Somebody else's program gives way: on our own link by compare-and-swap, else with a gap. None: there is none
    that could be taken over."""
    wanted, interface = base.wanted, there.interface
    held, program = paths.taken_pin(pipeline, wanted.id), paths.prog_pin(pipeline, load, wanted.program)
    path = paths.link_pin(pipeline, wanted.id)
    said = replace(base, sign=Sign.REPLACE, cas=True, taken=(held,), notes=(f"instead of {there.owner}",))
    if there.alive and there.link and not _ours(there.link.prog_id, seen):
        swap = ops.SwapLink(attachment=wanted.id, path=path, new=program, old=held)
        return replace(said, action="link update", ops=(ops.HoldForeign(id=there.link.prog_id, path=held), swap))
    foreign = there.foreign
    if foreign is None or foreign.link_id or there.elsewhere or interface is None or interface.xdp_mode is None:
        return None
    take = ops.TakeOver(attachment=wanted, program=program, path=path, theirs=held, mode=interface.xdp_mode)
    action = f"take over by bpf_link, {wanted.target['mode']} mode"
    hold = ops.HoldForeign(id=foreign.prog_id, path=held)
    return replace(said, action=action, interruption="drops", ops=(hold, take))


def _ours(prog_id: int, seen: Observed) -> bool:
    known = seen.generation.progs.values() if seen.generation else ()
    return seen.generation is None or prog_id in {*known, *seen.progs.values()}


def _way_out(pipeline: str) -> str:
    return f"`reloader remove {pipeline}` (state stays parked), then apply; nothing runs there in between"


def _under_another_name(there: SeenAttachment, seen: Observed) -> str:
    """The attachment of ours whose program sits on that interface; empty when none does."""
    assert there.interface
    here = (there.interface.netns, there.interface.ifindex, there.interface.xdp_prog_id)
    places = {
        key: (a.interface.netns, a.interface.ifindex, a.link.prog_id)
        for key, a in seen.attachments.items()
        if a.alive and a.interface and a.link and not a.several
    }
    return next((key for key, place in places.items() if place == here), "")


def _swap(
    base: AttachmentChoice, there: SeenAttachment, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice:
    wanted, generation = base.wanted, seen.generation
    recorded = {a.id: a for a in generation.wish.attachments} if generation else {}
    old = recorded.get(wanted.id)
    if generation is None or old is None or there.link is None:
        return replace(
            base, refusal=f"attachment {wanted.id}: a link is pinned that no record explains ({there.owner})"
        )
    panic = seen.panics.get(there.link.prog_id, "")
    if not panic and there.link.prog_id != seen.progs.get(old.program, generation.progs.get(old.program)):
        return replace(base, refusal=f"attachment {wanted.id}: our link runs {there.owner}, which no record explains")
    mode = there.interface.xdp_mode if there.interface and not there.several else None
    if there.interface and mode and mode != wanted.target["mode"]:
        why = f"the mode is fixed when the link is made ({there.interface.xdp_mode} now); remove the attachment first"
        return replace(base, refusal=f"attachment {wanted.id}: {why}")
    if load == generation.load and wanted.program == old.program and not panic:
        return base
    op = ops.SwapLink(
        attachment=wanted.id,
        path=paths.link_pin(pipeline, wanted.id),
        new=paths.prog_pin(pipeline, load, wanted.program),
        old=panic or paths.prog_pin(pipeline, generation.load, old.program),
    )
    action = "link update, which ends the panic" if panic else "link update"
    return replace(base, sign=Sign.CHANGE, action=action, cas=True, ops=(op,))


def with_neighbours(
    choice: AttachmentChoice, there: SeenAttachment, seen: Observed, paths: Paths, pipeline: str, *, take_over: bool
) -> AttachmentChoice:
    """The others on the hook, named; and with `take_over` the classic filters that leave it. Ours is attached before
    they are removed, and they are made again before ours is detached: no packet meets neither."""
    ours, notes, rows, taken = choice.wanted.program, list[str](), list[dict[str, Any]](), list[Filter]()
    for one in there.neighbours:
        rescued = one.prog_id in seen.rescued  # removed after the commit in any case
        goes = take_over and one.filter is not None and one.filter.exact and not rescued
        rows.append(one.to_json(removed=goes or rescued))
        if goes and one.filter:
            taken.append(one.filter)
            notes.append(f"{one.name} is removed after {ours} is attached")
        elif not rescued:
            notes.append(f"{one.effect(ours)}{_stays(one, take_over=take_over)}")
    pins = tuple(paths.taken_pin(pipeline, choice.wanted.id, i) for i, _ in enumerate(taken, 1))
    removals = [
        op
        for held, found in zip(pins, taken, strict=True)
        for op in (
            ops.HoldForeign(id=found.prog_id, path=held),
            ops.RemoveFilter(attachment=choice.wanted, filter=found, theirs=held),
        )
    ]
    named = replace(choice, notes=(*choice.notes, *notes), neighbours=tuple(rows))
    if not taken:
        return named
    count = f"{len(taken)} classic filter{'s' * (len(taken) != 1)}"
    action = f"remove {count}" if not choice.ops else f"{choice.action}, then remove {count}"
    sign = Sign.CHANGE if choice.sign is Sign.KEEP else choice.sign
    return replace(named, sign=sign, action=action, ops=(*choice.ops, *removals), taken=(*choice.taken, *pins))


def _stays(one: Neighbour, *, take_over: bool) -> str:
    if one.filter is None:
        return "; --take-over removes classic filters only" if take_over else ""
    if not one.filter.exact:
        return "; reloader could not give it back exactly, so it stays" if take_over else ""
    return "; --take-over removes it"
