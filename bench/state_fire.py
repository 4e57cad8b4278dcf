"""state.conserved and its kin: a state map changes its layout again and again under full traffic, and what is lost.

Whole transactions as `apply` and `rollback` run them, beside what a script would do by hand, in the same run.
Flows come and go meanwhile: some are born before each conversion and die during it, some are born during it; and
in phases of their own, busy ones are born at the worst moment, just before the swap.
May import lab and reloader.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.entries import KERNEL
from bench.rows import note, stopwatch
from bench.stage import BUILT
from lab.sandbox import LabError, Sandbox
from lab.traffic import Generator
from reloader import fault_points
from reloader.disk.lock import writer_of
from reloader.engine.apply_request import ApplyRequest
from reloader.kernel.host import Host
from reloader.lifecycle.apply import apply as apply_version
from reloader.lifecycle.remove import remove as remove_pipeline
from reloader.lifecycle.rollback import rollback as roll_back
from reloader.paths import Paths
from reloader.pipeline.compile import Compiled, compile_file

CONVERSIONS = 70  # by apply, v1 and v2 in turn
ROLLBACKS = 15  # more, each there by apply and back by rollback: 100 in all
WORST = 10  # conversions with flows born just before the swap, with the header and without
FLOWS = 10_000
MORTALS = 400  # flows of either kind that come and go with a conversion
NEWBORN = 2_000  # flows, each with a packet every 10 ms
BURST = 200  # of their packets at a time, so that they find room in the receiver's ring
PLAIN, DELETE = 9, 10  # destination ports: count a packet, or delete the flow it would be counted in
BEFORE, DURING, LAST = "192.0.2.7", "192.0.2.8", "192.0.2.9"  # destinations of flows that are born then
COUNTERS = struct.Struct("=4Q")  # struct state_counters
LAYOUTS = Path(__file__).with_name("layouts")
PIPELINE = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge}}
spec:
  objects: [{object}.bpf.o]
  stateSchema: flow-state
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
  maps:
    flows: {{role: state}}
    counters: {{role: state}}
"""
PACKETS_AT = {1: 0, 2: 16}  # where a version's flow holds its packets
WITH_HEADER = {1: "flow_state_v1", 2: "flow_state_v2"}
WITHOUT = {1: "flow_state_plain", 2: "flow_state_plain_v2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """struct state_counters, over all CPUs."""

    packets: int
    created: int
    failed: int
    deleted: int


@dataclass(slots=True, kw_only=True)
class Losses:
    """Of some conversions in a row."""

    conversions: int = 0
    updates: int = 0  # packets the program saw that no flow holds, also those it found no room for
    unknown: int = 0  # packets of established flows that met no entry
    resurrected: int = 0  # flows that were there after their deletion
    uncertain: int = 0  # conversions in which a deleting packet may have been dropped on its way
    packets: int = 0
    seconds: list[float] = field(default_factory=list)


class Edge:
    """A pipeline of two versions on the sandbox's receiving end."""

    def __init__(self, sandbox: Sandbox, objects: dict[int, str]) -> None:
        self.sandbox = sandbox
        self.host = Host(kernel=KERNEL, paths=Paths(bpffs=sandbox.bpffs, records=sandbox.records))
        folder = sandbox.dir / objects[1]
        shutil.copytree(LAYOUTS, folder / "state")
        self.compiled = {number: self._compile(folder, name) for number, name in objects.items()}
        self.version = 0

    def _compile(self, folder: Path, name: str) -> Compiled:
        shutil.copyfile(BUILT / "lab/bpf" / f"{name}.bpf.o", folder / f"{name}.bpf.o")
        path, rx = folder / f"{name}.yaml", self.sandbox.rx
        path.write_text(PIPELINE.format(object=name, interface=rx.interface, netns=rx.netns))
        return compile_file(path)[0]

    def apply(self, version: int) -> None:
        made = self.compiled[version]
        blobs = {**made.objects, **made.entries}
        with writer_of(self.host) as writer:
            apply_version(writer, ApplyRequest(wish=made.wish, blobs=blobs, lossy_rollback=True))
        self.version = version

    def turn(self) -> None:
        """The other version."""
        self.apply(3 - self.version)

    def rollback(self) -> None:
        with writer_of(self.host) as writer:
            roll_back(writer, "edge", None)
        self.version = 3 - self.version

    def remove(self) -> None:
        with writer_of(self.host) as writer:
            remove_pipeline(writer, "edge", drop_state=True)

    def counts(self) -> Counts:
        with KERNEL.pins.get(f"{self.sandbox.bpffs}/edge/pub/counters") as fd:
            columns = zip(*COUNTERS.iter_unpack(KERNEL.maps.lookup(fd, bytes(4)) or b""), strict=True)
        packets, created, failed, deleted = map(sum, columns)
        return Counts(packets=packets, created=created, failed=failed, deleted=deleted)

    def flows(self) -> dict[bytes, int]:
        """Packets by flow."""
        with KERNEL.pins.get(f"{self.sandbox.bpffs}/edge/pub/flows") as fd:
            items, at = KERNEL.maps.items(fd), PACKETS_AT[self.version]
        return {key: struct.unpack_from("=Q", value, at)[0] for key, value in items.items()}


class Churn:
    """Flows that come and go, each with a single packet in its life, from a CPU of their own."""

    def __init__(self, sandbox: Sandbox, stack: contextlib.ExitStack) -> None:
        self.sandbox = sandbox
        self.senders = {
            (destination, port): stack.enter_context(
                Generator(sandbox.tx, flows=MORTALS, destination=destination, port=port, cpu=0)
            )
            for destination in (BEFORE, DURING)
            for port in (PLAIN, DELETE)
        }

    def send(self, destination: str, port: int, pause: float = 0.002) -> None:
        """One packet of each flow."""
        sender = self.senders[destination, port]
        for _ in range(MORTALS // BURST):
            sender.send(BURST)
            time.sleep(pause)

    @contextlib.contextmanager
    def around(self, edge: Edge, losses: Losses) -> Iterator[None]:
        """Births before and during what happens inside, deaths during and after it."""
        self.send(BEFORE, PLAIN)
        dropped = self.sandbox.tx.tx_dropped()
        work = [threading.Thread(target=self.send, args=(BEFORE, DELETE, 0)),
                threading.Thread(target=self.send, args=(DURING, PLAIN, 0))]  # fmt: skip
        for thread in work:
            thread.start()
        try:
            yield
        finally:
            for thread in work:
                thread.join()
        time.sleep(0.02)
        alive = len(of(edge.flows(), BEFORE))
        if self.sandbox.tx.tx_dropped() == dropped:
            losses.resurrected += alive
        else:
            losses.uncertain += 1
        self.bury(edge)

    def bury(self, edge: Edge) -> None:
        """Delete what is left, so that every mortal flow has one packet in each of its lives."""
        for destination in (BEFORE, DURING):
            bury(edge, destination, functools.partial(self.send, destination, DELETE, 0))


def bury(edge: Edge, destination: str, send: Callable[[], object]) -> None:
    """Have flows deleted until none is left: packets that say so may be dropped on their way."""
    for _ in range(100):
        if not of(edge.flows(), destination):
            return
        send()
        time.sleep(0.02)
    raise LabError(f"flows to {destination} would not be deleted")


def of(flows: dict[bytes, int], destination: str) -> dict[bytes, int]:
    """The flows to an address."""
    wanted = bytes(map(int, destination.split(".")))
    return {key: packets for key, packets in flows.items() if key[4:8] == wanted}


def established(edge: Edge) -> None:
    """Return once all lasting flows are there."""
    for _ in range(200):
        if len(edge.flows()) == FLOWS:
            return
        time.sleep(0.02)
    raise LabError("the flow table does not fill up")


def under_fire(edge: Edge, generator: Generator, churn: Churn, steps: list[Callable[[], None]]) -> Losses:
    """Take each step under full traffic; then every packet must be in a flow, or have been deleted with one."""
    losses = Losses(conversions=len(steps))
    generator.start()
    established(edge)
    churn.bury(edge)
    before = edge.counts()
    for step in steps:
        with churn.around(edge, losses):
            losses.seconds.append(stopwatch(step))
    generator.stop()
    time.sleep(0.3)  # what is queued at the receiver
    now = edge.counts()
    died = now.deleted - losses.resurrected  # those died twice
    losses.updates = now.packets - sum(edge.flows().values()) - died
    losses.unknown = now.created - before.created - (died - before.deleted)
    losses.packets = now.packets - before.packets
    return losses


@contextlib.contextmanager
def births_at_the_swap(sender: Generator) -> Iterator[None]:
    """Let `sender` begin just before the first link is swapped, and end with what happens inside."""
    begun: list[str] = []

    def gate(when: str, effect: str) -> None:
        if effect == "link.update" and not begun:
            begun.append(effect)
            sender.start(rate=NEWBORN * 100)
            time.sleep(0.03)

    fault_points.install(gate)
    try:
        yield
    finally:
        fault_points.install(None)
        sender.stop()


def with_newborn(edge: Edge, generator: Generator, sandbox: Sandbox, steps: list[Callable[[], None]]) -> Losses:
    """The same with births just before the swap: every packet that met no entry must have made a new one.

    Flows have many packets here, so what those held that were deleted nobody knows: updates are not looked at.
    """
    losses, killers = Losses(conversions=len(steps)), {"port": DELETE, "flows": NEWBORN}
    with (
        Generator(sandbox.tx, flows=NEWBORN, destination=LAST, cpu=0) as sender,
        Generator(sandbox.tx, destination=LAST, cpu=0, **killers) as killer,
    ):
        generator.start()
        established(edge)
        before = edge.counts()
        for step in steps:
            with births_at_the_swap(sender):
                losses.seconds.append(stopwatch(step))
            bury(edge, LAST, lambda: [killer.send(BURST) for _ in range(NEWBORN // BURST)])
        generator.stop()
    time.sleep(0.3)
    now = edge.counts()
    losses.unknown = now.created - before.created - (now.deleted - before.deleted)
    losses.packets = now.packets - before.packets
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """What the phases found, all in one run."""

    there: Losses
    back: Losses
    newborn: Losses
    foreign: Losses  # as newborn, without the header

    @property
    def conversions(self) -> int:
        return self.there.conversions + self.back.conversions

    def total(self, what: str) -> int:
        return sum(getattr(phase, what) for phase in (self.there, self.back, self.newborn))


def measure(conversions: int = CONVERSIONS, rollbacks: int = ROLLBACKS, worst: int = WORST) -> Fire:
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        generator = stack.enter_context(Generator(sandbox.tx, flows=FLOWS))
        churn = Churn(sandbox, stack)
        edge = Edge(sandbox, WITH_HEADER)
        edge.apply(1)
        note(f"state: {conversions} conversions there and back under full traffic")
        there = under_fire(edge, generator, churn, [edge.turn] * conversions)
        note(f"state: {rollbacks} conversions and {rollbacks} rollbacks")
        back = under_fire(edge, generator, churn, [edge.turn, edge.rollback] * rollbacks)
        note(f"state: {worst} conversions with flows born just before the swap, then as many without the header")
        newborn = with_newborn(edge, generator, sandbox, [edge.turn] * worst)
        edge.remove()
        plain = Edge(sandbox, WITHOUT)
        plain.apply(1)
        foreign = with_newborn(plain, generator, sandbox, [plain.turn] * worst)
    return Fire(there=there, back=back, newborn=newborn, foreign=foreign)
