"""What the kernel shows at an attachment, against the record. `status`, `diff --live` and `doctor` say it alike.

Reads what observe saw, and touches nothing. Imports observe, places and the texts.
"""

from __future__ import annotations

from reloader.observe.pipeline import Observed, panic_of
from reloader.pipeline.enums import Panic
from reloader.pipeline.wish import WishAttachment
from reloader.places import places, type_of
from reloader.places.place import Foreign, Seen, Sight
from reloader.report import texts
from reloader.wording.message import Message


def faults(seen: Observed) -> dict[str, Message]:
    """Return what is not as recorded, by attachment; attachments that are as recorded are not in it."""
    wished = seen.generation.wish.attachments if seen.generation else ()
    found = {wanted.id: fault(wanted, seen) for wanted in wished}
    return {attachment: message for attachment, message in found.items() if message}


def fault(wanted: WishAttachment, seen: Observed) -> Message | None:
    """Return what is not as recorded at one attachment; its hint says what to do. None: all is."""
    there = seen.attachments[wanted.id]
    if cause := _cause(there):
        return _with_others(there, there.foreign, cause, seen) if there.foreign else cause
    if panic := panic_of(there, seen):
        return describe_panic(wanted.id, panic)
    recorded = seen.current.links.get(wanted.id) if seen.current else None
    if recorded and there.link and there.link.prog_id != recorded.prog:
        return texts.ANOTHER_PROGRAM(owner=there.owner)
    return None


def describe_panic(attachment: str, panic: Panic) -> Message:
    """Return what a panic does at the attachment with this id; its hint says how to end it."""
    return texts.PANIC(panic=panic, effect=places()[type_of(attachment)].describe_panic(panic))


def _cause(there: Seen) -> Message | None:
    """Why our link does not run at the place."""
    if there.link is None and there.sight is not Sight.VANISHED:
        return texts.LINK_PIN_MISSING()
    return there.trouble


def _with_others(there: Seen, foreign: Foreign, cause: Message, seen: Observed) -> Message:
    if there.sight is Sight.ELSEWHERE:
        return texts.OCCUPIED(cause=cause, owner=there.owner, held=foreign.held, hint=cause.hint)
    if foreign.prog_id in seen.rescued:
        text = texts.RESCUED
    else:
        text = texts.OCCUPIED_BY_LINK if foreign.link_id else texts.OCCUPIED
    return text(cause=cause, owner=there.owner, held=foreign.held)
