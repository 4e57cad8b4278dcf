"""Moving a map's entries to a map of another layout, in the kernel, under traffic.

The shipped migration program does it: a chunk a run, on every CPU, so that no CPU is away for long. Called
by apply.py for CopyOver and Drain; the rules come with the op. Imports kernel, layout, state.rules.
"""

from __future__ import annotations

import os
import struct
from concurrent.futures import ThreadPoolExecutor

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES, Fd, Kernel, Loaded, LoadRequest
from reloader.layout import shipped_object
from reloader.plan.conversion import pack_table
from reloader.state.rules import Conversion

CHUNK = 8192  # entries a run: about 10 ms on a slow CPU
COPY, DRAIN, MERGE = 0, 1, 2  # enum migrate_pass
RESULT = struct.Struct("=6Q")  # struct migrate_result


@frozen
class Moved:
    """What a pass did, summed over CPUs."""

    visited: int = 0
    inserted: int = 0
    merged: int = 0
    failed: int = 0
    unfit: int = 0
    lock_failed: int = 0

    @property
    def stuck(self) -> int:
        return self.failed + self.unfit + self.lock_failed


def copy_over(kernel: Kernel, source: Fd, target: Fd, rules: Conversion) -> Moved:
    """Every entry of `source` into `target`, counters at zero; what is there already stays."""
    return _Migration(kernel, source, target, rules, COPY, None).once()


def drain(kernel: Kernel, source: Fd, target: Fd, rules: Conversion, locks: Fd | None = None) -> Moved:
    """Move everything. `locks`: the bridge's, when one serves. KernelError when something would not move.

    Nobody but a bridge may use `source` any more: wait at a barrier after the swap, first.
    """
    info = kernel.maps.info(source)
    if info.type in ARRAY_TYPES or info.type in PERCPU_TYPES:
        return _Migration(kernel, source, target, rules, MERGE, locks).once()
    return _Migration(kernel, source, target, rules, DRAIN, locks).until_empty()


class _Migration:
    """One pass over one pair of maps."""

    def __init__(self, kernel: Kernel, source: Fd, target: Fd, rules: Conversion, how: int, locks: Fd | None) -> None:
        self._kernel, self._source, self._target = kernel, source, target
        self._rules, self._how, self._locks = rules, how, locks
        self._from, self._to = kernel.maps.info(source), kernel.maps.info(target)
        self._everywhere = self._from.type in PERCPU_TYPES  # each CPU moves its own slots
        cpus = sorted(os.sched_getaffinity(0))
        self._cpus = cpus if self._everywhere else cpus[: 1 << (len(cpus).bit_length() - 1)]

    def once(self) -> Moved:
        """One run over everything on each CPU that has a part of it."""
        cpus = self._cpus if self._everywhere else self._cpus[:1]
        loaded = self._load(shards=1)
        try:
            for cpu in cpus:
                self._run(loaded, budget=0xFFFFFFFF, shard=0, cpu=cpu)
            return self._checked(self._moved(loaded))
        finally:
            loaded.close()

    def until_empty(self) -> Moved:
        """Chunks on all CPUs at once until the source is empty."""
        shards = len(self._cpus)
        loaded = self._load(shards=shards)
        try:
            with ThreadPoolExecutor(shards) as pool:
                parts = pool.map(lambda n: self._work(loaded, n, self._cpus[n]), range(shards))
                list(parts)
            left = self._kernel.maps.count(self._source)
            moved = self._checked(self._moved(loaded))
            if left:
                raise KernelError("drain", 11, f"{self._from.name}: {left} entries would not move")
            return moved
        finally:
            loaded.close()

    def _work(self, loaded: Loaded, shard: int, cpu: int) -> None:
        """Run until a run visits nothing any more."""
        before = -1
        for _ in range(1 << 20):
            self._run(loaded, budget=CHUNK, shard=shard, cpu=cpu)
            moved = self._moved(loaded, cpu)
            if moved.stuck or moved.visited == before:
                return
            before = moved.visited

    def _run(self, loaded: Loaded, *, budget: int, shard: int, cpu: int) -> None:
        data = struct.pack("=2I", budget, shard).ljust(64, b"\0")
        if self._kernel.progs.run(loaded.progs["migrate"], data, cpu=cpu) != 2:  # XDP_PASS
            raise KernelError("BPF_PROG_RUN", 5, "migrate")

    def _load(self, *, shards: int) -> Loaded:
        numbers = {
            "key_size": self._from.key_size,
            "new_key_size": self._to.key_size,
            "pass": self._how,
            "shards": shards,
            "slots": self._from.type in ARRAY_TYPES,
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
                "table": pack_table(0, self._rules.value, self._rules.key, per_cpu=self._everywhere),
            },
            reuse=reuse,
        )
        return self._kernel.progs.load(request)

    def _moved(self, loaded: Loaded, cpu: int | None = None) -> Moved:
        rows = list(RESULT.iter_unpack(self._kernel.maps.lookup(loaded.maps["results"], bytes(4)) or b""))
        numbers = rows[cpu] if cpu is not None else tuple(sum(column) for column in zip(*rows, strict=True))
        return Moved(**dict(zip(Moved.__dataclass_fields__, numbers, strict=True)))

    def _checked(self, moved: Moved) -> Moved:
        """KernelError when entries stayed behind; they are whole, in the source."""
        if moved.unfit:
            raise KernelError("drain", 34, f"{self._from.name}: {moved.unfit} values do not fit a narrowed field")
        if moved.failed:
            raise KernelError("drain", 28, f"{self._to.name} is full: {moved.failed} entries stayed in the old map")
        if moved.lock_failed:
            raise KernelError("drain", 11, f"{self._from.name}: {moved.lock_failed} entries were locked for too long")
        return moved
