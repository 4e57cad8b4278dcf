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
from reloader.plan.attach import texts
from reloader.plan.model import Line, Refusal, Sign
from reloader.plan.ops import Op
from reloader.wording.message import Message


@frozen
class AttachmentChoice:
    wanted: WishAttachment
    sign: Sign = Sign.KEEP
    action: Message = texts.UNCHANGED()
    cas: bool | None = None
    interruption: Message = texts.NONE()
    notes: tuple[Message, ...] = ()
    ops: tuple[Op, ...] = ()
    refusal: Refusal | None = None  # why it cannot be done; None when it can
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
            notes=(texts.PROGRAM(program=self.wanted.program), *self.notes),
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
        return replace(_refused(base, absent), missing=True, hint=absent.hint)
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
        return _refused(base, why)
    op = ops.CreateLink(
        attachment=wanted,
        program=paths.prog_pin(pipeline, load, wanted.program),
        path=paths.link_pin(pipeline, wanted.id),
    )
    action = texts.ATTACH(how=place_of(wanted.type, wanted.target).how)
    return replace(base, sign=Sign.ADD, action=action, ops=(op,))


def _refused(base: AttachmentChoice, why: Message) -> AttachmentChoice:
    """The refusal of an attachment. For programs, its reason is the code of `why`."""
    message = texts.ATTACHMENT_REFUSED(attachment=base.wanted.id, why=why)
    return replace(base, refusal=Refusal(message=message, cause=why))


def _occupied(wanted: WishAttachment, there: Seen, seen: Observed, pipeline: str) -> Message | None:
    """Why no link can be made there; None when one can."""
    advice = texts.REMOVE_THEN_APPLY(pipeline=pipeline)
    if there.blocked and there.sight is Sight.ELSEWHERE:
        values: dict[str, Any] = {**there.blocked.values, "why": there.blocked, "advice": advice}
        return texts.LINK_ELSEWHERE(**values)
    if own := _under_another_name(wanted, there, seen):
        return texts.SAME_PLACE(other=own, advice=advice)
    return there.blocked


def _taken(
    base: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, load: int
) -> AttachmentChoice | None:
    """Somebody else's program gives way: on our own link by compare-and-swap, else with a gap. None: there is none
    that could be taken over."""
    wanted = base.wanted
    held, program = paths.taken_pin(pipeline, wanted.id), paths.prog_pin(pipeline, load, wanted.program)
    path = paths.link_pin(pipeline, wanted.id)
    said = replace(base, sign=Sign.REPLACE, cas=True, taken=(held,), notes=(texts.INSTEAD_OF(owner=there.owner),))
    if there.alive and there.link and not _ours(there.link.prog_id, seen):
        swap = ops.SwapLink(attachment=wanted.id, path=path, new=program, old=held)
        return replace(said, action=texts.LINK_UPDATE(), ops=(ops.HoldForeign(id=there.link.prog_id, path=held), swap))
    foreign = there.foreign
    if foreign is None or not foreign.how or there.sight is Sight.ELSEWHERE:
        return None
    take = ops.TakeOver(attachment=wanted, program=program, path=path, theirs=held, mode=foreign.how)
    action = texts.TAKE_OVER(how=place_of(wanted.type, wanted.target).how)
    hold = ops.HoldForeign(id=foreign.prog_id, path=held)
    return replace(said, action=action, interruption=texts.DROPS(), ops=(hold, take))


def _ours(prog_id: int, seen: Observed) -> bool:
    known = seen.generation.progs.values() if seen.generation else ()
    return seen.generation is None or prog_id in {*known, *seen.progs.values()}


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
        return _refused(base, texts.LINK_UNEXPLAINED(owner=there.owner))
    panic = seen.panics.get(there.link.prog_id, "")
    if not panic and there.link.prog_id != seen.progs.get(old.program, generation.progs.get(old.program)):
        return _refused(base, texts.PROGRAM_UNEXPLAINED(owner=there.owner))
    if there.fixed:
        return _refused(base, there.fixed)
    if load == generation.load and wanted.program == old.program and not panic:
        return base
    op = ops.SwapLink(
        attachment=wanted.id,
        path=paths.link_pin(pipeline, wanted.id),
        new=paths.prog_pin(pipeline, load, wanted.program),
        old=panic or paths.prog_pin(pipeline, generation.load, old.program),
    )
    action = texts.LINK_UPDATE_ENDS_PANIC() if panic else texts.LINK_UPDATE()
    return replace(base, sign=Sign.CHANGE, action=action, cas=True, ops=(op,))


def with_neighbours(
    choice: AttachmentChoice, there: Seen, seen: Observed, paths: Paths, pipeline: str, *, take_over: bool
) -> AttachmentChoice:
    """The others on the hook, named; and with `take_over` the classic filters that leave it. Ours is attached before
    they are removed, and they are made again before ours is detached: no packet meets neither."""
    ours, notes, rows, taken = choice.wanted.program, list[Message](), list[dict[str, Any]](), list[Neighbour]()
    for one in there.neighbours:
        rescued = one.prog_id in seen.rescued  # removed after the commit in any case
        goes = take_over and one.takes is not None and not rescued
        rows.append(one.to_json(removed=goes or rescued))
        if goes:
            taken.append(one)
            notes.append(texts.NEIGHBOUR_REMOVED(neighbour=one.name, ours=ours))
        elif not rescued:
            said = one.effect(ours)
            more = take_over is (one.takes is None)
            notes.append(texts.NEIGHBOUR_STAYS(effect=said, take_over=one.take_over) if more else said)
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
    text = texts.THEN_REMOVE_FILTERS if choice.ops else texts.REMOVE_FILTERS
    action = text(action=choice.action, count=len(taken))
    sign = Sign.CHANGE if choice.sign is Sign.KEEP else choice.sign
    return replace(named, sign=sign, action=action, ops=(*choice.ops, *removals), taken=(*choice.taken, *pins))
