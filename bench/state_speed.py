"""state.hash_1m_*, state.type.*, state.growth.*: how fast entries move to another layout. Nobody writes meanwhile.

Beside the kernel's own insert in a loop inside the kernel, a C program with batches, and bpftool; in turn, and all of
them before the machine's other work, which makes two CPUs harder to get than one.
May import lab and reloader.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.entries import KERNEL, NEW, OLD, Shape, Stock, drain
from bench.host import undisturbed
from bench.rows import Aim, Row, in_turn, median, note, stopwatch
from lab.sandbox import LabError, Sandbox, run
from reloader.kernel import MapType

MILLION = 1_000_000
RUNS = 5
TYPES = (
    MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.ARRAY, MapType.PERCPU_ARRAY,
)  # fmt: skip
TYPE_RUNS = 3
GROWTH = {"10k": (10_000, 9), "100k": (100_000, 5), "1m": (MILLION, 3), "4m": (4 * MILLION, 2), "8m": (8 * MILLION, 1)}
LINEAR = 1.5  # "linear", in caches of a fixed size and on a machine that also does other things
FEW = 100_000  # what bpftool is given; it takes as long for each
SOURCE = Path(__file__).with_name("batch_convert.c")
INSIDE = "the kernel's own insert, in a loop inside it, one CPU"


def rows() -> list[Row]:
    return [*against_others(), *by_type(), *growth()]


def shape(kind: MapType, count: int) -> Shape:
    """With room for `count`; an LRU map evicts long before it is full."""
    return Shape(type=kind, room=2 * count if "LRU" in kind.name else count)


def conversion_of(kind: MapType, count: int, *, guarded: bool = False) -> float:
    made = shape(kind, count)
    with Stock(made, OLD) as source, Stock(made, NEW) as target:
        source.fill(count)
        return drain(source, target, guarded=guarded)


def insert(kind: MapType, count: int) -> float:
    """So many entries of the new layout into an empty map: no conversion can be had for less."""
    with Stock(shape(kind, count), NEW) as target:
        return target.fill(count)


# beside others


def against_others() -> list[Row]:
    note(f"state: {MILLION:,} entries, {RUNS} times, by reloader, the kernel's insert, C and bpftool")
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        program = Path(folder) / "batch_convert"
        run("gcc", "-O2", "-pthread", "-o", str(program), str(SOURCE))
        ours, guarded, kernel, batch, threads = in_turn(
            RUNS,
            lambda: conversion_of(MapType.HASH, MILLION),
            lambda: conversion_of(MapType.HASH, MILLION, guarded=True),
            lambda: insert(MapType.HASH, MILLION),
            lambda: c_batch(program, MILLION, 1),
            lambda: c_batch(program, MILLION, 2),
        )
        text = [bpftool(sandbox, FEW) * (MILLION / FEW)]
    scaled = f"bpftool map dump + bpftool batch, {FEW:,} entries, times {MILLION // FEW}"
    return [
        beside("state.hash_1m_vs_kernel_insert", ours, INSIDE, kernel, 1.3),
        beside("state.hash_1m_beside_a_bridge", guarded, f"{INSIDE}; ours takes a lock for each entry", kernel),
        beside("state.hash_1m_vs_c_batch", ours, "a C program, look-up and update in batches", batch, 0.67),
        beside("state.hash_1m_vs_c_batch.threads", ours, "the same in two threads", threads),
        beside("state.hash_1m_vs_bpftool", ours, scaled, text, 0.05),
    ]


def beside(name: str, ours: list[float], text: str, theirs: list[float], most: float | None = None) -> Row:
    return Row(
        name=name, value=median(ours) * 1000, unit="ms", n=len(ours), baseline=text,
        baseline_value=median(theirs) * 1000, aim=Aim(of="ratio", most=most) if most else None,
    )  # fmt: skip


def c_batch(program: Path, count: int, threads: int) -> float:
    """By its own clock: its start and end are not counted."""
    made = shape(MapType.HASH, count)
    with Stock(made, OLD) as source, Stock(made, NEW) as target:
        source.fill(count)
        fds = source.fd.fileno(), target.fd.fileno()
        command = [str(program), *map(str, fds), str(count), str(threads)]
        with undisturbed():
            done = subprocess.run(command, pass_fds=fds, capture_output=True, text=True, check=False)
        if done.returncode or target.tally() != source.tally():
            raise LabError(f"{program.name}: {done.stderr.strip() or 'entries went missing'}")
        return int(done.stdout) / 1e9


def bpftool(sandbox: Sandbox, count: int) -> float:
    """One process that prints the old map, one that reads updates. The script between them costs nothing here."""
    made, folder = shape(MapType.HASH, count), os.path.dirname(sandbox.bpffs)
    with Stock(made, OLD) as source, Stock(made, NEW) as target:
        source.fill(count)
        pins = [f"{folder}/{name}" for name in ("old", "new")]
        for stock, pin in zip((source, target), pins, strict=True):
            KERNEL.pins.pin(stock.fd, pin)
        dumped, script = sandbox.dir / "dumped", sandbox.dir / "updates"
        with undisturbed():
            took = stopwatch(lambda: to_file(dumped, "bpftool", "-j", "map", "dump", "pinned", pins[0]))
        script.write_text("".join(f"map update pinned {pins[1]} {entry}\n" for entry in converted(dumped)))
        with undisturbed():
            took += stopwatch(lambda: run("bpftool", "batch", "file", str(script)))
        for pin in pins:
            KERNEL.pins.unpin(pin)
        if target.tally() != source.tally():
            raise LabError("bpftool left entries out")
    return took


def to_file(path: Path, *command: str) -> None:
    with path.open("wb") as out:
        subprocess.run(command, stdout=out, check=True)


def converted(dumped: Path) -> Iterable[str]:
    """bpftool's entries as its words for the new layout."""
    for entry in json.loads(dumped.read_text()):
        value = [*entry["value"][8:], *["0"] * 8, *entry["value"][:8], *["0"] * 8]
        yield f"key {' '.join(entry['key'])} value {' '.join(value)}"


# by type and by number


def by_type() -> list[Row]:
    rows = []
    for kind in TYPES:
        note(f"state: {MILLION:,} entries of a {kind.name}, {TYPE_RUNS} times")
        ways = [functools.partial(way, kind, MILLION) for way in (conversion_of, insert)]
        ours, kernel = in_turn(TYPE_RUNS, *ways)
        everywhere = ", on each CPU" if "PERCPU" in kind.name else ""
        rows.append(beside(f"state.type.{kind.name.lower()}", ours, INSIDE + everywhere, kernel))
    return rows


def growth() -> list[Row]:
    each: dict[str, float] = {}
    for name, (count, runs) in GROWTH.items():
        note(f"state: {count:,} entries, {runs} times")
        each[name] = median([conversion_of(MapType.HASH, count) for _ in range(runs)]) / count * 1e9
    return [
        Row(
            name=f"state.growth.{name}", value=each[name], unit="ns an entry", n=runs, baseline="an entry among 1m",
            baseline_value=each["1m"], aim=Aim(of="ratio", most=LINEAR) if count > MILLION else None,
        )
        for name, (count, runs) in GROWTH.items()
    ]  # fmt: skip
