"""What becomes of each attachment: keep, compare-and-swap, create, or refuse. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reloader.frozen import frozen
from reloader.observe.pipeline import Observed
from reloader.paths import Paths
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of, places
from reloader.places.place import Neighbour, Seen, Sight
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
    missing: bool = False  # the refusal is that the host has no such place, or no links there
    hint: str = ""  # what to do about it, from the place
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
    wanted: WishAttachment, there: Seen, seen: Observed, paths: Paths, pipeline: str, load: int, *,
    take_over: bool,
) -> AttachmentChoice:  # fmt: skip
    base = AttachmentChoice(wanted=wanted)
    absent = there.trouble if there.sight is Sight.VANISHED else None if there.alive else there.lacks
    if absent:
        return replace(base, refusal=f"attachment {wanted.id}: {absent}", missing=True, hint=absent.hint)
    ours_by_hand = there.foreign is not None and there.foreign.prog_id in seen.rescued
    if (take_over or ours_by_hand) and (taken := _taken(base, there, seen, paths, pipeline, load)):
        return taken
    if not there.alive:
        return _create(base, there, seen, paths, pipeline, load)
    return _swap(base, there, seen, paths, pipeline, load)


def _create(
    base: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice:
    wanted = base.wanted
    if why := _occupied(wanted, there, seen, pipeline):
        return replace(base, refusal=f"attachment {wanted.id}: {why}")
    op = ops.CreateLink(
        attachment=wanted,
        program=paths.prog_pin(pipeline, load, wanted.program),
        path=paths.link_pin(pipeline, wanted.id),
    )
    action = f"attach by bpf_link, {place_of(wanted.type, wanted.target).how}"
    return replace(base, sign=Sign.ADD, action=action, ops=(op,))


def _occupied(wanted: WishAttachment, there: Seen, seen: Observed, pipeline: str) -> str:
    """Why no link can be made there; empty when one can."""
    if there.sight is Sight.ELSEWHERE:
        return f"{there.blocked}; it is not taken off there for a change. {_way_out(pipeline)}"
    if own := _under_another_name(wanted, there, seen):
        held = f"it is the same place as {own} of this pipeline, which lets go only after the commit"
        return f"{held}. {_way_out(pipeline)}"
    return there.blocked or ""


def _taken(
    base: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice | None:
    """Somebody else's program gives way: on our own link by compare-and-swap, else with a gap. None: there is none
    that could be taken over."""
    wanted = base.wanted
    held, program = paths.taken_pin(pipeline, wanted.id), paths.prog_pin(pipeline, load, wanted.program)
    path = paths.link_pin(pipeline, wanted.id)
    said = replace(base, sign=Sign.REPLACE, cas=True, taken=(held,), notes=(f"instead of {there.owner}",))
    if there.alive and there.link and not _ours(there.link.prog_id, seen):
        swap = ops.SwapLink(attachment=wanted.id, path=path, new=program, old=held)
        return replace(said, action="link update", ops=(ops.HoldForeign(id=there.link.prog_id, path=held), swap))
    foreign = there.foreign
    if foreign is None or not foreign.how or there.sight is Sight.ELSEWHERE:
        return None
    take = ops.TakeOver(attachment=wanted, program=program, path=path, theirs=held, mode=foreign.how)
    action = f"take over by bpf_link, {place_of(wanted.type, wanted.target).how}"
    hold = ops.HoldForeign(id=foreign.prog_id, path=held)
    return replace(said, action=action, interruption="drops", ops=(hold, take))


def _ours(prog_id: int, seen: Observed) -> bool:
    known = seen.generation.progs.values() if seen.generation else ()
    return seen.generation is None or prog_id in {*known, *seen.progs.values()}


def _way_out(pipeline: str) -> str:
    return f"`reloader remove {pipeline}` (state stays parked), then apply; nothing runs there in between"


def _under_another_name(wanted: WishAttachment, there: Seen, seen: Observed) -> str:
    """The attachment of ours that has this very place to itself under another name; empty when none does."""
    if places()[wanted.type].SEVERAL:
        return ""
    return next((key for key, other in seen.attachments.items() if other.alive and other.spot == there.spot), "")


def _swap(
    base: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, load: int
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
    if there.fixed:
        return replace(base, refusal=f"attachment {wanted.id}: {there.fixed}")
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
    choice: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, *, take_over: bool
) -> AttachmentChoice:
    """The others on the hook, named; and with `take_over` the classic filters that leave it. Ours is attached before
    they are removed, and they are made again before ours is detached: no packet meets neither."""
    ours, notes, rows, taken = choice.wanted.program, list[str](), list[dict[str, Any]](), list[Neighbour]()
    for one in there.neighbours:
        rescued = one.prog_id in seen.rescued  # removed after the commit in any case
        goes = take_over and one.takes is not None and not rescued
        rows.append(one.to_json(removed=goes or rescued))
        if goes:
            taken.append(one)
            notes.append(f"{one.name} is removed after {ours} is attached")
        elif not rescued:
            said = one.effect(ours)
            notes.append(f"{said}; {one.take_over}" if take_over is (one.takes is None) else said)
    pins = tuple(paths.taken_pin(pipeline, choice.wanted.id, i) for i, _ in enumerate(taken, 1))
    removals = [
        op
        for held, one in zip(pins, taken, strict=True)
        for op in (
            ops.HoldForeign(id=one.prog_id, path=held),
            ops.RemoveFilter(attachment=choice.wanted, filter=dict(one.takes or {}), theirs=held),
        )
    ]
    named = replace(choice, notes=(*choice.notes, *notes), neighbours=tuple(rows))
    if not taken:
        return named
    count = f"{len(taken)} classic filter{'s' * (len(taken) != 1)}"
    action = f"remove {count}" if not choice.ops else f"{choice.action}, then remove {count}"
    sign = Sign.CHANGE if choice.sign is Sign.KEEP else choice.sign
    return replace(named, sign=sign, action=action, ops=(*choice.ops, *removals), taken=(*choice.taken, *pins))
