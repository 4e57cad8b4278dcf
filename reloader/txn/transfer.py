"""State out of the kernel into a file, and back in: `state export` and `state import`.

An import is a transaction. Before its commit the file's entries go into a map of their own; after it they are
moved from there into the live map by the migration program, which adds each count exactly once under traffic. Cut
short, it is taken up again by `recover`. Imports session's neighbours, state.archive, plan.conversion.
"""

from __future__ import annotations

import datetime
import errno
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from reloader.errors import InputError, KernelError, NeedsHuman, NotFoundError, Problem
from reloader.files import UnfitFile
from reloader.frozen import frozen
from reloader.kernel import PERCPU_TYPES, PLAIN_TYPES, Fd, Kernel, MapInfo, MapType
from reloader.layout import Layout
from reloader.observe import Observed, SeenMap, observe, opened
from reloader.plan import ops
from reloader.printable import counted
from reloader.spec.source import unreadable
from reloader.state import archive
from reloader.state.archive import Exported
from reloader.trust import Judge, Signature
from reloader.txn.journal import open_journals

WHAT = "the state that is to be imported"
ENTRIES = 16384  # in a piece, unless they are large
UNEVICTED = {MapType.LRU_HASH: MapType.HASH, MapType.LRU_PERCPU_HASH: MapType.PERCPU_HASH}
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC


@frozen
class Copied:
    map: str
    entries: int


# out


def chosen(seen: Observed, pipeline: str, only: str | None) -> dict[str, SeenMap]:
    """The state maps to export, by name; NotFoundError when the one that was named is none."""
    kept = seen.current.state if seen.current else {}
    found = {n: m for n, m in seen.maps.items() if n in kept and m.pin == kept[n].pin}
    if only is None:
        return found
    if only not in found:
        raise NotFoundError(f"{pipeline} has no state map {only}", hint=f"it has {', '.join(sorted(found)) or 'none'}")
    return {only: found[only]}


def exportable(seen: SeenMap) -> str:
    """Why a map's contents cannot be had; empty when they can."""
    if seen.info.type in PLAIN_TYPES:
        return ""
    kind = MapType(seen.info.type).name.lower() if seen.info.type in set(MapType) else str(seen.info.type)
    return f"a {kind} cannot be read without emptying it, or not at all"


def look(kernel: Kernel, layout: Layout, pipeline: str) -> Observed:
    """The pipeline as it stands; NotFoundError and NeedsHuman when it does not."""
    seen = observe(kernel, layout, None, pipeline)
    if seen.current is None:
        raise NotFoundError(f"no pipeline {pipeline}", hint="see `reloader status`")
    if open_journals(layout.journal_file(pipeline, "").parent):
        why = f"{pipeline}: a transaction did not end; its counts may be in two maps"
        raise NeedsHuman(why, hint=f"`reloader recover {pipeline}` first")
    return seen


