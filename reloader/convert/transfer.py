"""Entries of an exported file into the kernel: read whole and judged, filled into a map of its own, then absorbed.

An import is a transaction. Before its commit the file's entries go into a map of their own; after it they are
moved from there into the live map by the migration program, which adds each count exactly once under traffic. Cut
short, it is taken up again by `recover`. Takes values. Called by lifecycle/state_import.py
and engine/execute.py.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from reloader.convert import texts
from reloader.disk.atomic_files import UnfitFile
from reloader.disk.trust import Judge, Signature
from reloader.errors import InputError, KernelError, Problem, StepFailed
from reloader.kernel import Fd, Kernel, MapInfo, MapType
from reloader.layouts import archive
from reloader.layouts.archive import Exported
from reloader.layouts.rules import Conversion
from reloader.pipeline.source import unreadable
from reloader.wording.message import Message

ENTRIES = 16384  # in a piece, unless they are large
UNEVICTED = {MapType.LRU_HASH: MapType.HASH, MapType.LRU_PERCPU_HASH: MapType.PERCPU_HASH}
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC


def contents(path: Path) -> tuple[dict[str, tuple[Exported, int]], Signature]:
    """Map → what the file says of it and how many entries it has; and what tells this file from any other.

    InputError unless the whole file is sound, PermissionRefused when others could change it.
    """
    judge = Judge()
    try:
        with judge.stream(path) as file:
            judge.refuse(texts.IMPORT_FILE())
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
        raise StepFailed("open", errno.ESTALE, texts.FILE_CHANGED(file=path))
    return file


def fill(kernel: Kernel, name: str, path: str, *, file: str, signature: Signature) -> None:
    """One map of the file as a map of its own, pinned at `path` once it is whole."""
    try:
        with _again(Path(file), signature) as opened:
            for one, pieces in archive.read(opened):
                if one.map == name:
                    with kernel.maps.create(_shape(one)) as fd:
                        for keys, values in pieces:
                            _put(kernel, fd, one, keys, values)
                        kernel.pins.pin(fd, path)
                    return
                for _ in pieces:  # to get past it
                    pass
    except archive.Damaged as error:
        raise StepFailed("read", errno.EBADMSG, texts.FILE_DAMAGED(file=file, why=error.message)) from error
    raise StepFailed("read", errno.ENOENT, texts.FILE_WITHOUT_MAP(file=file, map=name))


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


def absorb(kernel: Kernel, name: str, source_pin: str, target_pin: str, rules: Conversion) -> list[Message]:
    """From the map of its own into the live one; a line that says what came of it."""
    from reloader.convert import migrate

    pins = kernel.pins
    if not pins.exists(source_pin) or not pins.exists(target_pin):
        return []
    with pins.get(source_pin) as source, pins.get(target_pin) as target:
        try:
            moved = migrate.drain(kernel, source, target, rules)
        except KernelError as error:
            if error.errno != errno.ENOSPC:
                raise
            return [texts.MAP_FULL(map=name, left=kernel.maps.count(source))]
    return [texts.MERGED(map=name, added=moved.inserted, merged=moved.merged)]
