"""Two wished attachments that mean one place under two names, by a symbolic link for example. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reloader.observe.pipeline import Observed
from reloader.pipeline.wish import Wish
from reloader.plan import texts
from reloader.plan.model import Refusal


def same_places(wish: Wish, seen: Observed) -> Iterator[Refusal]:
    """Yield a refusal for each attachment whose place an earlier one of the same type has."""
    first: dict[tuple[object, ...], str] = {}
    for wanted in wish.attachments:
        spot = seen.attachments[wanted.id].spot
        if spot is None:
            continue
        hook = wanted.id.partition(":")[0]
        other = first.setdefault((hook, *spot), wanted.id)
        if other != wanted.id:
            yield Refusal(message=texts.PLACE_WISHED_TWICE(attachment=wanted.id, other=other))