def export(kernel: Kernel, seen: Observed, maps: dict[str, SeenMap], out: IO[bytes]) -> Iterator[Copied]:
    """Write the maps one after the other; memory for a piece at a time."""
    writer = archive.Writer(out)
    for name, one in maps.items():
        writer.begin(_header(kernel, seen, name, one))
        size = max(1, archive.PIECE // (one.info.key_size + one.info.value_size))
        with opened(kernel, one) as fd:
            for keys, values in kernel.maps.pieces(fd, min(size, ENTRIES)):
                writer.put(keys, values)
        yield Copied(map=name, entries=writer.end())
    writer.close()


def _header(kernel: Kernel, seen: Observed, name: str, one: SeenMap) -> Exported:
    info, generation = one.info, seen.generation
    serving = generation is not None and name in generation.maps and generation.maps[name].pin == one.pin
    return Exported(
        pipeline=seen.current.pipeline if seen.current else "",
        map=name,
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        map_flags=info.map_flags,
        cpus=kernel.possible_cpus() if info.type in PERCPU_TYPES else 1,
        key=one.key,
        value=one.value,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        generation=generation.number if generation else 0,
        versions=generation.wish.map(name).versions if generation and serving else (),
    )


# in


def contents(path: Path) -> tuple[dict[str, tuple[Exported, int]], Signature]:
    """Map → what the file says of it and how many entries it has; and what tells this file from any other.

    InputError unless the whole file is sound, PermissionRefused when others could change it.
    """
    judge = Judge()
    try:
        with judge.stream(path) as file:
            judge.refuse(WHAT)
            found = {}
            for one, pieces in archive.read(file):
                found[one.map] = (one, sum(len(keys) // one.key_size for keys, _ in pieces))
            return found, judge.signatures[str(path)]
    except archive.Damaged as error:
        raise InputError([Problem.at(str(path), error.message)]) from error
    except UnfitFile as error:
        raise InputError([unreadable(str(path), error)]) from error


def keys_of(path: Path, signature: Signature, name: str) -> Iterator[bytes]:
    """The keys of one map of a sound file; KernelError when it is another file by now."""
    with _again(path, signature) as file:
        for one, pieces in archive.read(file):
            for keys, _ in pieces:
                yield from split(keys, one.key_size) if one.map == name else ()


def _again(path: Path, signature: Signature) -> IO[bytes]:
    """The file that was judged, opened once more."""
    judge = Judge()
    file = judge.stream(path)
    if signature and judge.signatures[str(path)] != signature:
        file.close()
        raise KernelError("open", errno.ESTALE, f"{path}, which has changed since it was judged")
    return file


def fill(kernel: Kernel, op: ops.FillFromFile) -> None:
    """One map of the file as a map of its own, pinned once it is whole."""
    try:
        with _again(Path(op.file), op.signature) as file:
            for one, pieces in archive.read(file):
                if one.map == op.map:
                    with kernel.maps.create(_shape(one)) as fd:
                        for keys, values in pieces:
                            _put(kernel, fd, one, keys, values)
                        kernel.pins.pin(fd, op.path)
                    return
                for _ in pieces:  # to get past it
                    pass
    except archive.Damaged as error:
        raise KernelError("read", errno.EBADMSG, f"{op.file}: {error}") from error
    raise KernelError("read", errno.ENOENT, f"{op.map} in {op.file}")


def _shape(one: Exported) -> MapInfo:
    """What holds it for a while: nothing may be evicted from there."""
    kind = UNEVICTED.get(MapType(one.type), MapType(one.type))
    flags = NO_PREALLOC if kind == MapType.LPM_TRIE else 0
    return MapInfo(
        id=0, type=kind, name="rl_import", key_size=one.key_size, value_size=one.value_size,
        max_entries=one.max_entries, map_flags=flags,
    )  # fmt: skip


def _put(kernel: Kernel, fd: Fd, one: Exported, keys: bytes, values: bytes) -> None:
    cpus = kernel.possible_cpus() if one.cpus > 1 else 1
    found = split(values, one.stored)
    if one.cpus != cpus:
        wide = one.stored // one.cpus * cpus
        found = [v[:wide].ljust(wide, b"\0") for v in found]
    kernel.maps.update_many(fd, split(keys, one.key_size), found)


def split(data: bytes, size: int) -> Sequence[bytes]:
    return [piece for (piece,) in struct.iter_unpack(f"{size}s", data)]


def absorb(kernel: Kernel, op: ops.Absorb) -> list[str]:
    """From the map of its own into the live one; a line that says what came of it."""
    from reloader.txn import migrate

    pins = kernel.pins
    if not pins.exists(op.source) or not pins.exists(op.target):
        return []
    with pins.get(op.source) as source, pins.get(op.target) as target:
        try:
            moved = migrate.drain(kernel, source, target, op.rules)
        except KernelError as error:
            if error.errno != errno.ENOSPC:
                raise
            left = kernel.maps.count(source)
            return [f"{op.map}: full: {counted(left, 'entry')} of the file found no room: given up"]
    return [f"{op.map}: {counted(moved.inserted, 'entry')} added, {moved.merged} merged with what was there"]
