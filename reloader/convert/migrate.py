"""Moving a map's entries to a map of another layout, in the kernel, under traffic.

The shipped migration program does it: this side lists the keys and hands them over piece by piece, so that no
CPU is away for long. Called by engine/execute.py for CheckFit, CopyOver and Drain; the rules come with the op.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import IntEnum

from reloader.convert import texts, workers
from reloader.errors import KernelError, LoadRejected, StepFailed
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, ENOTSUPP, PERCPU_TYPES, Fd, Kernel, Loaded, LoadRequest, MapInfo, MapType
from reloader.layouts.rules import REMEMBERED, Conversion, Op, pack_table
from reloader.paths import shipped_object
from reloader.wording.message import Message

PIECE = 65536  # MIGRATE_PIECE: bytes of keys there is room for
KEYS = 2048  # a run: about a millisecond, and their entries fit the cache between listing and moving
SLOTS = 16384  # of an array a run
WORKERS = 8  # more do not help: keys are listed by one at a time
EVERY = 1.0  # seconds between two words on how far it is
ROUNDS = 100  # through what is left, as long as each moves something
RESULT = struct.Struct("=8Q")  # struct migrate_result
RUN = struct.Struct("=5I")  # struct migrate_run
SHAPES = (0, 1, 2, 4, 8, 16, 32, 63)  # bits of `shape`, in the order in which they are tried
STAYED, ALL_MOVED = 1, 2  # what a run returns: XDP_DROP, XDP_PASS
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC
CPUS = "/sys/devices/system/cpu"


Said = Callable[[int], None]  # told now and then how many entries were handed out to be moved


class Pass(IntEnum):
    """enum migrate_pass."""

    CHECK = 0
    COPY = 1
    DRAIN = 2
    MERGE = 3
    LATE = 4
    CARRY = 5


@frozen
class Moved:
    """What passes did, summed over CPUs."""

    visited: int = 0
    inserted: int = 0
    merged: int = 0
    failed: int = 0
    unfit: int = 0
    lock_failed: int = 0
    unfit_keys: int = 0
    left_out: int = 0

    @property
    def stuck(self) -> int:
        return self.failed + self.unfit + self.lock_failed + self.unfit_keys

    @property
    def moved(self) -> int:
        return self.inserted + self.merged

    def since(self, before: Moved) -> Moved:
        return Moved(**{f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)})


@frozen
class Piece:
    """Some keys: listed one behind the other, or indices from `start` on."""

    count: int
    start: int = 0
    keys: bytes = b""


def silent(_: int) -> None:
    """Progress that goes nowhere."""


def check(
    kernel: Kernel, source: Fd, target: Fd, rules: Conversion, *, lossy: bool = False, said: Said = silent
) -> Moved:
    """Whether the program that will move entries loads, and every entry has a place; changes nothing.

    StepFailed with ERANGE when one has none, unless such may be left out; LoadRejected when the verifier says no.
    """
    _Migration(kernel, source, target, rules, _moving(kernel, source), lossy=lossy).rehearse()
    if lossy or not selective(rules):
        return Moved()
    return _Migration(kernel, source, target, rules, Pass.CHECK, said=said).all()


def selective(rules: Conversion) -> bool:
    """Whether there can be entries without a place, so that all have to be looked at."""
    return any(r.op is Op.EXPECT or r.dst_size < r.src_size for r in (*rules.value, *rules.key))


def key_set(kernel: Kernel, source: Fd) -> Fd | None:
    """Room for the keys that a copy of this map finds; None where the kernel may evict, and a key that is gone says
    nothing, and of arrays and tries, where nobody could ask for it."""
    shape = kernel.maps.info(source)
    if shape.type not in REMEMBERED:
        return None
    return kernel.maps.create(
        MapInfo(
            id=0, type=MapType.HASH, name="rl_copied", key_size=shape.key_size, value_size=4,
            max_entries=shape.max_entries, map_flags=NO_PREALLOC,
        )
    )  # fmt: skip


def copy_over(
    kernel: Kernel,
    source: Fd,
    target: Fd,
    rules: Conversion,
    *,
    copied: Fd | None = None,
    lossy: bool = False,
    said: Said = silent,
) -> Moved:
    """Every entry of `source` into `target`, which nobody uses yet, counters at zero; its key into `copied`."""
    return _Migration(kernel, source, target, rules, Pass.COPY, copied=copied, said=said, lossy=lossy).all()


def drain(
    kernel: Kernel,
    source: Fd,
    target: Fd,
    rules: Conversion,
    locks: Fd | None = None,
    *,
    copied: Fd | None = None,
    late: bool = False,
    lossy: bool = False,
    said: Said = silent,
) -> Moved:
    """Move everything. `locks`: the bridge's, when one serves. `copied`: keys of a copy before; one that is in `target`
    no more was deleted there, and its counts go with it. KernelError when something would not move.

    Nobody but a bridge may use `source` any more: wait at a barrier after the swap, first. What user space
    goes on writing there may stay behind; from a frozen hash nothing does. `late`: programs have the new map to
    themselves by now, so that of an array, where nothing can be taken away, only counts are still moved. `lossy`: what
    has no place in `target` is taken out of `source` all the same, and counted.
    """
    how = _moving(kernel, source, late=late)
    return _Migration(kernel, source, target, rules, how, locks, said, copied=copied, lossy=lossy).all()


def check_carry(kernel: Kernel, source: Fd, target: Fd, rules: Conversion) -> None:
    """Whether the program that will carry counters loads; changes nothing."""
    _Migration(kernel, source, target, rules, Pass.CARRY).rehearse()


def carry(kernel: Kernel, source: Fd, target: Fd, rules: Conversion, keys: bytes, *, lossy: bool = False) -> Moved:
    """Apply the rules to entries that both maps hold; `keys`, one behind the other, says which. None is added or
    deleted, and arrays are no exception."""
    return _Migration(kernel, source, target, rules, Pass.CARRY, keys=keys, lossy=lossy).all()


def _moving(kernel: Kernel, source: Fd, *, late: bool = False) -> Pass:
    """How entries of that type of map are moved."""
    kind = kernel.maps.info(source).type
    if kind in ARRAY_TYPES:
        return Pass.LATE if late else Pass.MERGE
    return Pass.MERGE if kind in PERCPU_TYPES else Pass.DRAIN


class _Migration:
    """One pass over one pair of maps."""

    def __init__(
        self,
        kernel: Kernel,
        source: Fd,
        target: Fd,
        rules: Conversion,
        how: Pass,
        locks: Fd | None = None,
        said: Said = silent,
        *,
        keys: bytes | None = None,
        copied: Fd | None = None,
        lossy: bool = False,
    ) -> None:
        self._seen, self._said, self._said_at = 0, said, time.monotonic()
        self._kernel, self._source, self._target = kernel, source, target
        self._rules, self._how, self._locks, self._keys = rules, how, locks, keys
        self._copied, self._lossy = copied, lossy
        self._from, self._to = kernel.maps.info(source), kernel.maps.info(target)
        self._slots = self._from.type in ARRAY_TYPES and how is not Pass.CARRY
        self._per_cpu = self._from.type in PERCPU_TYPES
        self._trie = self._from.type == MapType.LPM_TRIE
        self._empties = how in (Pass.DRAIN, Pass.MERGE) and not self._slots
        self._cpus = online_cpus() if self._per_cpu else sorted(os.sched_getaffinity(0))[:WORKERS]
        self._away = sorted(set(possible_cpus()) - set(self._cpus)) if self._per_cpu else []

    def rehearse(self) -> None:
        """Load, no more."""
        self._load().close()

    def all(self) -> Moved:
        """A round over what is there; more of them as long as some of it would not move, but others did."""
        pieces = self._pieces()
        first = next(pieces, None)
        if first is None:
            return Moved()
        loaded = self._load()
        try:
            with _Runs(self._kernel, loaded) as runs:
                return self._rounds(runs, itertools.chain([first], pieces))
        finally:
            loaded.close()

    def _rounds(self, runs: _Runs, pieces: Iterator[Piece]) -> Moved:
        """Of a frozen map, and of one that user space leaves alone, a round leaves nothing unseen; but of a trie."""
        total = Moved()
        for _ in range(ROUNDS):
            self._round(runs, pieces)
            last, total = runs.moved().since(total), runs.moved()
            if not last.stuck and not (self._trie and self._empties and last.moved):
                return total
            if not last.moved or self._how is Pass.CHECK:
                break
            time.sleep(0.001 if last.stuck else 0)
            pieces = self._pieces()
        if last.stuck:
            raise self._complaint(last, total)
        return total  # user space goes on writing: the rest follows once the map is frozen

    def _round(self, runs: _Runs, pieces: Iterator[Piece]) -> None:
        if not self._per_cpu:
            workers.share(pieces, len(self._cpus), lambda slot, piece: runs.run(slot, piece))
            return

        # Each CPU moves its own values, for programs add to them without atomic instructions. Then the entries go.
        def work(slot: int, place: int, piece: Piece) -> bool:
            first = piece.start if self._slots else piece.count * place // len(self._cpus)
            return runs.run(slot, piece, first=first)

        workers.together(pieces, self._cpus, work, lambda slot, piece: self._behind(runs, slot, piece))

    def _behind(self, runs: _Runs, slot: int, piece: Piece) -> None:
        """When all CPUs here have moved theirs: the values of those that are off, then the entries."""
        moved = [runs.run(slot, piece, first=piece.start, remote=cpu + 1) for cpu in self._away]
        if self._empties and all(moved):
            runs.run(slot, piece, forget=1)

    def _pieces(self) -> Iterator[Piece]:
        for piece in self._listed():
            self._seen += piece.count
            if time.monotonic() - self._said_at >= EVERY:
                self._said_at = time.monotonic()
                self._said(self._seen)
            yield piece

    def _listed(self) -> Iterator[Piece]:
        if self._slots:
            for start in range(0, self._from.max_entries, SLOTS):
                yield Piece(count=min(SLOTS, self._from.max_entries - start), start=start)
            return
        size = self._from.key_size
        most = min(KEYS, PIECE // size)
        found = self._kernel.maps.keys(self._source, most) if self._keys is None else iter([self._keys])
        for listed in list(found) if self._trie else found:  # a trie's walk starts over when its last key was moved
            for at in range(0, len(listed), most * size):
                keys = listed[at : at + most * size]
                yield Piece(count=len(keys) // size, keys=keys)

    def _load(self) -> Loaded:
        """Load the program in the first shape that this kernel's JIT compiler gets to the end of."""
        for shape in SHAPES[:-1]:
            try:
                return self._kernel.progs.load(self._request(shape))
            except LoadRejected as error:
                if error.errno != ENOTSUPP:
                    raise
        return self._kernel.progs.load(self._request(SHAPES[-1]))

    def _request(self, shape: int) -> LoadRequest:
        numbers = {
            "key_size": self._from.key_size,
            "new_key_size": self._to.key_size,
            "new_value_size": self._to.value_size,
            "pass": self._how,
            "slots": self._slots,
            "lossy": self._lossy,
            "trie": self._trie,
            "remember": self._copied is not None,
            "shape": shape,
            "guarded": self._locks is not None or bool(self._rules.key and not self._per_cpu),
        }
        reuse = {"rl_from": self._source, "rl_to": self._target}
        if self._locks is not None:
            reuse["rl_locks"] = self._locks
        if self._copied is not None:
            reuse["rl_copied"] = self._copied
        return LoadRequest(
            objects=(shipped_object("migrate").read_bytes(),),
            name="migrate",
            programs=("migrate",),
            rodata={
                **{name: int(value).to_bytes(4, "little") for name, value in numbers.items()},
                "table": pack_table(0, self._rules.value, self._rules.key, per_cpu=self._per_cpu),
            },
            max_entries={"rl_keys": max(workers.AHEAD, len(self._cpus))},
            reuse=reuse,
        )

    def _unfit(self, last: Moved) -> Message:
        """Each CPU looks at all keys of a per-CPU map."""
        looks = len(self._cpus) + len(self._away) if self._per_cpu else 1
        keys, values, demands = last.unfit_keys // looks, last.unfit, self._rules.demands
        faults = [texts.UNFIT_KEYS(count=keys)] if keys else []
        faults += [texts.UNFIT_VALUES(count=values)] if values else []
        only = texts.ONLY_ENTRIES(demands=demands) if demands else ""
        return texts.UNFIT_ENTRIES(map=self._from.name, faults=faults, only=only)

    def _complaint(self, last: Moved, total: Moved) -> StepFailed:
        """Entries that would not move. They are whole, in the source."""
        old, new = self._from.name, self._to.name
        if last.unfit or last.unfit_keys:
            return StepFailed("convert", errno.ERANGE, self._unfit(last))
        if last.failed:
            full = texts.NEW_MAP_FULL(map=new, left=last.failed, moved=total.moved)
            return StepFailed("convert", errno.ENOSPC, full)
        busy = texts.LOCKS_BUSY(map=old, left=last.lock_failed, moved=total.moved)
        return StepFailed("convert", errno.EAGAIN, busy)


