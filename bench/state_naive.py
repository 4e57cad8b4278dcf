"""state.naive_lost: what is forgotten when a script carries the flow table over by hand, under full traffic.

Both programs, loaded beforehand, share the map that counts packets. May import lab and reloader.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from bench.entries import KERNEL
from bench.rows import note
from bench.stage import BUILT
from bench.state_fire import COUNTERS, FLOWS, PACKETS_AT, WITHOUT
from lab.naive import attach
from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.kernel import Fd, Loaded, LoadRequest

CONVERSIONS = 8  # each way
FLOW = {1: struct.Struct("=2Q"), 2: struct.Struct("=4Q")}
ORDER = {1: (0, 1), 2: (2, 0)}  # where packets and bytes stand among a version's numbers


class Script:
    """A program on the receiving end, and its flow table in the hands of a script."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.version, self.counters = 1, dict[str, Fd]()
        self.serving = self._load(1)
        self.counters = {"counters": self.serving.maps["counters"]}
        self.link = attach(KERNEL, sandbox, self.serving)

    def _load(self, version: int) -> Loaded:
        image = (BUILT / "lab/bpf" / f"{WITHOUT[version]}.bpf.o").read_bytes()
        return KERNEL.progs.load(
            LoadRequest(objects=(image,), name="script", programs=("count_flows",), reuse=self.counters)
        )

    def copy_then_swap(self) -> None:
        fresh, version = self._load(3 - self.version), 3 - self.version
        self._write(fresh, {k: self._converted(v) for k, v in KERNEL.maps.items(self.serving.maps["flows"]).items()})
        self._swap(fresh, version)

    def swap_then_merge(self) -> None:
        """Read, add and write each entry: what the program counts between the two is overwritten."""
        fresh, version, old = self._load(3 - self.version), 3 - self.version, self.serving.maps["flows"]
        KERNEL.links.update(self.link, new=fresh.progs["count_flows"], old=self.serving.progs["count_flows"])
        KERNEL.barrier()
        moved = {k: self._converted(v) for k, v in KERNEL.maps.items(old).items()}
        there = KERNEL.maps.items(fresh.maps["flows"])
        self._write(fresh, {k: _sum(version, v, there.get(k)) for k, v in moved.items()})
        self._retire(fresh, version)

    def _converted(self, value: bytes) -> bytes:
        numbers = FLOW[self.version].unpack(value)
        packets, size = (numbers[at] for at in ORDER[self.version])
        return _flow(3 - self.version, packets, size)

    def _write(self, fresh: Loaded, entries: dict[bytes, bytes]) -> None:
        KERNEL.maps.update_many(fresh.maps["flows"], list(entries), list(entries.values()))

    def _swap(self, fresh: Loaded, version: int) -> None:
        KERNEL.links.update(self.link, new=fresh.progs["count_flows"], old=self.serving.progs["count_flows"])
        self._retire(fresh, version)

    def _retire(self, fresh: Loaded, version: int) -> None:
        for fd in (*self.serving.progs.values(), self.serving.maps["flows"]):
            fd.close()
        self.serving, self.version = fresh, version

    def missing(self) -> int:
        """Packets that the programs saw and the flow table does not hold."""
        counts = COUNTERS.iter_unpack(KERNEL.maps.lookup(self.counters["counters"], bytes(4)) or b"")
        at, values = PACKETS_AT[self.version], KERNEL.maps.items(self.serving.maps["flows"]).values()
        packets: int = sum(c[0] for c in counts) - sum(struct.unpack_from("=Q", v, at)[0] for v in values)
        return packets

    def close(self) -> None:
        self.link.close()
        self.serving.close()


def _flow(version: int, packets: int, size: int) -> bytes:
    return FLOW[1].pack(packets, size) if version == 1 else FLOW[2].pack(size, 0, packets, 0)


def _sum(version: int, value: bytes, there: bytes | None) -> bytes:
    if there is None:
        return value
    both = zip(FLOW[version].unpack(value), FLOW[version].unpack(there), strict=True)
    return FLOW[version].pack(*(a + b for a, b in both))


def lost(way: Callable[[Script], None]) -> float:
    """Updates lost in a conversion, on average."""
    with Sandbox() as sandbox, Generator(sandbox.tx, flows=FLOWS) as generator:
        script = Script(sandbox)
        generator.start()
        for _ in range(CONVERSIONS):
            time.sleep(0.2)
            way(script)
        generator.stop()
        time.sleep(0.3)
        missing = script.missing()
        script.close()
    return missing / CONVERSIONS


def by_hand() -> dict[str, float]:
    note(f"state: by hand, {CONVERSIONS} times each way")
    return {"copy, then swap": lost(Script.copy_then_swap), "swap, then merge": lost(Script.swap_then_merge)}
