"""config.*: 200,000 entries of a config map from CSV, by a whole `reloader apply`. May import lab and reloader.

Beside the kernel's own time for as many: one BPF_MAP_UPDATE_BATCH into an empty map of the same shape.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import config_hooks, config_ways
from bench.rows import Aim, Row, in_turn, median, note, stopwatch
from bench.stage import Stage, stage
from lab.sandbox import LabError
from reloader.bpf import syscall
from reloader.bpf.live import LiveKernel
from reloader.bpf.syscall import Command
from reloader.kernel import Fd, MapType

ENTRIES = 200_000
RUNS = 5
FIRST = int(ipaddress.IPv4Address("10.0.0.0"))
ROOM = 262_144  # as flow_count's blocklist
NO_PREALLOC = 1
VERDICTS = ("XDP_DROP", "XDP_PASS")
LISTED = "from: {csv: blocklist.csv}"
AIM = Aim(of="ratio", most=2)  # "about the time the kernel needs"


def rows() -> list[Row]:
    with stage() as opened:
        table = Table(opened, opened.folder / "blocklist.csv")
        work = Work(opened, table)
        note(f"config: {ENTRIES:,} entries, first filled, then changed, {RUNS} times each")
        first, batch = in_turn(RUNS, work.fill, insert_batch)
        changed, again, peer = in_turn(RUNS, work.change, insert_batch, work.bpftool_batch)
    kernel = "one BPF_MAP_UPDATE_BATCH into an empty map"
    return [
        row("config.entries_200k", changed, kernel, again, AIM),
        row("config.entries_200k.bpftool", changed, "bpftool batch of map updates", peer),
        row("config.entries_200k.first_fill", first, kernel, batch, AIM),
        *config_ways.rows(),
        *config_hooks.rows(),
    ]


def row(name: str, ours: list[float], text: str, theirs: list[float], aim: Aim | None = None) -> Row:
    return Row(
        name=name, value=median(ours) * 1000, unit="ms", n=len(ours), baseline=text,
        baseline_value=median(theirs) * 1000, aim=aim,
    )  # fmt: skip


@dataclass(slots=True)
class Table:
    """The CSV file, with one of two verdicts for every address."""

    stage: Stage
    path: Path
    turn: int = 0

    def write(self) -> None:
        """The other verdict for every address."""
        self.turn = 1 - self.turn
        verdict = VERDICTS[self.turn]
        lines = "".join(f"{address},{verdict}\n" for address in addresses())
        self.path.write_text(f"key,action\n{lines}")


def addresses() -> Iterator[str]:
    for number in range(FIRST, FIRST + ENTRIES):
        yield f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass(slots=True)
class Work:
    stage: Stage
    table: Table

    def fill(self) -> float:
        """From nothing: a load, a fresh map with all entries, a link."""
        self.table.write()
        with contextlib.suppress(LabError):  # nothing to remove the first time
            self.stage.seconds("remove", "edge", "--state")
        return self._apply("a first fill")

    def change(self) -> float:
        """Every entry's value, in place."""
        self.table.write()
        return self._apply("a change of every entry")

    def _apply(self, what: str) -> float:
        ran = self.stage.run(self.stage.reloader("apply", self.stage.write(entries=LISTED), "-o", "json"))
        if not ran.document()["pipelines"][0]["changed"]:
            raise LabError(f"{what} found nothing to do")
        self._check(what)
        return ran.seconds

    def _check(self, what: str) -> None:
        """What was timed must also have happened."""
        kernel = LiveKernel()
        with kernel.pins.get(f"{self.stage.sandbox.bpffs}/edge/pub/blocklist") as fd:
            held = kernel.maps.items(fd)
        if len(held) != ENTRIES or len(set(held.values())) != 1:
            raise LabError(f"{what} left {len(held):,} entries with {len(set(held.values()))} verdicts")

    def bpftool_batch(self) -> float:
        """As many updates in a text file, in one bpftool process."""
        folder = self.stage.sandbox.dir
        pin, script = f"{os.path.dirname(self.stage.sandbox.bpffs)}/peer", folder / "batch"
        kernel = LiveKernel()
        with empty_map() as fd:
            kernel.pins.pin(fd, pin)
        lines = (f"map update pinned {pin} key {a.replace('.', ' ')} value 1 0 0 0\n" for a in addresses())
        script.write_text("".join(lines))
        try:
            return self.stage.run(["bpftool", "batch", "file", str(script)]).seconds
        finally:
            kernel.pins.unpin(pin)


def empty_map() -> Fd:
    return Fd(
        syscall.map_create(
            kind=MapType.HASH, name="peer", key_size=4, value_size=4, max_entries=ROOM, flags=NO_PREALLOC
        )
    )


def insert_batch() -> float:
    """The kernel's own time: keys and values lie ready."""
    keys = b"".join(number.to_bytes(4, "big") for number in range(FIRST, FIRST + ENTRIES))
    values = (1).to_bytes(4, "little") * ENTRIES
    with empty_map() as fd:
        at = {"keys": syscall.address(keys), "values": syscall.address(values)}
        return stopwatch(lambda: syscall.map_batch(Command.BPF_MAP_UPDATE_BATCH, fd.fileno(), count=ENTRIES, **at))
