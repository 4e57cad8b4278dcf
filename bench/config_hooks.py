"""config.mixed_pairs: packets that met two versions at two hooks, with the generation gate and without.
config.lookup_ns: what a packet pays for a config map that can be exchanged. May import lab and reloader.
"""

from __future__ import annotations

import functools
import shutil
import struct
import time

from bench.rows import Aim, Row, in_turn, median, note
from bench.stage import BUILT, Stage, stage
from lab.sandbox import LabError
from lab.traffic import Generator
from reloader.bpf import syscall
from reloader.bpf.live import LiveKernel
from reloader.kernel import Fd, LoadRequest

RELOADS = 30
TURNS = 15
CALLS = 1_000_000  # runs of a program in one system call
PAIRS = struct.Struct("=3Q")  # struct pairs
YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: pair}}
spec:
  objects: [gate.bpf.o]
  rodata: {{version: {version}, gated: {gated}}}
  gate: {gate}
  attach:
    - {{program: enter, type: xdp, interface: {interface}, mode: native}}
    - {{program: leave, type: tcx, interface: {interface}}}
  maps:
    pairs: {{role: state}}
"""
KERNEL = LiveKernel()


def rows() -> list[Row]:
    return [mixed_pairs(), lookup_ns()]


def mixed_pairs() -> Row:
    with stage() as opened, Generator(opened.sandbox.tx, flows=16) as generator:
        shutil.copyfile(BUILT / "lab/bpf/gate_pair.bpf.o", opened.folder / "gate.bpf.o")
        note(f"config: two hooks changed {RELOADS} times under full traffic, with the gate and without")
        without, packets = _mixed(opened, generator, gated=False)
        opened.seconds("remove", "pair", "--state")
        with_gate, more = _mixed(opened, generator, gated=True)
    text = f"without the gate, of {packets:,} packets"
    return Row(
        name="config.mixed_pairs", value=with_gate, unit=f"packets of {more:,}", n=RELOADS, baseline=text,
        baseline_value=without, aim=Aim(of="value", most=0),
    )  # fmt: skip


def _mixed(opened: Stage, generator: Generator, *, gated: bool) -> tuple[int, int]:
    """(packets that met two versions, packets)."""
    _apply(opened, 1, gated=gated)
    generator.start()
    for version in range(2, RELOADS + 2):
        _apply(opened, version, gated=gated)
    generator.stop()
    with KERNEL.pins.get(f"{opened.sandbox.bpffs}/pair/pub/pairs") as fd:
        entered, left, mixed = _settled(fd)
    if entered != left or not entered:
        raise LabError(f"{entered:,} packets came to the first hook, {left:,} to the second")
    return mixed, left


def _settled(fd: Fd) -> tuple[int, int, int]:
    deadline = time.monotonic() + 2
    while True:
        entered, left, mixed = PAIRS.unpack(KERNEL.maps.lookup(fd, bytes(4)) or b"")
        if entered == left or time.monotonic() > deadline:
            return entered, left, mixed
        time.sleep(0.02)


def _apply(opened: Stage, version: int, *, gated: bool) -> None:
    path = opened.folder / "pair.yaml"
    words = {"version": version, "gated": int(gated), "gate": str(gated).lower()}
    path.write_text(YAML.format(interface=opened.sandbox.rx.interface, **words))
    opened.seconds("apply", path)


def lookup_ns() -> Row:
    note(f"config: one look-up, plain and exchangeable, {TURNS} times {CALLS:,} packets")
    image = (BUILT / "lab/bpf/config_cost.bpf.o").read_bytes()
    loaded = KERNEL.progs.load(LoadRequest(objects=(image,), name="cost", programs=("plain", "exchanged")))
    try:
        KERNEL.maps.update_many(loaded.maps["rules"], [bytes(4)], [b"\1" * 8])
        plain, exchanged = in_turn(
            TURNS, *(functools.partial(_ns, loaded.progs[name]) for name in ("plain", "exchanged"))
        )
    finally:
        loaded.close()
    return Row(
        name="config.lookup_ns", value=median(exchanged), unit="ns a packet", n=TURNS,
        baseline="the same program with a plain look-up", baseline_value=median(plain),
    )  # fmt: skip


def _ns(program: Fd) -> float:
    done = syscall.prog_test_run(program.fileno(), data=bytes(64), repeat=CALLS)
    if done.retval != 2:
        raise LabError(f"the program returned {done.retval}: its entry is not there")
    return float(done.duration_ns)
