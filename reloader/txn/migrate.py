"""Moving a map's entries to a map of another layout, in the kernel, under traffic.

The shipped migration program does it: this side lists the keys and hands them over piece by piece, so that no
CPU is away for long. Called by apply.py for Check, CopyOver and Drain; the rules come with the op.
Imports kernel, layout, plan.conversion, state.rules.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import IntEnum

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES, Fd, Kernel, Loaded, LoadRequest, MapType
from reloader.layout import shipped_object
from reloader.plan.conversion import pack_table
from reloader.state.rules import Conversion

PIECE = 65536  # bytes of keys a run: a few milliseconds
SLOTS = 16384  # of an array a run
ROUNDS = 100  # through what is left, as long as each moves something
RESULT = struct.Struct("=6Q")  # struct migrate_result
RUN = struct.Struct("=5I")  # struct migrate_run
CPUS = "/sys/devices/system/cpu"


class Pass(IntEnum):
    """enum migrate_pass."""

    CHECK = 0
    COPY = 1
    DRAIN = 2
    MERGE = 3
    LATE = 4


@frozen
class Moved:
    """What passes did, summed over CPUs."""

    visited: int = 0
    inserted: int = 0
    merged: int = 0
    failed: int = 0
    unfit: int = 0
    lock_failed: int = 0

    @property
    def stuck(self) -> int:
        return self.failed + self.unfit + self.lock_failed

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


def check(kernel: Kernel, source: Fd, target: Fd, rules: Conversion) -> Moved:
    """Whether the program that will move entries loads, and every value fits; changes nothing.

    KernelError ERANGE when a value does not, LoadRejected when the verifier says no.
    """
    _Migration(kernel, source, target, rules, _moving(kernel, source)).rehearse()
    if not any(r.dst_size < r.src_size for r in (*rules.value, *rules.key)):
        return Moved()
    return _Migration(kernel, source, target, rules, Pass.CHECK).all()


def copy_over(kernel: Kernel, source: Fd, target: Fd, rules: Conversion) -> Moved:
    """Every entry of `source` into `target`, which nobody uses yet, counters at zero."""
    return _Migration(kernel, source, target, rules, Pass.COPY).all()


def drain(
    kernel: Kernel, source: Fd, target: Fd, rules: Conversion, locks: Fd | None = None, *, late: bool = False
) -> Moved:
    """Move everything. `locks`: the bridge's, when one serves. KernelError when something would not move.

    Nobody but a bridge may use `source` any more: wait at a barrier after the swap, first. What user space
    goes on writing there may stay behind; from a frozen hash nothing does. `late`: programs have the new map to
    themselves by now, so that of an array, where nothing can be taken away, only counts are still moved.
    """
    return _Migration(kernel, source, target, rules, _moving(kernel, source, late=late), locks).all()


def _moving(kernel: Kernel, source: Fd, *, late: bool = False) -> Pass:
    """How entries of that type of map are moved."""
    kind = kernel.maps.info(source).type
    if kind in ARRAY_TYPES:
        return Pass.LATE if late else Pass.MERGE
    return Pass.MERGE if kind in PERCPU_TYPES else Pass.DRAIN


class _Migration:
    """One pass over one pair of maps."""

    def __init__(
        self, kernel: Kernel, source: Fd, target: Fd, rules: Conversion, how: Pass, locks: Fd | None = None
    ) -> None:
        self._kernel, self._source, self._target = kernel, source, target
        self._rules, self._how, self._locks = rules, how, locks
        self._from, self._to = kernel.maps.info(source), kernel.maps.info(target)
        self._slots, self._per_cpu = self._from.type in ARRAY_TYPES, self._from.type in PERCPU_TYPES
        self._trie = self._from.type == MapType.LPM_TRIE
        self._empties = how in (Pass.DRAIN, Pass.MERGE) and not self._slots
        self._cpus = online_cpus() if self._per_cpu else sorted(os.sched_getaffinity(0))
        self._away = sorted(set(possible_cpus()) - set(self._cpus)) if self._per_cpu else []

    def rehearse(self) -> None:
        """Load, no more."""
        self._load().close()

    def all(self) -> Moved:
        """Rounds over what is there until nothing is left, or nothing of it moves."""
        if next(self._pieces(), None) is None:
            return Moved()
        loaded = self._load()
        try:
            total = Moved()
            for _ in range(ROUNDS):
                any_left = self._round(loaded)
                now = self._moved(loaded)
                last, total = now.since(total), now
                if not any_left or not (last.stuck or self._empties):
                    return total
                if last.stuck and (not last.moved or self._how is Pass.CHECK):
                    raise self._complaint(last)
                time.sleep(0.001 if last.stuck else 0)
            if last.stuck:
                raise self._complaint(last)
            return total  # user space goes on writing: the rest follows once the map is frozen
        finally:
            loaded.close()

    def _round(self, loaded: Loaded) -> bool:
        """Everything that is there once; False when that was nothing."""
        pieces = self._pieces()
        first = next(pieces, None)
        if first is None:
            return False
        if self._per_cpu:
            for piece in _chained(first, pieces):
                self._on_every_cpu(loaded, piece)
        else:
            _share(_chained(first, pieces), self._cpus, lambda n, piece: self._run(loaded, piece, n, self._cpus[n]))
        return True

    def _pieces(self) -> Iterator[Piece]:
        if self._slots:
            for start in range(0, self._from.max_entries, SLOTS):
                yield Piece(count=min(SLOTS, self._from.max_entries - start), start=start)
            return
        size, most = self._from.key_size, PIECE // self._from.key_size
        found = self._kernel.maps.keys(self._source, most)
        for listed in list(found) if self._trie else found:  # a trie's walk starts over when its last key was moved
            for at in range(0, len(listed), most * size):
                keys = listed[at : at + most * size]
                yield Piece(count=len(keys) // size, keys=keys)

    def _on_every_cpu(self, loaded: Loaded, piece: Piece) -> None:
        """Each CPU moves its own values, for programs add to them without atomic instructions. Then they go."""
        before = self._moved(loaded).stuck
        for cpu in self._cpus:
            self._run(loaded, piece, 0, cpu)
        for cpu in self._away:
            self._run(loaded, piece, 0, self._cpus[0], remote=cpu + 1)
        if self._empties and self._moved(loaded).stuck == before:
            self._run(loaded, piece, 0, self._cpus[0], forget=1)

    def _run(self, loaded: Loaded, piece: Piece, slot: int, cpu: int, *, forget: int = 0, remote: int = 0) -> None:
        if piece.keys:
            padded = piece.keys.ljust(self._kernel.maps.info(loaded.maps["rl_keys"]).value_size, b"\0")
            self._kernel.maps.update_many(loaded.maps["rl_keys"], [slot.to_bytes(4, "little")], [padded])
        data = RUN.pack(slot, piece.count, piece.start, forget, remote).ljust(64, b"\0")
        if self._kernel.progs.run(loaded.progs["migrate"], data, cpu=cpu) != 2:  # XDP_PASS
            raise KernelError("BPF_PROG_RUN", 5, "migrate")

    def _load(self) -> Loaded:
        numbers = {
            "key_size": self._from.key_size,
            "new_key_size": self._to.key_size,
            "new_value_size": self._to.value_size,
            "pass": self._how,
            "slots": self._slots,
            "trie": self._trie,
        }
        reuse = {"rl_from": self._source, "rl_to": self._target}
        if self._locks is not None:
            reuse["rl_locks"] = self._locks
        request = LoadRequest(
            objects=(shipped_object("migrate").read_bytes(),),
            name="migrate",
            programs=("migrate",),
            rodata={
                **{name: int(value).to_bytes(4, "little") for name, value in numbers.items()},
                "table": pack_table(0, self._rules.value, self._rules.key, per_cpu=self._per_cpu),
            },
            max_entries={"rl_keys": len(self._cpus)},
            reuse=reuse,
        )
        return self._kernel.progs.load(request)

    def _moved(self, loaded: Loaded) -> Moved:
        rows = RESULT.iter_unpack(self._kernel.maps.lookup(loaded.maps["results"], bytes(4)) or b"")
        numbers = [sum(column) for column in zip(*rows, strict=True)]
        return Moved(**{f.name: n for f, n in zip(fields(Moved), numbers, strict=True)})

    def _complaint(self, last: Moved) -> KernelError:
        """Why entries stayed behind; they are whole, in the source."""
        if last.unfit:
            return KernelError("convert", 34, f"{self._from.name}: {last.unfit} values do not fit a narrowed field")
        if last.failed:
            return KernelError("convert", 28, f"{self._to.name} takes no more: {last.failed} entries stay as they were")
        return KernelError("convert", 11, f"{self._from.name}: {last.lock_failed} entries were locked for too long")


def _chained(first: Piece, rest: Iterator[Piece]) -> Iterator[Piece]:
    yield first
    yield from rest


def _share(pieces: Iterator[Piece], cpus: list[int], work: Callable[[int, Piece], None]) -> None:
    """Each worker takes the next piece until there is none; a single piece needs no thread."""
    first, second = next(pieces, None), next(pieces, None)
    if first and not second:
        work(0, first)
    if not first or not second:
        return
    from concurrent.futures import ThreadPoolExecutor

    todo, turn = iter([first, second]), threading.Lock()

    def following() -> Piece | None:
        with turn:
            return next(todo, None) or next(pieces, None)

    def take(worker: int) -> None:
        while (piece := following()) is not None:
            work(worker, piece)

    with ThreadPoolExecutor(len(cpus)) as pool:
        list(pool.map(take, range(len(cpus))))


def online_cpus() -> list[int]:
    """Whatever this process is bound to: each CPU has values of its own in a per-CPU map."""
    return _cpu_list("online")


def possible_cpus() -> list[int]:
    return _cpu_list("possible")


def _cpu_list(which: str) -> list[int]:
    with open(f"{CPUS}/{which}") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for r in ranges for cpu in range(int(r[0]), int(r[-1]) + 1)]
