"""What is left of a document without all that the schema refuses, so that the rest is checked in the same run.

Between check.py and parse.py. List items stay where they are: a refused one takes out its list, otherwise the places
of its neighbours would shift. A name of a place, and an entry, is exchanged for a stand-in.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reloader.frozen import frozen
from reloader.pipeline.check import refused
from reloader.pipeline.document import Document, Steps
from reloader.places import places

_TRIES = 8  # what is taken out may leave a gap, and then what has the gap goes too
_EMPTY: dict[str, Any] = {"objects": [], "attach": []}  # fields of spec that there must be
_WHOLE = ("test", "health")  # one check or case leans on another: taken out whole
_NAMELESS = "unnamed"
_ENTRY = {"key": 0, "value": 0}  # parse.py does not read it: its place is in `cut`


@frozen
class Sound:
    """A document that can be read on, and what was taken out of it."""

    document: Document
    cut: frozenset[Steps]

    def lacks(self, *steps: str | int) -> bool:
        """Whether this place, or what it lies in, was taken out."""
        return any(steps[:length] in self.cut for length in range(1, len(steps) + 1))


def sound_part(document: Document) -> Sound | None:
    """The part of a refused document that is worth reading; None: there is none."""
    value = copy.deepcopy(document.value)
    if not isinstance(value, dict) or not isinstance(value.get("spec"), dict):
        return None
    head = {name: value[name] for name in ("apiVersion", "kind", "metadata", "spec") if name in value}
    left, cut = replace(document, value=head), set[Steps]()
    for _ in range(_TRIES):
        wrong = [_target(left.value, steps) for steps in refused(left)]
        wrong = [steps for steps in wrong if steps not in cut]
        if not wrong:
            return Sound(document=left, cut=frozenset(cut))
        if any(not _take_out(left.value, steps) for steps in wrong):
            return None
        cut.update(wrong)
    return None


def _target(value: Any, steps: Steps) -> Steps:
    """What goes: the field of a mapping that a finding lies in."""
    if steps[:1] == ("spec",) and len(steps) > 1 and steps[1] in _WHOLE:
        return steps[:2]
    if _in_entries(steps):
        return steps[:5]
    holders = [value]
    for step in steps[:-1]:
        holders.append(_inside(holders[-1], step))
    for length in range(len(steps), 0, -1):
        if isinstance(holders[length - 1], dict):
            if not any(isinstance(holder, list) for holder in holders[:length]):
                return steps[:length]
            if _optional(steps, length, holders):
                return steps[:length]
    return steps[:1]


def _optional(steps: Steps, length: int, holders: Iterable[Any]) -> bool:
    """Below a list only a field that its item can do without: of attachments, all but program and type."""
    return steps[:2] == ("spec", "attach") and length == 4 and steps[3] not in ("program", "type")


def _in_entries(steps: Steps) -> bool:
    return len(steps) > 4 and steps[:2] == ("spec", "maps") and steps[3] == "entries"


def _inside(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _example_of(steps: Steps, holder: Any) -> Mapping[str, str]:
    """The fields without which an attachment does not name a place, filled in."""
    kind = holder.get("type") if steps[:2] == ("spec", "attach") and isinstance(holder, dict) else ""
    place = places().get(str(kind))
    return place.EXAMPLE if place else {}


def _take_out(value: dict[str, Any], steps: Steps) -> bool:
    """False: nothing is left to read."""
    if steps[:1] != ("spec",):
        standard = {"apiVersion": "reloader/v1", "kind": "Pipeline", "metadata": {"name": _NAMELESS}}
        value.update({name: standard[name] for name in standard if steps[:1] in ((name,), ())})
        return True
    if len(steps) == 1:
        for name, empty in _EMPTY.items():  # one of them is missing
            value["spec"].setdefault(name, empty)
        return True
    if len(steps) == 2 and steps[1] in _EMPTY:
        value["spec"][steps[1]] = _EMPTY[str(steps[1])]
        return True
    holder: Any = value
    for step in steps[:-1]:
        holder = _inside(holder, step)
    if isinstance(holder, list) and isinstance(steps[-1], int):
        holder[steps[-1]] = dict(_ENTRY)
    elif steps[-1] in (example := _example_of(steps, holder)):
        holder[steps[-1]] = example[str(steps[-1])]
    elif isinstance(holder, dict):
        holder.pop(steps[-1], None)
    return True
