"""config.{entries,map,program}.*: every entry of a config map changed, each of the three ways, at four sizes.

The time is that of a whole `reloader apply` from CSV. The mixture is seen by packets: lab/bpf/config_pair reads the
first and the last entry in the order they are written in, and notes when the two were of different generations.
May import lab and reloader.
"""

from __future__ import annotations

import ipaddress
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.rows import Aim, Row, in_turn, median, note
from bench.stage import BUILT, Stage, stage
from lab.sandbox import LabError
from lab.traffic import Generator
from reloader.bpf.live import LiveKernel

SIZES = {"1": 1, "1k": 1000, "100k": 100_000, "1m": 1_000_000}
WAYS = ("entries", "map", "program")
RUNS = {"1": 7, "1k": 7, "100k": 5, "1m": 3}
RATE = 200_000  # packets a second, for those that last some ms; shorter ones are looked for at full speed
FIRST = int(ipaddress.IPv4Address("10.0.0.0"))
SEEN = struct.Struct("=6Q")  # struct seen
YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: pair}}
spec:
  objects: [pair.bpf.o]
  rodata: {{first_key: {first}, last_key: {last}}}
  attach:
    - {{program: watch, type: xdp, interface: {interface}, mode: native}}
  maps:
    seen: {{role: state}}
    classes: {{role: config, entries: [{{key: 1, value: {{stamp: 1}}}}]}}
    rules: {{role: config, apply: {way}, {keep}from: {{csv: rules.csv}}}}
"""


def rows() -> list[Row]:
    found: list[Row] = []
    with stage() as opened, Generator(opened.sandbox.tx, flows=16) as generator:
        shutil.copyfile(BUILT / "lab/bpf/config_pair.bpf.o", opened.folder / "pair.bpf.o")
        for size, entries in SIZES.items():
            note(f"config: {entries:,} entries, all changed, {RUNS[size]} times each of three ways")
            found += _rows(size, Pair(opened, generator, entries), RUNS[size])
        note("config: the same with counters that are carried over")
        found += _kept_rows(Pair(opened, generator, SIZES["100k"], keep="keep: [hits], "))
    return found


def _rows(size: str, pair: Pair, runs: int) -> Iterator[Row]:
    pair.apply("entries")
    times = in_turn(runs, *(lambda w=way: pair.seconds(w) for way in WAYS))
    mixtures = [[pair.mixture(way) for _ in range(runs)] for way in WAYS]
    program = median(times[-1]) * 1000
    for way, seconds, mixed in zip(WAYS, times, mixtures, strict=True):
        beside = {} if way == "program" else {"baseline": "a new load, as many entries", "baseline_value": program}
        yield Row(name=f"config.{way}.{size}", value=median(seconds) * 1000, unit="ms", n=runs, **beside)  # type: ignore[arg-type]
        aim = None if way == "entries" else Aim(of="value", most=0)
        yield Row(name=f"config.{way}.{size}.mixture", value=max(mixed), unit="ms", n=runs, aim=aim)


def _kept_rows(pair: Pair) -> Iterator[Row]:
    pair.apply("entries")
    for way, seconds in zip(WAYS, in_turn(3, *(lambda w=way: pair.seconds(w) for way in WAYS)), strict=True):
        yield Row(name=f"config.{way}.100k.kept", value=median(seconds) * 1000, unit="ms", n=3)


@dataclass(slots=True)
class Pair:
    """The reader with so many entries, and the means to change them all."""

    stage: Stage
    generator: Generator
    entries: int
    keep: str = ""
    stamp: int = 1
    kernel: LiveKernel = field(default_factory=LiveKernel)

    def apply(self, way: str) -> float:
        """Another stamp for every entry; seconds of the whole command."""
        self.stamp += 1
        last = FIRST + self.entries - 1
        lines = "".join(f"{number_text(n)},{self.stamp}\n" for n in range(FIRST, last + 1))
        (self.stage.folder / "rules.csv").write_text(f"key,stamp\n{lines}")
        text = YAML.format(
            first=number_text(FIRST), last=number_text(last), way=way, keep=self.keep,
            interface=self.stage.sandbox.rx.interface,
        )  # fmt: skip
        path = self.stage.folder / "pair.yaml"
        path.write_text(text)
        return self.stage.seconds("apply", path)

    def seconds(self, way: str) -> float:
        """Without traffic, and with what was asked for done."""
        took = self.apply(way)
        with self.kernel.pins.get(f"{self.stage.sandbox.bpffs}/pair/pub/rules") as fd:
            values = self.kernel.maps.items(fd).values()
        if len(values) != self.entries or {v[:4] for v in values} != {self.stamp.to_bytes(4, "little")}:
            raise LabError(f"apply: {way} left other entries than were asked for")
        return took

    def mixture(self, way: str) -> float:
        """Milliseconds from the first to the last packet that saw two generations; 0 when none did."""
        with self.kernel.pins.get(f"{self.stage.sandbox.bpffs}/pair/pub/seen") as fd:
            self.kernel.maps.update_many(fd, [bytes(4)], [bytes(SEEN.size)])
            self.generator.start(rate=RATE if self.entries > SIZES["1k"] else None)
            try:
                self.apply(way)
            finally:
                self.generator.stop()
            packets, mixed, _, _, first, last = SEEN.unpack(self.kernel.maps.lookup(fd, bytes(4)) or b"")
        if packets < 100:
            raise LabError(f"only {packets} packets came by")
        return float(last - first) / 1e6 if mixed else 0.0


def number_text(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
