"""What reloader remembers of a pipeline on disk: generations and which one is current. Truth about the past;
the kernel is the truth about now.
"""

from __future__ import annotations

import errno
import hashlib
import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from reloader.disk import jsonable
from reloader.disk.atomic_files import UnfitFile, listing, read_regular, write_atomic
from reloader.errors import NeedsHuman, NotFoundError, OtherVersion
from reloader.frozen import frozen
from reloader.paths import JOURNAL_SUFFIX, RECORD_SUFFIX, Paths, pipeline_of_record
from reloader.pipeline.wish import Kept, Wish
from reloader.store import texts
from reloader.wording.message import Message

MOST = 256 << 20  # bytes of one record
MOST_OF_BLOB = 4 << 30  # bytes of one stored object or listing
PAGE = 4096  # what filesystems give room by
SUM = b',\n "sum": "'  # the checksum, the last member of a record
FORMAT = "version"  # the member that tells by which version of the format a record was written
FIRST = 1  # the version of records that do not say one


class Cause(StrEnum):
    """Why a generation was committed."""

    APPLY = "apply"
    WATCH = "watch"
    ROLLBACK = "rollback"  # somebody asked for it
    TRIAL = "trial"  # the version after it did not prove itself
    BOOT = "boot"
    REBUILT = "rebuilt"  # its record was lost and made again


class OutcomeKind(StrEnum):
    """How a trial ended."""

    HEALTHY = "healthy"  # its checks held until its window was over
    CONFIRMED = "confirmed"  # a person vouches for it
    PANICKED = "panicked"  # a panic serves, which only a person ends; it stays below that
    BACK = "back"  # what served before serves again, or nothing does
    STAYS = "stays"  # it failed, and could not be taken back
    REMOVED = "removed"  # its pipeline was removed meanwhile


@frozen
class TrialOutcome:
    kind: OutcomeKind
    words: str


@frozen
class MapRecord:
    pin: str
    id: int  # kernel id, valid in this boot


@frozen
class LinkRecord:
    REST: ClassVar[str] = "place"
    pin: str
    id: int
    prog: int  # kernel id of the program it runs
    place: dict[str, str | int | None] = field(default_factory=dict)  # what the place keeps, for itself alone


@frozen
class Trial:
    """A generation that has not proved itself yet: by when it must, and who sees to it. Times are boot-time seconds,
    good in one boot only."""

    generation: int
    back_to: int  # what comes back otherwise; 0: nothing served before
    boot_id: str
    healthy_at: float  # the end of its health window; the start of the trial when it has none
    until: float  # past this without a word it goes back
    confirm: bool  # whether a person has to say so
    grace: float  # seconds past `until` in which a living guard may still be about to act: its last look takes time
    guard: int  # process id
    guard_born: int  # when that process started, in clock ticks since boot: ids are used again


@frozen
class Generation:
    """One commit of a pipeline."""

    number: int
    load: int  # the load that serves it
    wish: Wish
    created: str  # UTC, ISO 8601
    reason: str  # "apply", "rollback to 3", "watch"
    boot_id: str
    progs: dict[str, int]  # program -> kernel id
    maps: dict[str, MapRecord]
    origin: int = 0  # the generation this one's wish first came with; its own number unless rolled back to
    changes: tuple[str, ...] = ()  # the plan's lines, for history
    rebuilt: bool = False  # from what the kernel shows, after its record was lost: its objects are gone
    outcome: TrialOutcome | None = None  # of its trial; None: it had none, or is still on it
    cause: Cause = Cause.APPLY


@frozen
class Current:
    """Where a pipeline stands. generation 0: removed, with its state parked."""

    pipeline: str
    generation: int
    last_generation: int  # the highest number ever given
    last_load: int
    wish: str = ""  # digest of the wish this generation serves
    links: dict[str, LinkRecord] = field(default_factory=dict)  # attachment id -> what must be there
    entries: dict[str, str] = field(default_factory=dict)  # config map pin -> digest of its entries
    kept: dict[str, tuple[Kept, ...]] = field(default_factory=dict)  # config map pin -> what that digest leaves out
    state: dict[str, MapRecord] = field(default_factory=dict)  # every state map kept, also those no version uses now
    orphaned: bool = False  # the watched file is gone; the pipeline runs on
    tried: dict[str, str] = field(default_factory=dict)  # source -> wish digest tried last
    last_error: str = ""
    pins: tuple[str, ...] = ()  # programs, maps and published maps that must be there; empty: an older record
    trial: Trial | None = None  # None: what serves is confirmed
    boot_id: str = ""  # the boot in which `state` was last seen; empty: the records are of before this was kept
    restarted: dict[str, str] = field(default_factory=dict)  # state map -> when it started empty after a restart


