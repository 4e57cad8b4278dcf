"""Where pipelines stand, as records and kernel tell.

Reads records and the kernel, changes nothing. Called by commands/status.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from reloader.disk import jsonable
from reloader.errors import NeedsHuman, NotFoundError
from reloader.frozen import frozen
from reloader.kernel import PLAIN_TYPES, MapType
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed, observe, panic_of
from reloader.paths import Paths
from reloader.pins.own_folders import pinned
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishAttachment
from reloader.places.place import Neighbour, Seen
from reloader.report import texts
from reloader.report.arrivals import Arrival, arrival_json, sample, unreached
from reloader.report.attachment_faults import describe_panic, faults
from reloader.store import records
from reloader.store.records import Generation, MapRecord
from reloader.store.trial_terms import guarded, left, overdue
from reloader.wording.message import Message, code_of


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


@frozen
class AttachmentStatus:
    """One attachment of the generation that serves."""

    id: str
    type: str
    program: str
    prog_id: int  # as recorded; 0: no link is recorded
    link_id: int
    seen: str  # what the kernel shows, in words
    reason: str  # the code of these words: as-recorded, or of a fault
    neighbours: tuple[Neighbour, ...]
    arrival: Arrival | None  # None: no sample was taken

    def to_json(self) -> dict[str, Any]:
        """Return it as `status -o json` prints it."""
        return {
            "id": self.id,
            "type": self.type,
            "program": self.program,
            "prog_id": self.prog_id,
            "link_id": self.link_id,
            "seen": self.seen,
            "reason": self.reason,
            "neighbours": [one.to_json() for one in self.neighbours],
            "arrivals": arrival_json(self.arrival),
        }


@frozen
class MapStatus:
    """One map of the generation that serves, or a parked one."""

    name: str
    role: Role
    parked: bool
    pin: str
    pub: str  # empty: it is not published
    id: int
    type: str = ""  # empty: its pin is missing
    entries: int | None = None  # None: they cannot be counted
    max_entries: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as `status -o json` prints it."""
        shown: dict[str, Any] = jsonable.to_json(self)
        return shown


@frozen
class TrialStatus:
    """The trial of the generation that serves."""

    generation: int
    back_to: int  # 0: it is detached otherwise
    seconds_left: float
    waits_for: str  # "confirm" or "health"
    guard: int  # process id; 0: the guard is dead

    def to_json(self) -> dict[str, Any]:
        """Return it as `status -o json` prints it."""
        shown: dict[str, Any] = jsonable.to_json(self)
        return shown


