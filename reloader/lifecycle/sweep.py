"""What is ours and dead: pins that no record explains and that nothing attached needs, blobs, compiled wishes and
fragments that nobody refers to. Everything else is left alone, and of what was not certain is said why.

Under the writer lock, so that nothing of a change under way looks dead. Called by commands/gc.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from reloader.disk.atomic_files import listing, read_regular
from reloader.disk.lock import Writer
from reloader.errors import KernelError, NeedsHuman, NotFoundError
from reloader.fault_points import lasting
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PLAIN_TYPES, Fd
from reloader.kernel.host import Host
from reloader.lifecycle import texts
from reloader.paths import BLOBS, FRAGMENTS, RECORD_SUFFIX, Paths
from reloader.pins.inventory import LoadPins, Pin, inventory, pinned_pipelines, program_infos
from reloader.pins.own_folders import describe_weak, weak_folders
from reloader.places import places
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import MOST, Current

OLD = 3600.0  # seconds after which nobody is still writing a compiled wish


@frozen
class Dead:
    kind: str  # pin, folder, blob, cache, fragment
    path: str
    why: str


@frozen
class Kept:
    path: str
    why: str


def find_garbage(writer: Writer) -> tuple[list[Dead], list[Kept]]:
    """All that could go, and what looks dead but is not certain to be."""
    found: list[Dead | Kept] = []
    for name in pinned_pipelines(writer.host):
        if _is_folder(writer.paths.pipeline_pins(name)):
            weak = weak_folders(writer.host, name)
            found += [Kept(path=w.path, why=describe_weak(w)) for w in weak] or _Pipeline(writer.host, name).look()
    found += [*_blobs(writer.paths), *_compiled(writer.paths), *_fragments(writer.paths)]
    return [f for f in found if isinstance(f, Dead)], [f for f in found if isinstance(f, Kept)]


def remove(writer: Writer, dead: list[Dead]) -> None:
    """Pins before the folders that hold them. A signal that comes meanwhile is answered by the result."""
    with Held():
        for one in dead:
            _remove(writer.host, one)


def _remove(host: Host, one: Dead) -> None:
    if one.kind == "pin":
        host.kernel.pins.unpin(one.path)
        _empty_folders(host, os.path.dirname(one.path))
    elif one.kind == "folder":
        _empty_folders(host, one.path)
    else:
        lasting(f"gc {one.kind}", partial(Path(one.path).unlink, missing_ok=True))


def _empty_folders(host: Host, folder: str) -> None:
    while folder.startswith(host.paths.bpffs + "/") and not host.kernel.pins.listdir(folder):
        host.kernel.pins.rmdir(folder)
        folder = os.path.dirname(folder)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _files(pins: Iterable[Pin]) -> list[Pin]:
    """A folder among pins is not ours."""
    return [pin for pin in pins if not _is_folder(pin.path)]


class _Pipeline:
    """The pins of one pipeline, beside what its records explain."""

    def __init__(self, host: Host, name: str) -> None:
        self._kernel, self._paths, self._name = host.kernel, host.paths, name
        self._root = host.paths.pipeline_pins(name)
        self._pins = inventory(host, name)

    def look(self) -> list[Dead | Kept]:
        if records.open_journals(self._paths, self._name):
            return [Kept(path=self._root, why=texts.SWEEP_OPEN(pipeline=self._name))]
        try:
            current = records.read_current(self._paths, self._name)
            explained = self._explained(current)
        except (NeedsHuman, NotFoundError) as error:
            return [Kept(path=self._root, why=texts.RECORDS_UNSOUND(why=error.message))]
        if current is None and self._lives():
            return [Kept(path=self._root, why=texts.UNRECORDED_LIVE(pipeline=self._name))]
        found = (self._links, self._loads, self._state, self._names)
        return [*self._rescued(), *(one for look in found for one in look(explained))]

    def _rescued(self) -> Iterator[Kept]:
        """It may serve: a filter of traffic control is on none of the hooks that are looked at here."""
        if self._pins.rescue_contents:
            yield Kept(path=self._paths.rescue_pins(self._name), why=texts.RESCUE_LOAD(pipeline=self._name))

    def _explained(self, current: Current | None) -> set[str]:
        """Every pin that the records speak of, whether it is there or not."""
        if current is None:
            return set()
        known = {
            *current.pins,
            *(link.pin for link in current.links.values()),
            *(m.pin for m in current.state.values()),
        }
        if current.generation:
            generation = records.read_generation(self._paths, self._name, current.generation)
            known |= {m.pin for m in generation.maps.values()}
            known |= {self._paths.prog_pin(self._name, generation.load, p) for p in generation.progs}
            known |= {self._paths.pub_pin(self._name, m) for m in generation.maps}
            known.add(self._paths.load_pins(self._name, generation.load))
        return known

    def _lives(self) -> bool:
        """Whether a link of the pipeline's has a hook, or a program of it is attached by anybody."""
        mine = {number for load in self._pins.loads.values() for number, _ in self._programs(load)}
        return bool(self._attached() & mine) or any(self._link_lives(pin) for pin in _files(self._pins.links))

    def _attached(self) -> set[int]:
        """Programs at any place: of links, and those that are attached without one."""
        linked = {link.prog_id for link in self._kernel.links.all()}
        return linked.union(*(kind.attached_without_link(self._kernel) for kind in places().values()))

    def _links(self, explained: set[str]) -> Iterator[Dead | Kept]:
        for pin in _files(self._pins.links):
            if pin.path in explained:
                continue
            if self._link_lives(pin):
                yield Kept(path=pin.path, why=texts.ATTACHED_LINK())
            else:
                yield Dead(kind="pin", path=pin.path, why=texts.DETACHED_LINK())

    def _link_lives(self, pin: Pin) -> bool:
        """Only a link that lost its place is dead."""
        try:
            with self._kernel.pins.get(pin.path) as fd:
                info = self._kernel.links.info(fd)
        except (KernelError, ValueError):
            return True
        return info.attached

    def _loads(self, explained: set[str]) -> Iterator[Dead | Kept]:
        attached = self._attached()
        for load in self._pins.loads.values():
            if load.path in explained:
                continue
            programs = list(self._programs(load))
            if any(number in attached for number, _ in programs):
                yield Kept(path=load.path, why=texts.ATTACHED_LOAD())
            elif not all(ours for _, ours in programs):
                yield Kept(path=load.path, why=texts.OTHER_OWNER())
            else:
                pins = _files((*load.programs, *load.maps, *load.bridge))
                yield from (Dead(kind="pin", path=p.path, why=texts.UNRECORDED_LOAD()) for p in pins)
                if not load.contents:
                    yield Dead(kind="folder", path=load.path, why=texts.EMPTY_FOLDER())

    def _programs(self, load: LoadPins) -> Iterator[tuple[int, bool]]:
        """(kernel id, whether it says that it is this pipeline's)."""
        for _, info in program_infos(self._kernel, _files((*load.programs, *load.bridge))):
            yield info.id, self._kernel.progs.metadata(info.id).get("pipeline") == self._name

    def _state(self, explained: set[str]) -> Iterator[Dead | Kept]:
        """State is data: only what is empty is dead."""
        for pin in _files(self._pins.state):
            if pin.path in explained:
                continue
            entries = self._entries(pin)
            if entries:
                yield Kept(path=pin.path, why=texts.STATE_WITH_ENTRIES(count=entries))
            elif entries == 0:
                yield Dead(kind="pin", path=pin.path, why=texts.EMPTY_STATE())

    def _entries(self, pin: Pin) -> int | None:
        """Entries that somebody made; None: that cannot be told, or it is no map."""
        try:
            with self._kernel.pins.get(pin.path) as fd:
                return self._count(fd)
        except (KernelError, ValueError):
            return None

    def _count(self, fd: Fd) -> int | None:
        info = self._kernel.maps.info(fd)
        if info.type not in PLAIN_TYPES:
            return None
        if info.type in ARRAY_TYPES:
            return sum(1 for _, values in self._kernel.maps.pieces(fd, 1024) if any(values))
        return self._kernel.maps.count(fd)

    def _names(self, explained: set[str]) -> Iterator[Dead]:
        for pins, why in (
            (self._pins.public, texts.UNRECORDED_NAME()),
            (self._pins.imports, texts.UNRECORDED_IMPORT()),
            (self._pins.taken, texts.UNRECORDED_TAKEN()),
        ):
            yield from (Dead(kind="pin", path=p.path, why=why) for p in _files(pins) if p.path not in explained)