class _Runs:
    """The loaded program, the keys it is given, and what it says it did."""

    def __init__(self, kernel: Kernel, loaded: Loaded) -> None:
        self._kernel, self._program, self._results = kernel, loaded.progs["migrate"], loaded.maps["results"]
        keys = kernel.maps.info(loaded.maps["rl_keys"])
        self._size = keys.value_size
        self._keys = mmap.mmap(loaded.maps["rl_keys"].fileno(), keys.max_entries * keys.value_size)

    def __enter__(self) -> _Runs:
        return self

    def __exit__(self, *exc: object) -> None:
        self._keys.close()

    def run(self, slot: int, piece: Piece, *, first: int | None = None, forget: int = 0, remote: int = 0) -> bool:
        """Move a piece on this CPU; False when some of it stayed. All who run it in a slot give the same keys."""
        at = slot * self._size
        self._keys[at : at + len(piece.keys)] = piece.keys
        start = piece.start if first is None else first
        data = RUN.pack(slot, piece.count, start, forget, remote).ljust(64, b"\0")
        verdict = self._kernel.progs.run(self._program, data)
        if verdict not in (STAYED, ALL_MOVED):
            raise KernelError("BPF_PROG_RUN", errno.EIO, "migrate")
        return verdict == ALL_MOVED

    def moved(self) -> Moved:
        rows = RESULT.iter_unpack(self._kernel.maps.lookup(self._results, bytes(4)) or b"")
        numbers = [sum(column) for column in zip(*rows, strict=True)]
        return Moved(**{f.name: n for f, n in zip(fields(Moved), numbers, strict=True)})


def online_cpus() -> list[int]:
    """Whatever this process is bound to: each CPU has values of its own in a per-CPU map."""
    return _cpu_list("online")


def possible_cpus() -> list[int]:
    return _cpu_list("possible")


def _cpu_list(which: str) -> list[int]:
    with open(f"{CPUS}/{which}") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for r in ranges for cpu in range(int(r[0]), int(r[-1]) + 1)]
