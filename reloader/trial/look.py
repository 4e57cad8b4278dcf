"""Looks at a generation: its counters through the Protocols, and what others answer. Changes nothing.

Used by duty.py, and before a swap by trial/start.py.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from reloader.errors import KernelError, MissingFeature, PermissionRefused
from reloader.frozen import frozen
from reloader.kernel import PERCPU_TYPES, Kernel, MapInfo
from reloader.observe.in_force import link_at
from reloader.pipeline.checks import Check, Health, InterfaceCounter, MapField, Of, ProgramRuns
from reloader.pipeline.field import find
from reloader.places import first_moved
from reloader.store.records import Generation, LinkRecord
from reloader.trial import texts
from reloader.trial.judge import Look, Reading
from reloader.wording.message import Message

Commands = Mapping[str, tuple[str, ...]]  # name -> program and arguments, as the host declares them


@frozen
class Subject:
    """What is looked at."""

    kernel: Kernel
    generation: Generation
    commands: Commands


def now() -> float:
    """Seconds since boot, suspended ones too: the clock of trials."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def look(subject: Subject, checks: Sequence[Check]) -> Look:
    """One reading of each check. What cannot be read is a reading too: it says why."""
    return tuple(_reading(subject, check) for check in checks)


def detached_reason(kernel: Kernel, links: Mapping[str, LinkRecord]) -> str:
    """Which attachment does not run what was committed, and how; empty when all do. A version that sees no packet does
    nothing wrong."""
    for attachment, link in links.items():
        try:
            wrong: Message | None = _astray(kernel, attachment, link)
        except (KernelError, MissingFeature) as error:
            wrong = texts.ATTACHMENT_UNREADABLE(why=error)
        if wrong:
            return texts.ATTACHMENT_ASTRAY(attachment=attachment, why=wrong)
    return ""


def _astray(kernel: Kernel, attachment: str, link: LinkRecord) -> Message | None:
    info = link_at(kernel, link.pin)
    if info is None:
        return texts.LINK_PIN_MISSING()
    if not info.attached:
        return texts.LINK_DETACHED()
    if info.id != link.id or info.prog_id != link.prog:
        return texts.ANOTHER_PROGRAM()
    return first_moved(kernel, [(attachment, link.place, info)])


def look_before(subject: Subject, health: Health) -> Look:
    """Of the version before only what a ratio compares."""
    return tuple(
        _reading(subject, check) if any(b.of is Of.RATIO for b in check.bounds) else Reading(wrong=texts.NOT_COMPARED())
        for check in health.checks
    )


def _reading(subject: Subject, check: Check) -> Reading:
    try:
        match check.what:
            case MapField() as what:
                return Reading(at=now(), amount=_sum(subject, what))
            case ProgramRuns(program=name):
                return _runs(subject, name)
            case InterfaceCounter() as what:
                return Reading(at=now(), amount=_counter(subject.kernel, what))
            case question:
                from reloader.trial import network_checks  # late: a command that posts a guard asks none itself

                began = now()
                wrong = network_checks.ask(subject.kernel, question, subject.commands, _environment(subject.generation))
                return Reading(at=began, wrong=wrong)
    except (KernelError, MissingFeature) as error:
        return Reading(at=now(), wrong=texts.CANNOT_BE_READ(why=error))


def _sum(subject: Subject, what: MapField) -> int:
    kernel, generation = subject.kernel, subject.generation
    wanted = next((m for m in generation.wish.maps if m.name == what.map), None)
    number = find(wanted.value, what.field, orders=wanted.orders("value")) if wanted else None
    if wanted is None or number is None:
        raise MissingFeature(texts.FIELD_MISSING(generation=generation.number, what=what.text()))
    with kernel.pins.get(wanted.pin or generation.maps[what.map].pin) as fd:
        info = kernel.maps.info(fd)
        if what.key is None:
            return number.sum(kernel.maps.items(fd).values(), _stride(info))
        value = kernel.maps.lookup(fd, what.key)
        return number.sum([value] if value is not None else [], _stride(info))


def _stride(info: MapInfo) -> int:
    return -(-info.value_size // 8) * 8 if info.type in PERCPU_TYPES else 0


def _runs(subject: Subject, program: str) -> Reading:
    if program not in subject.generation.progs:
        raise MissingFeature(texts.PROGRAM_MISSING(generation=subject.generation.number, program=program))
    with subject.kernel.progs.by_id(subject.generation.progs[program]) as fd:
        info = subject.kernel.progs.info(fd)
    return Reading(at=now(), amount=info.run_time_ns, runs=info.run_cnt)


def _counter(kernel: Kernel, what: InterfaceCounter) -> int:
    found = kernel.net.counters(what.interface, what.netns)
    if what.counter not in found:
        missing = texts.COUNTER_MISSING(interface=what.interface, counter=what.counter, known=sorted(found))
        raise MissingFeature(missing)
    return found[what.counter]


def _environment(generation: Generation) -> dict[str, str]:
    """Return the environment of a command."""
    return {"RELOADER_PIPELINE": generation.wish.pipeline, "RELOADER_GENERATION": str(generation.number)}


def longest_look(health: Health | None) -> float:
    """Return the seconds that one look takes at most, when answers are missing."""
    waits = [getattr(check.what, "timeout", 0.0) for check in health.checks] if health else []
    return float(sum(waits))


def require_counters(kernel: Kernel, health: Health) -> None:
    """MissingFeature unless every interface's counter is there: said before anything is swapped."""
    for check in health.checks:
        if isinstance(check.what, InterfaceCounter):
            try:
                _counter(kernel, check.what)
            except MissingFeature as error:
                raise MissingFeature(texts.HEALTH_COUNTER_MISSING(why=error.message, hint=error.hint)) from error


def require_statistics(kernel: Kernel, health: Health) -> None:
    """PermissionRefused unless the kernel lets us count runs, where a check asks for them."""
    if not health.counts_runs:
        return
    try:
        kernel.progs.count_runs().close()
    except KernelError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        raise PermissionRefused(texts.STATISTICS_REFUSED()) from error


def counting(kernel: Kernel, health: Health) -> AbstractContextManager[object]:
    """A context in which the kernel counts programs' runs, if a check asks for them."""
    return kernel.progs.count_runs() if health.counts_runs else nullcontext()
