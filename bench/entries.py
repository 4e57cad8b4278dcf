"""Maps full of entries, made and summed up inside the kernel: the stock of the state bench. May import lab.

Entry n has n + 1 packets and 64 times as many bytes, so that whatever goes missing shows in the sum.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from dataclasses import dataclass

from bench.host import undisturbed
from bench.rows import stopwatch
from lab.sandbox import LabError
from lab.traffic import ROOT
from reloader.bpf import syscall
from reloader.bpf.live import LiveKernel
from reloader.convert import migrate
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES, Fd, LoadRequest, MapType
from reloader.layouts.rules import Conversion, Op, Rule

OBJECT = ROOT / "build" / "bpf" / "lab" / "bpf" / "fill.bpf.o"
PIECE = 65_536  # inserts a run, so that filling itself keeps no CPU for long
OLD, NEW = 16, 32  # bytes of a value: {packets, bytes} and {bytes, first_ns, packets, mark}
KERNEL = LiveKernel()


def _rule(source: int, target: int, op: Op = Op.SUM, imm: int = 0) -> Rule:
    return Rule(op=op, src_off=source, dst_off=target, src_size=8, dst_size=8, imm=imm)


def conversion(key_size: int = 16) -> Conversion:
    """{packets, bytes} to {bytes, first_ns, packets, mark}: reordered and grown."""
    return Conversion(
        key=(), value=(_rule(0, 16), _rule(8, 0), _rule(0, 8, Op.CONST, imm=777)),
        old_key_size=key_size, new_key_size=key_size, old_value_size=OLD, new_value_size=NEW,
    )  # fmt: skip


def back(key_size: int = 16) -> Conversion:
    return Conversion(
        key=(), value=(_rule(16, 0), _rule(0, 8)),
        old_key_size=key_size, new_key_size=key_size, old_value_size=NEW, new_value_size=OLD,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of map with room for so many."""

    type: MapType
    room: int

    @property
    def indexed(self) -> bool:
        return self.type in ARRAY_TYPES

    @property
    def key_size(self) -> int:
        return 4 if self.indexed else 16

    @property
    def cpus(self) -> list[int]:
        """Those that have values of their own; one where all share theirs."""
        return sorted(os.sched_getaffinity(0)) if self.type in PERCPU_TYPES else [0]


class Stock:
    """A map, and the programs that fill it and sum it up."""

    def __init__(self, shape: Shape, value_size: int) -> None:
        self.shape = shape
        self.fd = Fd(
            syscall.map_create(
                kind=shape.type, name="stock", key_size=shape.key_size, value_size=value_size, max_entries=shape.room
            )
        )
        numbers = {"indexed": shape.indexed, "summed": 0 if value_size == OLD else 16}
        request = LoadRequest(
            objects=(OBJECT.read_bytes(),),
            name="fill",
            programs=("fill", "tally"),
            rodata={name: int(value).to_bytes(4, "little") for name, value in numbers.items()},
            reuse={"filled": self.fd},
        )
        self._loaded = KERNEL.progs.load(request)

    def __enter__(self) -> Stock:
        return self

    def __exit__(self, *exc: object) -> None:
        self._loaded.close()
        self.fd.close()

    def fill(self, count: int, *, piece: int = PIECE) -> float:
        """Insert entries 0 to count - 1, on every CPU that has values of its own; the seconds that took."""
        with undisturbed():
            seconds = sum(stopwatch(functools.partial(self._fill, count, piece, cpu)) for cpu in self.shape.cpus)
        if self._bss()[0]:
            raise LabError(f"the kernel refused {self._bss()[0]:,} of {count:,} inserts")
        return seconds

    def _fill(self, count: int, piece: int, cpu: int) -> None:
        for first in range(0, count, piece):
            packet = struct.pack("=2I", first, min(piece, count - first)).ljust(64, b"\0")
            KERNEL.progs.run(self._loaded.progs["fill"], packet, cpu=cpu)

    def tally(self) -> tuple[int, int]:
        """(entries with packets, the packets), over all CPUs."""
        before = self._bss()
        for cpu in self.shape.cpus:
            KERNEL.progs.run(self._loaded.progs["tally"], bytes(64), cpu=cpu)
        _, entries, packets = (now - then for now, then in zip(self._bss(), before, strict=True))
        return entries, packets

    def _bss(self) -> tuple[int, int, int]:
        failed, entries, packets = struct.unpack("=3Q", KERNEL.maps.lookup(self._loaded.maps[".bss"], bytes(4)) or b"")
        return failed, entries, packets


def drain(source: Stock, target: Stock, *, guarded: bool = False) -> float:
    """Seconds reloader takes, the loading of its migration program included; LabError unless all arrived.

    `guarded`: with the locks of a bridge, though none serves here.
    """
    held = source.tally()
    rules = conversion(source.shape.key_size)
    with contextlib.ExitStack() as stack:
        locks = stack.enter_context(_locks()) if guarded else None
        stack.enter_context(undisturbed())
        seconds = stopwatch(lambda: migrate.drain(KERNEL, source.fd, target.fd, rules, locks))
    if target.tally() != held or source.tally()[1]:
        raise LabError(f"{held} became {target.tally()}, and {source.tally()} stayed")
    return seconds


def _locks() -> Fd:
    """As rl_locks of reloader_rules.h."""
    return Fd(syscall.map_create(kind=MapType.ARRAY, name="rl_locks", key_size=4, value_size=8, max_entries=4096))
