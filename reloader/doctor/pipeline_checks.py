"""What is wrong with each pipeline on this host, and what to do about it. Part of `doctor`; changes nothing.

Each finding names the cause in words and the command that repairs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from reloader.disk.atomic_files import listing
from reloader.doctor import texts
from reloader.doctor.finding import Finding
from reloader.errors import KernelError, MissingFeature, NeedsHuman, NotFoundError, PermissionRefused
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed, observe
from reloader.observe.unrecorded import is_lost, unrecorded
from reloader.paths import Paths, public_name
from reloader.pins.inventory import pinned_pipelines
from reloader.pins.own_folders import describe_weak, repair_command, weak_folders
from reloader.pipeline.wish import WishAttachment
from reloader.places.place import Seen
from reloader.report.arrivals import Arrival, arrival_json, sample, unreached
from reloader.report.attachment_faults import fault
from reloader.store import records
from reloader.store.records import Generation, blob_is_whole, blobs_of

ROOM = 16 << 20  # bytes on the disk of the records, below which it is nearly full


def disk(host: Host) -> Iterator[Finding]:
    if not host.paths.records.is_dir():
        return
    room = os.statvfs(host.paths.records)
    free = room.f_bavail * room.f_frsize
    ok = free >= ROOM and bool(room.f_favail or not room.f_files)
    text = texts.DISK if ok else texts.DISK_FULL if room.f_favail else texts.INODES_USED_UP
    yield Finding.of("disk", text(path=host.paths.records, free=free >> 20), ok=ok)


def unexplained(host: Host) -> Iterator[Finding]:
    """Pipelines that the kernel has and the records do not."""
    try:
        found = unrecorded(host)
    except (KernelError, OSError):
        return  # said by the check of the bpf filesystem
    for name in found:
        yield Finding.of("pipeline", texts.RECORDS_MISSING(pipeline=name))


def pipelines(host: Host) -> Iterator[Finding]:
    """Every recorded pipeline; what is damaged in one says nothing of the others."""
    folders = [p.name for p in listing(host.paths.pipelines_dir)]
    for name in folders:
        found = list(_pipeline(host, name))
        yield from found or [Finding.of("pipeline", texts.AS_RECORDED(pipeline=name), ok=True)]


def _pipeline(host: Host, name: str) -> Iterator[Finding]:
    if records.open_journals(host.paths, name):
        yield Finding.of("pipeline", texts.TRANSACTION_OPEN(pipeline=name))
    try:
        seen = observe(host, None, name)
    except (NeedsHuman, NotFoundError) as error:
        message = texts.RECORDS_DAMAGED(pipeline=name, why=error.message, hint=_for_damage(host, name))
        yield Finding.of("pipeline", message)
        return
    except (MissingFeature, KernelError):
        return  # no bpf filesystem, or no permission: said by other checks
    if seen.generation is not None:
        yield from _serving(host, name, seen, seen.generation)
    elif seen.state_restarted and seen.lost:
        yield Finding.of("pipeline", texts.PARKED_STATE_LOST(pipeline=name, maps=seen.lost))


def _for_damage(host: Host, name: str) -> str:
    if is_lost(host, name):
        return texts.REBUILD(pipeline=name)
    return texts.RESTORE_BACKUP(path=host.paths.record_dir(name))


def _serving(host: Host, name: str, seen: Observed, generation: Generation) -> Iterator[Finding]:
    yield from _blobs(host.paths, name, generation)
    if seen.rebooted:
        yield Finding.of("pipeline", texts.KERNEL_RESTARTED(pipeline=name))
        return
    if not _any_pin(host, name):
        message = texts.PINS_ALL_MISSING(pipeline=name, hint=_start_again(seen, generation))
        yield Finding.of("pipeline", message)
        return
    for attachment in generation.wish.attachments:
        yield from _attachment(name, attachment, seen)
    yield from _pins(name, seen, generation)
    if seen.current and seen.current.last_error:
        why = seen.current.last_error
        yield Finding.of("pipeline", texts.LAST_ATTEMPT_FAILED(pipeline=name, why=why))


def foreign_folders(host: Host) -> Iterator[Finding]:
    """Pin folders of others below ours, those of pipelines without a record among them."""
    try:
        found = pinned_pipelines(host)
        weak = weak_folders(host, *found)
    except (KernelError, OSError, PermissionRefused):
        return  # said by the check of the bpf filesystem
    for folder in weak:
        yield Finding(check="pins", ok=False, what=describe_weak(folder), hint=repair_command([folder]))
    if found and not weak:
        yield Finding.of("pins", texts.PIN_FOLDERS(), ok=True)


def _any_pin(host: Host, name: str) -> bool:
    return bool(host.kernel.pins.listdir(host.paths.pipeline_pins(name)))


def _start_again(seen: Observed, generation: Generation) -> str:
    kept = [m for m in seen.lost if m in generation.maps]
    return texts.APPLY_AGAIN_RESET(options=_reset(kept)) if kept else texts.APPLY_AGAIN()


def _reset(maps: Sequence[str]) -> str:
    return " ".join(f"--reset {name}" for name in maps)


def _blobs(paths: Paths, name: str, generation: Generation) -> Iterator[Finding]:
    """Whether a restart or a rollback would find what it needs."""
    bad = [paths.blob_file(*one) for one in blobs_of(generation.wish) if not _whole(paths, *one)]
    if bad:
        damaged = [str(path) for path in bad if path.exists() or path.is_symlink()]
        text = texts.STORED_FILES_DAMAGED if damaged else texts.STORED_FILES_MISSING
        yield Finding.of("pipeline", text(pipeline=name, files=bad, damaged=damaged))


def _whole(paths: Paths, blob: str, digest: str) -> bool:
    try:
        return blob_is_whole(paths, blob, digest)
    except OSError:
        return False


def _attachment(name: str, wanted: WishAttachment, seen: Observed) -> Iterator[Finding]:
    if wrong := fault(wanted, seen):
        values = {"pipeline": name, "attachment": wanted.id, **wrong.json_values()}
        what = texts.ATTACHMENT(pipeline=name, attachment=wanted.id, what=wrong)
        yield Finding(check="pipeline", ok=False, what=what, hint=wrong.hint, reason=wrong.code, values=values)


def _pins(name: str, seen: Observed, generation: Generation) -> Iterator[Finding]:
    lost = [m for m in generation.maps if m not in seen.maps]
    state = [m for m in lost if m in seen.lost]
    if state:
        yield Finding.of("pipeline", texts.STATE_MISSING(pipeline=name, maps=state, options=_reset(state)))
    if others := [m for m in lost if m not in state]:
        yield Finding.of("pipeline", texts.MAPS_MISSING(pipeline=name, maps=others))
    held = [n for n, m in seen.maps.items() if m.unpinned]
    held += [public_name(n) for n in seen.unpublished if n in seen.maps]
    held += list(seen.unpinned_progs)
    if held:
        yield Finding.of("pipeline", texts.PINS_MISSING(pipeline=name, names=held))
    if seen.sides_gone:
        yield Finding.of("pipeline", texts.SIDES_MISSING(pipeline=name, pins=seen.sides_gone))
    if missing := [p for p in generation.progs if p not in seen.progs]:
        yield Finding.of("pipeline", texts.PROGRAMS_MISSING(pipeline=name, programs=missing))


def neighbours(host: Host) -> Iterator[Finding]:
    """The others at our places, and whether packets reach our programs: one short sample for all."""
    seen, names = {}, list[str]()
    with suppress(PermissionRefused):  # said by the check of the records
        names = records.pipelines(host.paths)
    for name in names:
        with suppress(NeedsHuman, NotFoundError, MissingFeature, PermissionRefused, KernelError):  # said by pipelines()
            seen[name] = observe(host, None, name)
    places = [(name, key) for name, one in seen.items() for key in one.attachments]
    arrivals = sample(host, seen, places)
    for name, one in seen.items():
        for attachment in one.generation.wish.attachments if one.generation else ():
            there, place = one.attachments[attachment.id], (name, attachment.id)
            if there.alive:
                yield from _neighbours(place, attachment, there)
            if place in arrivals:
                yield from _arrivals(place, attachment, arrivals[place])


def _neighbours(place: tuple[str, str], attachment: WishAttachment, there: Seen) -> Iterator[Finding]:
    for one in there.neighbours:
        hint = texts.REMOVED_BY_TAKE_OVER() if one.takes else ""
        what = texts.NEIGHBOUR(pipeline=place[0], attachment=place[1], effect=one.effect(attachment.program))
        values = {"pipeline": place[0], "attachment": place[1], **one.to_json()}
        yield Finding(check="neighbours", ok=True, what=what, hint=hint, reason=what.code, values=values)


def _arrivals(place: tuple[str, str], attachment: WishAttachment, found: Arrival) -> Iterator[Finding]:
    about = {"pipeline": place[0], "attachment": place[1]}
    values = {**about, **(arrival_json(found) or {})}
    if found.none_reached:
        what = texts.NO_PACKET_SEEN(**about, why=unreached(attachment.program, found))
    elif not found.measurable:
        what = texts.NOT_MEASURABLE(**about, program=attachment.program, packets=found.packets)
    else:
        return
    yield Finding(
        check="arrivals", ok=not found.none_reached, what=what, hint=what.hint, reason=what.code, values=values
    )


CHECKS = (disk, foreign_folders, unexplained, pipelines, neighbours)