@frozen
class PipelineStatus:
    """Where one pipeline stands."""

    pipeline: str
    states: tuple[State, ...]  # all that hold, the most serious first
    generation: int = 0  # 0: none serves
    load: int = 0
    since: str = ""
    reason: str = ""
    source: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trial: TrialStatus | None = None
    attachments: tuple[AttachmentStatus, ...] = ()
    maps: tuple[MapStatus, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as `status -o json` prints it (schemas/status.schema.json)."""
        return {
            "pipeline": self.pipeline,
            "state": self.states[0].value,
            "states": [state.value for state in self.states],
            "generation": self.generation,
            "load": self.load,
            "since": self.since,
            "reason": self.reason,
            "source": self.source,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "trial": self.trial.to_json() if self.trial else None,
            "attachments": [one.to_json() for one in self.attachments],
            "maps": [one.to_json() for one in self.maps],
        }


def collect(host: Host, names: list[str]) -> list[PipelineStatus]:
    """Return where the named pipelines stand, or all; NotFoundError for a name that is not recorded."""
    known = records.pipelines(host.paths)
    unknown = [n for n in names if n not in known]
    if unknown:
        hint = texts.KNOWN_PIPELINES(known=known or texts.NONE())
        one, several = texts.NO_SUCH_PIPELINE, texts.NO_SUCH_PIPELINES
        raise NotFoundError(several(pipelines=unknown) if unknown[1:] else one(pipeline=unknown[0]), hint=hint)
    return [_status(host, name) for name in names or known]


def _status(host: Host, name: str) -> PipelineStatus:
    try:
        seen = observe(host, None, name)
    except NeedsHuman as error:
        return PipelineStatus(pipeline=name, states=(State.DAMAGED,), problems=(error.message,))
    drift, generation, trial = _drift(seen), seen.generation, _trial(seen)
    late = [(name, a) for a, there in seen.attachments.items() if _late(there)]
    arrivals = {a: found for (_, a), found in sample(host, {name: seen}, late).items()}
    return PipelineStatus(
        pipeline=name,
        states=_states(seen, drift, host.paths, name),
        generation=generation.number if generation else 0,
        load=generation.load if generation else 0,
        since=generation.created if generation else "",
        reason=generation.reason if generation else "",
        source=generation.wish.source_revision if generation else "",
        problems=(*_problems(host.paths, seen, name), *drift),
        notes=(*_notes(seen, trial), *_beside(seen, arrivals)),
        trial=trial,
        attachments=_attachments(seen, arrivals),
        maps=_maps(host, seen, name),
    )


def _late(there: Seen) -> bool:
    """Whether packets meet another program before ours, which may keep them all."""
    return any(one.before and one.verdict for one in there.neighbours)


def _beside(seen: Observed, arrivals: Mapping[str, Arrival]) -> list[str]:
    """The others at our places, and programs of ours that no packet reaches."""
    notes = list[str]()
    for a in seen.generation.wish.attachments if seen.generation else ():
        there = seen.attachments[a.id]
        if there.alive:
            notes += [texts.ATTACHMENT(attachment=a.id, what=one.effect(a.program)) for one in there.neighbours]
        if (found := arrivals.get(a.id)) and found.none_reached:
            notes.append(texts.ATTACHMENT(attachment=a.id, what=unreached(a.program, found)))
    return notes


def _notes(seen: Observed, trial: TrialStatus | None) -> list[str]:
    """What is as it should be, and worth knowing."""
    restarted = seen.current.restarted if seen.current and seen.current.generation else {}
    notes = [
        texts.STATE_STARTED_EMPTY(map=name, when=when, pipeline=_name(seen)).with_hint()
        for name, when in restarted.items()
    ]
    if seen.generation and seen.generation.rebuilt:
        notes.append(texts.RECORDS_REBUILT())
    if trial:
        notes.append(_unconfirmed(seen, trial).with_hint())
    return notes


def _unconfirmed(seen: Observed, trial: TrialStatus) -> Message:
    """How long the trial of the generation that serves goes on, and what ends it."""
    name, guard = _name(seen), texts.GUARDED(pid=trial.guard) if trial.guard else texts.GUARD_MISSING()
    end = texts.RESTORED(generation=trial.back_to) if trial.back_to else texts.DETACHED()
    if seen.current and seen.current.trial and overdue(seen.current.trial, seen.boot_id):
        late = texts.DEADLINE_PASSED_PANIC if seen.panics else texts.DEADLINE_PASSED
        return late(guard=guard, end=end, pipeline=name)
    text = texts.UNCONFIRMED_HEALTH if trial.waits_for == "health" else texts.UNCONFIRMED
    return text(seconds=trial.seconds_left, guard=guard, end=end, pipeline=name)


def _name(seen: Observed) -> str:
    """The pipeline, as one types it."""
    return seen.current.pipeline if seen.current else "PIPELINE"


def _trial(seen: Observed) -> TrialStatus | None:
    """The trial of the generation that serves."""
    trial = seen.current.trial if seen.current else None
    if trial is None:
        return None
    return TrialStatus(
        generation=trial.generation,
        back_to=trial.back_to,
        seconds_left=round(left(trial, seen.boot_id), 3),
        waits_for="confirm" if trial.confirm else "health",
        guard=trial.guard if guarded(trial) else 0,
    )


def _states(seen: Observed, drift: list[str], paths: Paths, name: str) -> tuple[State, ...]:
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
    return tuple(state for state, it_does in holds.items() if it_does) or (State.SERVING,)


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
    panics = {a: _panic(a, seen) for a in seen.attachments}
    return problems + [texts.ATTACHMENT(attachment=a, what=p.with_hint()) for a, p in panics.items() if p]


def _drift(seen: Observed) -> list[str]:
    """What the kernel has otherwise than recorded, but for a panic."""
    other = faults(seen).items()
    gone = [n for n in (seen.generation.maps if seen.generation else {}) if n not in seen.maps]
    held = [n for n, m in seen.maps.items() if m.unpinned or n in seen.unpublished]
    return [
        *(texts.ATTACHMENT(attachment=a, what=fault.with_hint()) for a, fault in other if not _panic(a, seen)),
        *(texts.PIN_MISSING(map=n) for n in gone),
        *(texts.PIN_OF_PROGRAM_MISSING(program=p).with_hint() for p in seen.unpinned_progs),
        *(texts.PIN_OF_MAP_MISSING(map=n).with_hint() for n in held),
    ]


def _panic(attachment: str, seen: Observed) -> Message | None:
    """What a panic does at an attachment; None when none does."""
    panic = panic_of(seen.attachments[attachment], seen)
    return describe_panic(attachment, panic) if panic else None


def _attachments(seen: Observed, arrivals: Mapping[str, Arrival]) -> tuple[AttachmentStatus, ...]:
    """One for each that is wished; `arrivals`: samples that were taken, by id."""
    wished = seen.generation.wish.attachments if seen.generation else ()
    wrong = faults(seen)
    return tuple(_attachment(seen, a, wrong.get(a.id), arrivals.get(a.id)) for a in wished)


def _attachment(
    seen: Observed, wished: WishAttachment, fault: Message | None, arrival: Arrival | None
) -> AttachmentStatus:
    link = seen.current.links.get(wished.id) if seen.current else None
    there = seen.attachments[wished.id]
    panic = _panic(wished.id, seen)
    words: str = panic.with_hint() if panic else fault or texts.AS_RECORDED()
    reason = panic.code if panic else code_of(words)
    return AttachmentStatus(
        id=wished.id,
        type=wished.type,
        program=wished.program,
        prog_id=link.prog if link else 0,
        link_id=link.id if link else 0,
        seen=words,
        reason=reason,
        neighbours=there.neighbours,
        arrival=arrival,
    )


def _maps(host: Host, seen: Observed, name: str) -> tuple[MapStatus, ...]:
    generation = seen.generation
    recorded = generation.maps if generation else {}
    kept = seen.current.state if seen.current else {}
    of_load = [_map(host, name, m, r, generation) for m, r in recorded.items()]
    return (*of_load, *(_map(host, name, m, r, None) for m, r in kept.items() if recorded.get(m) != r))


def _map(host: Host, pipeline: str, name: str, known: MapRecord, generation: Generation | None) -> MapStatus:
    pub = host.paths.pub_pin(pipeline, name)
    wanted = generation.wish.map(name) if generation else None
    row = MapStatus(
        name=name,
        role=wanted.role if wanted else Role.STATE,
        parked=wanted is None,
        pin=known.pin,
        pub=pub if wanted is not None and host.kernel.pins.exists(pub) else "",  # parked state is not published
        id=known.id,
    )
    fd = pinned(host.kernel, known.pin)
    if fd is None:
        return row
    with fd:
        info = host.kernel.maps.info(fd)
        entries = host.kernel.maps.count(fd) if info.type in PLAIN_TYPES else None
    kind = MapType(info.type).name.lower() if info.type in MapType.__members__.values() else str(info.type)
    return replace(row, id=info.id, type=kind, entries=entries, max_entries=info.max_entries)
