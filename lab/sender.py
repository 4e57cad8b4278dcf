"""The traffic generator's process: `python -m lab.sender SETTINGS` in the sending network namespace.

Reads commands from standard input (start RATE, stop, send N, read) and answers each with one line of
JSON, the sums so far. Ends when its input does. Started by lab/traffic.py; may import reloader,
reloader.bpf included.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path

from lab.traffic import ROOT, Settings, Traffic
from reloader.kernel import Kernel, Loaded, LoadRequest

OBJECT = ROOT / "build" / "bpf" / "lab" / "bpf" / "generator.bpf.o"
CHUNK = 32_768  # frames a system call: about 10 ms at full speed, so that commands are answered promptly
BATCH = 64  # frames between two runs of the receiving side
NAP = 0.001  # seconds between two looks at a rate


class Sender:
    """The loaded program, run a chunk at a time."""

    def __init__(self, kernel: Kernel, settings: Settings) -> None:
        self._kernel = kernel
        self._settings = settings
        self._loaded = load(kernel, settings)
        self._frame = template(settings)
        self._dropped_before = tx_dropped(settings.interface)
        self._rate: int | None = None  # None: stopped; 0: full speed
        self._since = 0.0
        self._issued = 0  # since start

    def serve(self) -> None:
        """Obey until the input ends."""
        self._answer()
        while True:
            wait = None if self._rate is None else self._work()
            if select.select([sys.stdin.fileno()], [], [], wait)[0]:
                line = os.read(sys.stdin.fileno(), 4096).decode()
                if not line:
                    return
                self._obey(*line.split())
                self._answer()

    def _obey(self, command: str, argument: str = "0") -> None:
        match command:
            case "start":
                self._rate, self._since, self._issued = int(argument), time.monotonic(), 0
            case "stop":
                self._rate = None
            case "send":
                self._send(int(argument))

    def _work(self) -> float:
        """Send a chunk if one is due; returns how long to wait for a command before the next."""
        due = CHUNK
        if self._rate:
            due = min(CHUNK, int(self._rate * (time.monotonic() - self._since)) - self._issued)
        self._send(due)
        self._issued += due
        return NAP if self._rate and due < CHUNK else 0.0

    def _send(self, frames: int) -> None:
        for start in range(0, frames, CHUNK):
            self._run(min(CHUNK, frames - start))

    def _run(self, frames: int) -> None:
        from reloader.bpf.syscall import BPF_F_TEST_XDP_LIVE_FRAMES, prog_test_run

        program = self._loaded.progs["generate"].fileno()
        prog_test_run(program, data=self._frame, repeat=frames, flags=BPF_F_TEST_XDP_LIVE_FRAMES, batch_size=BATCH)

    def _answer(self) -> None:
        sent = self._kernel.maps.lookup(self._loaded.maps[".bss"], bytes(4)) or b""
        dropped = tx_dropped(self._settings.interface) - self._dropped_before
        counts = Traffic(sent=int.from_bytes(sent[:8], sys.byteorder), dropped=dropped)
        print(json.dumps(asdict(counts)), flush=True)


def load(kernel: Kernel, settings: Settings) -> Loaded:
    switches = {"out_ifindex": socket.if_nametoindex(settings.interface), "flow_count": settings.flows}
    request = LoadRequest(
        objects=(OBJECT.read_bytes(),),
        name="generator",
        programs=("generate",),
        rodata={name: value.to_bytes(4, sys.byteorder) for name, value in switches.items()},
    )
    return kernel.progs.load(request)


def template(settings: Settings) -> bytes:
    """The frame that the BPF program gives a source address, a port and a checksum."""
    payload = bytes(settings.length - 14 - 20 - 8)
    udp = struct.pack("!4H", 0, settings.port, 8 + len(payload), 0) + payload
    address = socket.inet_aton(settings.destination)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0, bytes(4), address)
    macs = bytes.fromhex((settings.mac + settings.source_mac).replace(":", ""))
    return macs + struct.pack("!H", 0x0800) + ip + udp


def tx_dropped(interface: str) -> int:
    """Frames the interface was given to send and did not queue at its peer."""
    rows = (row.split(":", 1) for row in Path("/proc/net/dev").read_text().splitlines() if ":" in row)
    return next(int(counts.split()[11]) for name, counts in rows if name.strip() == interface)


def main(text: str) -> None:
    from reloader.bpf.live import LiveKernel

    settings = Settings(**json.loads(text))
    os.sched_setaffinity(0, {settings.cpu})
    Sender(LiveKernel(), settings).serve()


if __name__ == "__main__":
    main(sys.argv[1])
