"""`reloader panic`: every attachment of a pipeline lets all packets pass, or none, at once.

Takes no writer lock and writes no journal, since whoever holds the lock may be what hangs. That is safe because each
link is swapped by compare-and-swap: a transaction under way finds a program that it did not expect and goes back. The
pins below panic/ and the links themselves are the only record of it. It goes by the pins below links/, so that records
which are lost or damaged do not stop it. The next `apply` ends it; watch and guards, which act by themselves, leave it.
Run again, it goes on where it was killed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from reloader.break_glass import texts
from reloader.errors import KernelError, MissingFeature, NeedsHuman, NotFoundError, RefusedChange
from reloader.frozen import frozen
from reloader.kernel import Fd, LoadRequest
from reloader.kernel.host import Host
from reloader.paths import Paths, shipped_object
from reloader.pins.inventory import Pin, PinKind, link_infos, listed, loads_of, program_infos
from reloader.pins.own_folders import pinned, require_own_folders
from reloader.pipeline.enums import Panic
from reloader.pipeline.wish import Wish
from reloader.places import places as places_by_type
from reloader.places import type_of
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import Current

TRIES = 20  # of one swap, where a transaction swaps the same link at the same time


@frozen
class Panicked:
    """What became of each attachment: empty text when it panics now, else why it does not."""

    pipeline: str
    stance: Panic
    attachments: dict[str, str]


def panic(host: Host, pipeline: str, stance: Panic | None) -> Panicked:
    """Swap every link of the pipeline to the program of its stance; NeedsHuman (4) when one could not be."""
    current, wish, unsound = _recorded(host.paths, pipeline)
    places = _places(host, pipeline, current)
    if not places:
        known = ", ".join(records.pipelines(host.paths)) or "none"
        raise NotFoundError(texts.NOTHING_ATTACHED(pipeline=pipeline, known=known))
    stance = stance or _declared(pipeline, wish, unsound)
    programs = {attachment: _named(attachment, stance) for attachment in places.values()}
    wanted = [host.paths.panic_pin(pipeline, program) for program in programs.values() if program]
    if not all(map(host.kernel.pins.exists, wanted)):
        require_own_folders(host, pipeline)  # the programs are to be pinned first
    done, pins = {}, {}
    with Held():  # a signal that comes now is answered by the result: every attachment panics
        for pin, attachment in places.items():
            done[attachment], pins[attachment] = _panic_at(host, pipeline, pin, programs[attachment]), pin
    if any(done.values()):
        told = [texts.ATTACHMENT(attachment=a, why=why) for a, why in done.items() if why]
        failed = [pins[a] for a, why in done.items() if why]
        by_hand = " and ".join(texts.DETACH(pin=pin) for pin in failed if host.kernel.pins.exists(pin))
        text = texts.NOT_EVERYWHERE if by_hand else texts.NOWHERE_TO_DETACH
        what = text(pipeline=pipeline, failed=len(told), attachments=len(done), commands=by_hand)
        raise NeedsHuman(what, detail=told)
    return Panicked(pipeline=pipeline, stance=stance, attachments=done)


def _recorded(paths: Paths, pipeline: str) -> tuple[Current | None, Wish | None, str]:
    """What the records say as far as they are sound, and why they are not."""
    try:
        current = records.read_current(paths, pipeline)
    except (NeedsHuman, NotFoundError, OSError) as error:
        return None, None, str(error)
    if current is None or not current.generation:
        return current, None, texts.STANCE_NOT_RECORDED()
    try:
        return current, records.read_generation(paths, pipeline, current.generation).wish, ""
    except (NeedsHuman, NotFoundError, OSError) as error:
        return current, None, str(error)


def _places(host: Host, pipeline: str, current: Current | None) -> dict[str, str]:
    """Link pin → attachment: those that are there, and those that should be."""
    pinned_links = {pin.path: pin.name for pin in listed(host, pipeline, PinKind.LINK)}
    recorded = {link.pin: attachment for attachment, link in (current.links if current else {}).items()}
    return {**pinned_links, **recorded}


def panicking(host: Host, pipeline: str) -> bool:
    """Whether an attachment of the pipeline runs a panic's program: what acts by itself leaves it so."""
    serving = {info.id for _, info in program_infos(host.kernel, listed(host, pipeline, PinKind.PANIC))}
    places = listed(host, pipeline, PinKind.LINK) if serving else ()
    return any(link.prog_id in serving for _, link in link_infos(host.kernel, places))