def _read(path: Path, kind: type) -> object | None:
    try:
        return jsonable.from_json(kind, _parsed(path))
    except FileNotFoundError:
        return None
    except UnfitFile as error:
        raise unfit(error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _parsed(path: Path) -> Any:
    """A record's members; OtherVersion unless it is of this version of the format."""
    data = read_regular(path, MOST)
    body = _unsealed(data)
    found = json.loads(body)
    version = found.get(FORMAT, FIRST if body is not data else None)
    if type(version) is not int:
        raise ValueError(texts.VERSION_NOT_NUMBER(member=FORMAT, value=version))
    if version != jsonable.VERSION:
        raise _other_version(path, version)
    return found


def _other_version(path: Path, version: int) -> OtherVersion:
    is_later = version > jsonable.VERSION
    hint = texts.WRITTEN_BY_LATER() if is_later else texts.REBUILD_RECORDS(pipeline=pipeline_of_record(path))
    message = texts.RECORD_VERSION(path=path, found=version, wanted=jsonable.VERSION, hint=hint)
    return OtherVersion(message, is_later=is_later)


def unfit(error: UnfitFile, *, hint: str = "") -> NeedsHuman:
    """Something else than a file of ours stands where one of the records should: damage like any other."""
    path = error.filename
    message = texts.RECORD_DAMAGED(path=path, why=error.strerror, hint=hint or texts.REMOVE_RECORD(path=path))
    return NeedsHuman(message, reason=error.reason, values=error.values)


def _damaged(path: Path, why: str) -> NeedsHuman:
    return NeedsHuman(texts.RECORD_DAMAGED(path=path, why=why))


def read_current(paths: Paths, pipeline: str) -> Current | None:
    """The pipeline's place, or None if reloader never heard of it; NeedsHuman when the file is damaged."""
    current = _read(paths.current_file(pipeline), Current)
    assert current is None or isinstance(current, Current)
    if current is not None and current.pipeline != pipeline:
        raise _damaged(paths.current_file(pipeline), texts.OF_OTHER_PIPELINE(pipeline=current.pipeline))
    if current is not None:
        _require_own_pins(paths, current)
    return current


def _require_own_pins(paths: Paths, current: Current) -> None:
    """What a record names is unpinned one day: never anything but our own."""
    own = f"{paths.pipeline_pins(current.pipeline)}/"
    named = [*(link.pin for link in current.links.values()), *(kept.pin for kept in current.state.values())]
    for pin in (pin for pin in named if not pin.startswith(own) or ".." in pin):
        raise NeedsHuman(texts.FOREIGN_PIN(path=paths.current_file(current.pipeline), pin=pin, folder=own))


def read_generation(paths: Paths, pipeline: str, number: int) -> Generation:
    """A stored generation; NotFoundError when it was pruned or never was."""
    generation = _read(paths.generation_file(pipeline, number), Generation)
    if generation is None:
        known = ", ".join(map(str, generation_numbers(paths, pipeline))) or "none"
        raise NotFoundError(texts.NO_SUCH_GENERATION(pipeline=pipeline, generation=number, known=known))
    assert isinstance(generation, Generation)
    if (generation.wish.pipeline, generation.number) != (pipeline, number):
        whose = texts.OF_OTHER_GENERATION(generation=generation.number, pipeline=generation.wish.pipeline)
        raise _damaged(paths.generation_file(pipeline, number), whose)
    return generation


def generation_numbers(paths: Paths, pipeline: str) -> list[int]:
    """Stored generations, oldest first."""
    found = listing(paths.generations_dir(pipeline), RECORD_SUFFIX)
    return sorted(int(p.stem) for p in found if p.stem.isdecimal())


def open_journals(paths: Paths, pipeline: str) -> list[Path]:
    """Return the journals of transactions that did not end, oldest first."""
    return listing(paths.journals_dir(pipeline), JOURNAL_SUFFIX)


def pipelines(paths: Paths) -> list[str]:
    """Every pipeline with records."""
    return [p.name for p in listing(paths.pipelines_dir) if paths.current_file(p.name).exists()]


def on_trial(paths: Paths, names: Iterable[str] | None = None) -> list[str]:
    """Pipelines (of these, or of all) whose generation is unconfirmed; damaged records are left to whoever reads
    them."""
    found = []
    for name in pipelines(paths) if names is None else names:
        with suppress(NeedsHuman):
            current = read_current(paths, name)
            found += [name] if current and current.trial else []
    return found


def _dump(value: object) -> bytes:
    members = {**jsonable.to_json(value), FORMAT: jsonable.VERSION}
    return _sealed(json.dumps(members, indent=1, sort_keys=True).encode())


def _sealed(body: bytes) -> bytes:
    """A JSON object's text with a checksum of itself as its last member: a turned bit must not look like a record."""
    return b'%b%b%08x"\n}\n' % (body.removesuffix(b"\n}"), SUM, zlib.crc32(body))


def _unsealed(data: bytes) -> bytes:
    """The text that was sealed; ValueError when it was changed. Without a checksum it is taken as it is."""
    body, found, _ = data.rpartition(SUM)
    if not found:
        return data
    if _sealed(body + b"\n}") != data:
        raise ValueError(texts.CHECKSUM())
    return body + b"\n}"


def write_generation(paths: Paths, generation: Generation) -> None:
    write_atomic(paths.generation_file(generation.wish.pipeline, generation.number), _dump(generation))


def write_current(paths: Paths, current: Current) -> None:
    write_atomic(paths.current_file(current.pipeline), _dump(current))


def room_for(generation: Generation | None, current: Current) -> int:
    """Bytes on disk that both records take, and the directory entries with them."""
    sizes = [len(_dump(value)) for value in (generation, current) if value is not None]
    return sum(-(-size // PAGE) * PAGE for size in sizes) + PAGE


def blobs_needed(paths: Paths, pipeline: str) -> set[str]:
    """Digests of all objects, entries and tests that a stored generation of the pipeline needs; NeedsHuman when one of
    the files is damaged, so that nobody knows."""
    needed: set[str] = set()
    for number in generation_numbers(paths, pipeline):
        needed |= _blobs_of(paths.generation_file(pipeline, number))
    return needed


def _blobs_of(path: Path) -> set[str]:
    try:
        wish = _parsed(path)["wish"]  # plain JSON: this runs at every commit
        entries = {m["entries"]["digest"] for m in wish["maps"] if m["entries"]}
        tests = {wish["tests"]["digest"]} if wish.get("tests") else set()
        return {o["digest"] for o in wish["objects"]} | entries | tests
    except UnfitFile as error:
        raise unfit(error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def blobs_of(wish: Wish) -> list[tuple[str, str]]:
    """Kind and digest of every stored file that a generation with this wish is loaded from."""
    found = [("objects", o.digest) for o in wish.objects]
    found += [("entries", m.entries.digest) for m in wish.maps if m.entries]
    return [*found, *([("tests", wish.tests.digest)] if wish.tests else [])]


def read_blob(paths: Paths, blob: str, digest: str) -> bytes:
    """A stored object, listing or test; NeedsHuman when it is damaged or missing."""
    path = paths.blob_file(blob, digest)
    try:
        data = read_regular(path, MOST_OF_BLOB)
    except UnfitFile as error:
        raise unfit(error, hint=texts.REMOVE_AND_APPLY(file=path)) from error
    except FileNotFoundError as error:
        raise NeedsHuman(texts.STORED_FILE_MISSING(file=path)) from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise _bad_blob(path, texts.UNREADABLE(why=error.strerror)) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _bad_blob(path, texts.WRONG_DIGEST())
    return data


def _bad_blob(path: Path, fault: Message) -> NeedsHuman:
    return NeedsHuman(texts.STORED_FILE_DAMAGED(file=path, fault=fault))


def blob_is_whole(paths: Paths, blob: str, digest: str) -> bool:
    """Whether the stored file is regular and has the content that its name says; OSError when it cannot be read."""
    try:
        read_blob(paths, blob, digest)
    except NeedsHuman:
        return False
    return True
