"""What happened and what is: status, history, one generation, and two compared, as JSON-able values.

Reads records and the kernel, changes nothing. Called by commands/.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from reloader.errors import NeedsHuman, NotFoundError
from reloader.kernel import PLAIN_TYPES, MapType
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed, observe, panic_of
from reloader.paths import Paths
from reloader.pins.own_folders import pinned
from reloader.pipeline import constant_values
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish
from reloader.places.place import Seen
from reloader.plan.state.compat import map_differences, wished_shape
from reloader.report import texts
from reloader.report.arrivals import Arrival, arrival_json, sample, unreached
from reloader.report.attachment_faults import faults
from reloader.store import records
from reloader.store.records import Generation, MapRecord
from reloader.store.trial_terms import guarded, left, overdue
from reloader.wording.message import Message


class State(StrEnum):
    """Where a pipeline stands, the most serious first: of those that hold, `state` is the first and `states` all."""

    DAMAGED = "damaged"  # its records cannot be read
    UNFINISHED = "unfinished"  # a transaction did not end
    REMOVED = "removed"
    REBOOTED = "rebooted"  # the kernel was restarted, and nothing of it is loaded
    PANICKED = "panicked"
    DRIFT = "drift"  # a link, program or pin in the kernel is not as recorded
    OVERDUE = "overdue"  # its trial is over, and the version was neither confirmed nor taken back
    FAILED_ATTEMPT = "failed-attempt"  # the last change of its file was refused or failed; the version before is live
    ORPHANED = "orphaned"
    UNCONFIRMED = "unconfirmed"
    SERVING = "serving"


def collect(host: Host, names: list[str]) -> list[dict[str, Any]]:
    """One entry per pipeline (schemas/status.schema.json); NotFoundError for a name that is not recorded."""
    known = records.pipelines(host.paths)
    unknown = [n for n in names if n not in known]
    if unknown:
        hint = texts.KNOWN_PIPELINES(known=known or texts.NONE())
        one, several = texts.NO_SUCH_PIPELINE, texts.NO_SUCH_PIPELINES
        raise NotFoundError(several(pipelines=unknown) if unknown[1:] else one(pipeline=unknown[0]), hint=hint)
    return [_status(host, name) for name in names or known]


def _status(host: Host, name: str) -> dict[str, Any]:
    try:
        seen = observe(host, None, name)
    except NeedsHuman as error:
        states = [State.DAMAGED.value]
        return {**_blank(name), "state": states[0], "states": states, "problems": [error.message]}
    generation = seen.generation
    drift = _drift(seen)
    states = [state.value for state in _states(seen, drift, host.paths, name)]
    problems = [*_problems(host.paths, seen, name), *drift]
    body = {**_blank(name), "state": states[0], "states": states, "problems": problems, "notes": _notes(seen)}
    body["trial"] = _trial(seen)
    if generation is not None:
        body |= {
            "generation": generation.number,
            "load": generation.load,
            "since": generation.created,
            "reason": generation.reason,
            "source": generation.wish.source_revision,
        }
    late = [(name, a) for a, there in seen.attachments.items() if _late(there)]
    arrivals = {a: found for (_, a), found in sample(host, {name: seen}, late).items()}
    body["notes"] = [*body["notes"], *_beside(seen, arrivals)]
    return {**body, "attachments": attachments_of(seen, arrivals), "maps": _maps(host, seen, name)}


def _late(there: Seen) -> bool:
    """Whether packets meet another program before ours, which may keep them all."""
    return any(one.before and one.verdict for one in there.neighbours)


def _beside(seen: Observed, arrivals: Mapping[str, Arrival]) -> list[str]:
    """The others at our places, and programs of ours that no packet reaches."""
    notes = []
    for a in seen.generation.wish.attachments if seen.generation else ():
        there = seen.attachments[a.id]
        if there.alive:
            notes += [f"attachment {a.id}: {one.effect(a.program)}" for one in there.neighbours]
        if (found := arrivals.get(a.id)) and found.none_reached:
            notes.append(f"attachment {a.id}: {unreached(a.program, found)}")
    return notes


def _blank(name: str) -> dict[str, Any]:
    text = dict.fromkeys(("since", "reason", "source"), "")
    lists: dict[str, list[Any]] = {key: [] for key in ("attachments", "maps", "problems", "notes")}
    return {"pipeline": name, "generation": 0, "load": 0, "trial": None, **text, **lists}


def _notes(seen: Observed) -> list[str]:
    """What is as it should be, and worth knowing."""
    restarted = seen.current.restarted if seen.current and seen.current.generation else {}
    notes = [
        texts.STATE_STARTED_EMPTY(map=name, when=when, pipeline=_name(seen)).with_hint()
        for name, when in restarted.items()
    ]
    if seen.generation and seen.generation.rebuilt:
        notes.append(texts.RECORDS_REBUILT())
    if trial := _trial(seen):
        notes.append(_unconfirmed(seen, trial).with_hint())
    return notes


def _unconfirmed(seen: Observed, trial: dict[str, Any]) -> Message:
    """How long the trial of the generation that serves goes on, and what ends it."""
    name, guard = _name(seen), texts.GUARDED(pid=trial["guard"]) if trial["guard"] else texts.GUARD_MISSING()
    end = texts.RESTORED(generation=trial["back_to"]) if trial["back_to"] else texts.DETACHED()
    if seen.current and seen.current.trial and overdue(seen.current.trial, seen.boot_id):
        late = texts.DEADLINE_PASSED_PANIC if seen.panics else texts.DEADLINE_PASSED
        return late(guard=guard, end=end, pipeline=name)
    text = texts.UNCONFIRMED_HEALTH if trial["waits_for"] == "health" else texts.UNCONFIRMED
    return text(seconds=trial["seconds_left"], guard=guard, end=end, pipeline=name)


def _name(seen: Observed) -> str:
    """The pipeline, as one types it."""
    return seen.current.pipeline if seen.current else "PIPELINE"


def _trial(seen: Observed) -> dict[str, Any] | None:
    """The trial of the generation that serves."""
    trial = seen.current.trial if seen.current else None
    if trial is None:
        return None
    return {
        "generation": trial.generation,
        "back_to": trial.back_to,
        "seconds_left": round(left(trial, seen.boot_id), 3),
        "waits_for": "confirm" if trial.confirm else "health",
        "guard": trial.guard if guarded(trial) else 0,
    }


def _states(seen: Observed, drift: list[str], paths: Paths, name: str) -> list[State]:
    """All that hold, the most serious first."""
    current = seen.current
    trial = current.trial if current else None
    late = trial is not None and overdue(trial, seen.boot_id)
    is_there = seen.generation is not None
    holds = {
        State.UNFINISHED: bool(records.open_journals(paths, name)),
        State.REMOVED: not is_there,
        State.REBOOTED: is_there and seen.rebooted,
        State.PANICKED: is_there and any(panic_of(there, seen) for there in seen.attachments.values()),
        State.DRIFT: is_there and not seen.rebooted and bool(drift),
        State.OVERDUE: late,
        State.FAILED_ATTEMPT: bool(current and current.last_error),
        State.ORPHANED: bool(current and current.orphaned),
        State.UNCONFIRMED: trial is not None and not late,
    }
    return [state for state, it_does in holds.items() if it_does] or [State.SERVING]


def _problems(paths: Paths, seen: Observed, name: str) -> list[str]:
    """Beside what differs in the kernel."""
    found = list[Message]()
    if records.open_journals(paths, name):
        found.append(texts.TRANSACTION_OPEN(pipeline=name))
    if seen.rebooted:
        found.append(texts.RESTARTED())
    if seen.current and seen.current.trial and overdue(seen.current.trial, seen.boot_id):
        found.append(texts.NOT_CONFIRMED(generation=seen.current.trial.generation, pipeline=name))
    if seen.current and seen.current.last_error:
        found.append(texts.FAILED_ATTEMPT(why=seen.current.last_error))
    problems = [one.with_hint() for one in found]
    panics = {a: panic_of(there, seen) for a, there in seen.attachments.items()}
    return problems + [f"attachment {a}: {_ends(panic)}" for a, panic in panics.items() if panic]


def _drift(seen: Observed) -> list[str]:
    """What the kernel has otherwise than recorded, but for a panic."""
    other = faults(seen).items()
    gone = [n for n in (seen.generation.maps if seen.generation else {}) if n not in seen.maps]
    held = [n for n, m in seen.maps.items() if m.unpinned or n in seen.unpublished]
    return [
        *(f"attachment {a}: {fault.with_hint()}" for a, fault in other if not panic_of(seen.attachments[a], seen)),
        *(texts.PIN_MISSING(map=n) for n in gone),
        *(texts.PIN_OF_PROGRAM_MISSING(program=p).with_hint() for p in seen.unpinned_progs),
        *(texts.PIN_OF_MAP_MISSING(map=n).with_hint() for n in held),
    ]


def _ends(panic: str) -> str:
    return f"{panic}; `reloader apply FILE` or `rollback` ends it"


def attachments_of(seen: Observed, arrivals: Mapping[str, Arrival] | None = None) -> list[dict[str, Any]]:
    """One row for each; `arrivals`: samples that were taken, by id."""
    links = seen.current.links if seen.current else {}
    wished = seen.generation.wish.attachments if seen.generation else ()
    wrong = faults(seen)
    return [
        {
            "id": a.id,
            "type": a.type,
            "program": a.program,
            "prog_id": links[a.id].prog if a.id in links else 0,
            "link_id": links[a.id].id if a.id in links else 0,
            "seen": _ends(panic)
            if (panic := panic_of(seen.attachments[a.id], seen))
            else wrong.get(a.id, "as recorded"),
            "neighbours": [one.to_json() for one in seen.attachments[a.id].neighbours],
            "arrivals": arrival_json((arrivals or {}).get(a.id)),
        }
        for a in wished
    ]


def _maps(host: Host, seen: Observed, name: str) -> list[dict[str, Any]]:
    generation = seen.generation
    recorded = generation.maps if generation else {}
    kept = seen.current.state if seen.current else {}
    rows = [_map(host, name, m, r, generation) for m, r in recorded.items()]
    parked = [_map(host, name, m, r, None) for m, r in kept.items() if recorded.get(m) != r]
    return rows + parked


def _map(host: Host, pipeline: str, name: str, known: MapRecord, generation: Generation | None) -> dict[str, Any]:
    pub = host.paths.pub_pin(pipeline, name)
    wanted = generation.wish.map(name) if generation else None
    row: dict[str, Any] = {
        "name": name,
        "role": wanted.role.value if wanted else Role.STATE.value,
        "parked": wanted is None,
        "pin": known.pin,
        "pub": pub if wanted is not None and host.kernel.pins.exists(pub) else "",  # parked state is not published
        "id": known.id,
        "type": "",
        "entries": None,
        "max_entries": 0,
    }
    fd = pinned(host.kernel, known.pin)
    if fd is None:
        return row
    with fd:
        info = host.kernel.maps.info(fd)
        entries = host.kernel.maps.count(fd) if info.type in PLAIN_TYPES else None
    kind = MapType(info.type).name.lower() if info.type in MapType.__members__.values() else str(info.type)
    return {**row, "id": info.id, "type": kind, "entries": entries, "max_entries": info.max_entries}


def history(paths: Paths, pipeline: str) -> list[dict[str, Any]]:
    """Stored generations, oldest first (schemas/history.schema.json)."""
    current = current_of(paths, pipeline)
    rows = []
    for number in records.generation_numbers(paths, pipeline):
        generation = records.read_generation(paths, pipeline, number)
        rows.append(
            {
                "generation": number,
                "current": number == current.generation,
                "load": generation.load,
                "created": generation.created,
                "source": generation.wish.source_revision,
                "reason": generation.reason,
                "objects": [o.digest[:12] for o in generation.wish.objects],
                "changes": list(generation.changes),
                "outcome": generation.outcome.words if generation.outcome else "",
            }
        )
    return rows


def current_of(paths: Paths, pipeline: str) -> records.Current:
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