def _named(attachment: str, stance: Panic) -> str | None:
    """The program that serves at this attachment, as `xdp_open`; None: a panic means nothing there."""
    place = places_by_type().get(type_of(attachment))
    return place.panic(stance) if place else None


def _declared(pipeline: str, wish: Wish | None, unsound: str) -> Panic:
    if wish is None or wish.panic is None:
        text = texts.STANCE_NOT_READABLE if unsound else texts.STANCE_MISSING
        raise RefusedChange(text(pipeline=pipeline, why=unsound))
    return wish.panic


def _program(host: Host, pipeline: str, which: str) -> Fd:
    """Loaded once and pinned: a second panic, or one cut short, finds it there."""
    pin, name = host.paths.panic_pin(pipeline, which), f"panic_{which}"
    if (found := pinned(host.kernel, pin)) is not None:
        return found
    request = LoadRequest(
        objects=(shipped_object("panic").read_bytes(),),
        name="panic",
        programs=(name,),
        metadata={"pipeline": pipeline, "panic": which},
    )
    loaded = host.kernel.progs.load(request)
    try:
        host.kernel.pins.mkdir(os.path.dirname(pin))
        host.kernel.pins.pin(loaded.progs[name], pin)
    except KernelError as error:
        if error.errno != errno.EEXIST:  # another panic was faster
            raise
    finally:
        loaded.close()
    return host.kernel.pins.get(pin)


def _panic_at(host: Host, pipeline: str, pin: str, program: str | None) -> str:
    """Why one attachment does not panic; empty when it does."""
    if program is None:
        return texts.WITHOUT_MEANING()
    try:
        with _program(host, pipeline, program) as loaded:
            return _swap(host, pipeline, pin, loaded)
    except (MissingFeature, OSError) as error:  # of this attachment alone: the others panic nevertheless
        return str(error)


def _swap(host: Host, pipeline: str, pin: str, program: Fd) -> str:
    """Whatever the link runs now gives way; why it could not, empty when it did."""
    fd = pinned(host.kernel, pin)
    if fd is None:
        return texts.LINK_PIN_MISSING(pin=pin)
    with fd:
        for _ in range(TRIES):
            try:
                return _swap_once(host, pipeline, fd, program)
            except KernelError as error:
                if error.errno not in (errno.EPERM, errno.ENOENT):  # not what it ran a moment ago
                    return str(error)
                why = str(error)
    return why


def _swap_once(host: Host, pipeline: str, link: Fd, program: Fd) -> str:
    info = host.kernel.links.info(link)
    if not info.attached:
        return texts.DETACHED()
    if info.prog_id == host.kernel.progs.info(program).id:
        return ""
    old = _by_pin(host, pipeline, info.prog_id)
    if old is None:
        try:
            old = host.kernel.progs.by_id(info.prog_id)
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return texts.PROGRAM_NOT_PINNED(program=info.prog_id)
    with old:
        host.kernel.links.update(link, new=program, old=old)
    return ""


def _by_pin(host: Host, pipeline: str, number: int) -> Fd | None:
    """A program of ours by its pin, for which no capability is asked."""
    for pin in _program_pins(host, pipeline):
        found = pinned(host.kernel, pin.path)
        if found is None:  # another process took it away meanwhile
            continue
        if host.kernel.progs.info(found).id == number:
            return found
        found.close()
    return None


def _program_pins(host: Host, pipeline: str) -> Iterator[Pin]:
    """The newest load first; a folder is listed only when the program was in none before it."""
    for load in reversed(loads_of(host, pipeline)):
        yield from listed(host, pipeline, PinKind.PROGRAM, load)
        yield from listed(host, pipeline, PinKind.BRIDGE, load)
    yield from listed(host, pipeline, PinKind.PANIC)