# on disk


def _blobs(paths: Paths) -> Iterator[Dead]:
    """A blob that no pipeline links to; records that are not sound keep theirs."""
    for blob in BLOBS:
        for path in listing(paths.blob_dir(blob)):
            if not path.name.startswith(".") and path.lstat().st_nlink == 1:
                yield Dead(kind="blob", path=str(path), why=texts.UNUSED_BLOB())


def _compiled(paths: Paths) -> Iterator[Dead]:
    """Compiled wishes of pipelines that are recorded no more, or that nobody can read."""
    known = set(records.pipelines(paths))
    for path in listing(paths.cache_dir, RECORD_SUFFIX):
        if not known & _pipelines_of(path) and not path.is_dir():
            yield Dead(kind="cache", path=str(path), why=texts.CACHE_OF_NONE())


def _pipelines_of(path: Path) -> set[str]:
    try:
        return {one["pipeline"] for one in json.loads(read_regular(path, MOST).partition(b"\n")[2])["wishes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _fragments(paths: Paths) -> Iterator[Dead]:
    """Half-written files; in the cache, which is written without the lock, only old ones. One that was written in the
    future is old, too: the clock was set back since."""
    for path in sorted(paths.records.rglob(FRAGMENTS)):
        try:
            old = path.parent != paths.cache_dir or abs(time.time() - path.stat().st_mtime) > OLD
        except OSError:  # it went meanwhile
            continue
        if old and not path.is_dir() and not _is_in_use(paths, path):
            yield Dead(kind="fragment", path=str(path), why=texts.HALF_WRITTEN())


def _is_in_use(paths: Paths, fragment: Path) -> bool:
    """Whether it lies beside a journal that is open, whose recovery sweeps it away."""
    folder = fragment.parent
    return folder.parent == paths.pipelines_dir and bool(records.open_journals(paths, folder.name))
