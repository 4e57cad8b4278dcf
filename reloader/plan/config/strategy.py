"""Which way a config map's changed entries reach the kernel: into the live map, by a new map, by a new load. Pure.

Used by plan/planner.py and plan/builder.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reloader.config_maps.entry_changes import EntryDiff
from reloader.frozen import frozen
from reloader.observe.pipeline import Observed
from reloader.pipeline.enums import Apply
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan.config import texts
from reloader.wording.message import Message

SHARE = 4  # from one in so many entries on, a new map costs no more than writing the difference


@frozen
class Way:
    """How one map changes, and why so."""

    apply: Apply  # never AUTO
    why: Message | None = None  # None: nothing else was possible


def ways(wish: Wish, seen: Observed, diffs: Mapping[str, EntryDiff], spared: Collection[str] = ()) -> dict[str, Way]:
    """The way of each config map whose entries changed. `spared`: maps that keep entries of others, so the very map
    has to stay."""
    changed = [m for m in wish.maps if m.name in diffs and diffs[m.name].size]
    return {m.name: _way(m, wish, seen, diffs[m.name], spared) for m in changed}


def _way(wanted: WishMap, wish: Wish, seen: Observed, diff: EntryDiff, spared: Collection[str]) -> Way:
    if wanted.apply is Apply.PROGRAM:
        return Way(apply=Apply.PROGRAM, why=texts.APPLY_PROGRAM())
    tied = [wanted, *(wish.map(n) for n in wanted.together_with)]
    flips = seen.side is not None and all(m.flips and m.prune and m.name not in spared for m in tied)
    if wanted.together_with:
        why = texts.TIED(maps=wanted.together_with)
        return Way(apply=Apply.MAP if flips else Apply.PROGRAM, why=why)
    if wanted.apply is Apply.MAP and wanted.name not in spared:
        return Way(apply=Apply.MAP, why=texts.APPLY_MAP()) if flips else _lost_slots()
    if wanted.apply is Apply.ENTRIES or not flips:
        return Way(apply=Apply.ENTRIES)
    return _by_size(wanted, diff)


def _lost_slots() -> Way:
    return Way(apply=Apply.PROGRAM, why=texts.APPLY_MAP_WITHOUT_SIDES())


def _by_size(wanted: WishMap, diff: EntryDiff) -> Way:
    """Few entries among many go into the live map; for the rest a mixture would show longer than it is worth."""
    total = max(wanted.entries.count if wanted.entries else 0, diff.live)
    if diff.tight:
        return Way(apply=Apply.MAP, why=texts.MAP_TOO_FULL())
    if diff.size > 1 and diff.size * SHARE >= total:
        return Way(apply=Apply.MAP, why=texts.MANY_CHANGE(changed=diff.size, total=total))
    return Way(apply=Apply.ENTRIES, why=texts.FEW_CHANGE(changed=diff.size, total=total))
