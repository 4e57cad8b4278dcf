"""The stored generations of a pipeline, and one of them whole.

Reads records, changes nothing. Called by commands/history.py and commands/show.py; `current_of` by all reports.
"""

from __future__ import annotations

from typing import Any

from reloader.errors import NotFoundError
from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.paths import Paths
from reloader.pipeline import constant_values
from reloader.plan.model import Sign, sign_of
from reloader.report import texts
from reloader.store import records
from reloader.store.records import Generation


@frozen
class HistoryRow:
    """One stored generation of a pipeline."""

    generation: Generation
    is_current: bool

    def changes(self) -> tuple[str, ...]:
        """Return the lines of what the generation changed, without what it kept."""
        return tuple(line for line in self.generation.changes if sign_of(line) is not Sign.KEEP)

    def to_json(self) -> dict[str, Any]:
        """Return it as `history -o json` prints it (schemas/history.schema.json)."""
        of, outcome = self.generation, self.generation.outcome
        return {
            "generation": of.number,
            "current": self.is_current,
            "load": of.load,
            "created": of.created,
            "source": of.wish.source_revision,
            "reason": of.reason,
            "objects": [o.digest[:12] for o in of.wish.objects],
            "changes": list(of.changes),
            "outcome": outcome.words if outcome else "",
            "outcome_kind": outcome.kind.value if outcome else "",
        }


def history(paths: Paths, pipeline: str) -> list[HistoryRow]:
    """Return the stored generations, oldest first."""
    current = current_of(paths, pipeline)
    stored = [records.read_generation(paths, pipeline, n) for n in records.generation_numbers(paths, pipeline)]
    return [HistoryRow(generation=one, is_current=one.number == current.generation) for one in stored]


def current_of(paths: Paths, pipeline: str) -> records.Current:
    """Return the record of where a pipeline stands; NotFoundError when it has none."""
    current = records.read_current(paths, pipeline)
    if current is None:
        hint = texts.KNOWN_PIPELINES(known=records.pipelines(paths) or texts.NONE())
        raise NotFoundError(texts.NO_SUCH_PIPELINE(pipeline=pipeline), hint=hint)
    return current


def show(paths: Paths, pipeline: str, number: int | None) -> dict[str, Any]:
    """One generation: the wish in force, ids, changes."""
    current = current_of(paths, pipeline)
    number = number or current.generation or max(records.generation_numbers(paths, pipeline), default=0)
    generation = records.read_generation(paths, pipeline, number)
    wish = generation.wish
    return {
        "pipeline": pipeline,
        "generation": number,
        "current": number == current.generation,
        "load": generation.load,
        "created": generation.created,
        "reason": generation.reason,
        "source": wish.source_revision,
        "boot_id": generation.boot_id,
        "objects": [{"path": o.path, "sha256": o.digest} for o in wish.objects],
        "rodata": constant_values.shown(wish),
        "programs": [{"name": p, "id": generation.progs.get(p, 0)} for p in wish.programs],
        "attachments": [
            {"id": a.id, "type": a.type, "program": a.program, "target": a.target} for a in wish.attachments
        ],
        "maps": [_shown_map(generation, m.name) for m in wish.maps],
        "tests": wish.tests.count if wish.tests else 0,
        "changes": list(generation.changes),
    }


def _shown_map(generation: Generation, name: str) -> dict[str, Any]:
    wanted, known = generation.wish.map(name), generation.maps.get(name)
    return {
        "name": name,
        "role": wanted.role.value,
        "type": MapType(wanted.type).name.lower(),
        "id": known.id if known else 0,
        "pin": known.pin if known else wanted.pin,
        "key_size": wanted.key_size,
        "value_size": wanted.value_size,
        "max_entries": wanted.max_entries,
        "entries": wanted.entries.count if wanted.entries else None,
        "key": str(wanted.key.name) if wanted.key else "",
        "value": str(wanted.value.name) if wanted.value else "",
    }
