"""Packets in numbers known to the unit: an XDP program run on live frames, sent into a sandbox's veth.

    with Generator(sandbox.tx, flows=10_000) as generator:
        generator.start()             # full speed; start(rate=100_000) for so many packets a second
        ...                           # reload something on sandbox.rx
        generator.stop()
        lost = settle(generator, lambda: read_seen(maps, flows, counters).packets).lost

sent is what the program handed to the interface, dropped what the interface says it could not queue
(veth's ring overflows when CPUs are short, reload or not), seen what the program under test counted:
lost = sent − dropped − seen.

The generator is a process of its own, pinned to one CPU, in the sending namespace; it ends when its
parent does: lab/sender.py. May import reloader.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from lab.sandbox import End, LabError
from reloader.kernel import Fd, Maps

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = "02:00:00:00:00:99"  # as destination: the receiving stack drops at once what XDP passes
FLOW_COUNTERS = struct.Struct("=9Q")  # struct flow_counters
FLOW = struct.Struct("=2Q")  # struct flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the generating process is told."""

    interface: str
    flows: int  # source addresses and ports, in turn; from 10.0.0.1:1024 on
    length: int  # bytes of a frame, Ethernet header included
    destination: str
    mac: str
    source_mac: str
    port: int
    cpu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Sums since the generator was made."""

    sent: int
    dropped: int  # by the sending interface, for lack of room in the receiver's ring

    @property
    def delivered(self) -> int:
        return self.sent - self.dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Traffic beside what was seen of it, once both stand still."""

    traffic: Traffic
    seen: int

    @property
    def lost(self) -> int:
        return self.traffic.delivered - self.seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What flow_count says of its packets."""

    packets: int  # all the program ran on
    in_flows: int  # the sum over its flows
    uncounted: int  # in no flow, by one of the named reasons
    flows: int  # entries
    unknown: int  # packets that met no entry of their flow: the first of each, unless one was forgotten

    @property
    def missing(self) -> int:
        """Packets that the program saw and its state does not hold: 0 while nothing is forgotten."""
        return self.packets - self.in_flows - self.uncounted


class Generator:
    """A process that sends; counts since it was made."""

    def __init__(
        self,
        end: End,
        *,
        flows: int = 1000,
        length: int = 64,
        destination: str = "192.0.2.1",
        cpu: int | None = None,
        port: int = 9,
    ) -> None:
        last = max(os.sched_getaffinity(0))
        self._end = end
        self._settings = Settings(
            interface=end.interface,
            flows=flows,
            length=length,
            destination=destination,
            mac=ELSEWHERE,
            source_mac=end.mac,
            port=port,
            cpu=last if cpu is None else cpu,
        )
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Generator:
        words = [sys.executable, "-m", "lab.sender", json.dumps(asdict(self._settings))]
        self._process = subprocess.Popen(
            self._end.command(*words), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self._receive()  # it is loaded and ready
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, *, rate: int | None = None) -> None:
        """Send `rate` packets a second; None: as many as the CPU can."""
        self._ask(f"start {rate or 0}")

    def stop(self) -> Traffic:
        """Return when no frame is being sent any more; the receiver may still have some queued (see settle)."""
        return self._ask("stop")

    def send(self, packets: int) -> Traffic:
        """Send so many, as fast as possible, and return when they are sent."""
        return self._ask(f"send {packets}")

    def traffic(self) -> Traffic:
        """The sums so far, also while it sends."""
        return self._ask("read")

    def close(self) -> None:
        """End the process; closing twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipes, which ends it, and waits
            pass

    def _ask(self, command: str) -> Traffic:
        process = self._running()
        try:
            print(command, file=process.stdin, flush=True)
        except BrokenPipeError:
            raise LabError("the traffic generator has died") from None
        return self._receive()

    def _receive(self) -> Traffic:
        answer = self._running().stdout
        line = answer.readline() if answer else ""
        if not line:
            raise LabError("the traffic generator has died")
        return Traffic(**json.loads(line))

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise LabError("the traffic generator is closed")
        return self._process


def settle(generator: Generator, seen: Callable[[], int], *, quiet: float = 0.5) -> Balance:
    """The balance of a stopped generator: as soon as nothing is missing, or nothing has moved for `quiet` seconds."""
    balance, moved = Balance(traffic=generator.traffic(), seen=seen()), time.monotonic()
    while balance.lost != 0 and time.monotonic() < moved + quiet:
        time.sleep(0.02)
        now = Balance(traffic=generator.traffic(), seen=seen())
        if now != balance:
            balance, moved = now, time.monotonic()
    return balance


def read_seen(maps: Maps, flows: Fd, counters: Fd) -> Seen:
    """flow_count's `flows` and `counters`, summed up."""
    packets, *reasons = _sum_over_cpus(maps.lookup(counters, bytes(4)) or b"")
    values = maps.items(flows).values()
    return Seen(
        packets=packets,
        in_flows=sum(FLOW.unpack(value)[0] for value in values),
        uncounted=sum(reasons[:4]),
        flows=len(values),
        unknown=reasons[7],
    )


def _sum_over_cpus(value: bytes) -> list[int]:
    return [sum(column) for column in zip(*FLOW_COUNTERS.iter_unpack(value), strict=True)]
