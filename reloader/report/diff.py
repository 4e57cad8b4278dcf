"""Two stored generations compared, as lines.

Reads records, changes nothing. Called by commands/diff.py.
"""

from __future__ import annotations

from typing import Any

from reloader.paths import Paths
from reloader.pipeline import constant_values
from reloader.pipeline.wish import Wish
from reloader.plan.state.compat import map_differences, wished_shape
from reloader.report import texts
from reloader.report.history import current_of
from reloader.store import records


def diff(paths: Paths, pipeline: str, old: int, new: int) -> list[str]:
    """Lines that say what generation `new` asks for otherwise than `old`."""
    current_of(paths, pipeline)
    before = records.read_generation(paths, pipeline, old).wish
    after = records.read_generation(paths, pipeline, new).wish
    return [
        *_set_diff("object", [o.digest[:12] for o in before.objects], [o.digest[:12] for o in after.objects]),
        *_set_diff("program", before.programs, after.programs),
        *(f"~ rodata {c.path}: {c.text()}" for c in constant_values.changes(before, after)),
        *_dict_diff("attachment", _attach_words(before), _attach_words(after)),
        *_map_diff(before, after),
        *_test_diff(before, after),
    ]


def _test_diff(before: Wish, after: Wish) -> list[str]:
    old, new = (wish.tests.digest if wish.tests else "" for wish in (before, after))
    counts = [wish.tests.count if wish.tests else 0 for wish in (before, after)]
    return [f"~ tests: {texts.TESTS_CHANGED(old=counts[0], new=counts[1])}"] if old != new else []


def _attach_words(wish: Wish) -> dict[str, str]:
    return {a.id: f"{a.program} {' '.join(f'{k}={v}' for k, v in sorted(a.target.items()))}" for a in wish.attachments}


def _set_diff(kind: str, old: Any, new: Any) -> list[str]:
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    return [*(f"- {kind} {o}" for o in gone), *(f"+ {kind} {n}" for n in come)]


def _dict_diff(kind: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    changed = sorted(k for k in old.keys() & new.keys() if old[k] != new[k])
    return [*_set_diff(kind, old, new), *(f"~ {kind} {k}: {old[k]} → {new[k]}" for k in changed)]


def _map_diff(before: Wish, after: Wish) -> list[str]:
    old, new = {m.name: m for m in before.maps}, {m.name: m for m in after.maps}
    lines = _set_diff("map", old, new)
    for name in sorted(old.keys() & new.keys()):
        a, b = old[name], new[name]
        if a.role is not b.role:
            lines.append(f"~ map {name}: {texts.ROLE_CHANGED(old=a.role, new=b.role)}")
        lines += [f"~ map {name}: {d}" for d in map_differences(wished_shape(a), wished_shape(b))]
        if a.entries != b.entries:
            counts = [m.entries.count if m.entries else texts.NONE() for m in (a, b)]
            lines.append(f"~ map {name}: {texts.ENTRIES_CHANGED(old=counts[0], new=counts[1])}")
    return lines
