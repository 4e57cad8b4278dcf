"""swap.*: an XDP program is exchanged under full traffic, again and again: what is lost, and how long it takes.

reloader's own op on a pinned link, beside detaching and attaching, bpftool and xdp-loader, in the same run.
May import lab and reloader.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.rows import Aim, Row, note, percentile, stopwatch
from bench.stage import OBJECTS
from lab.naive import DROP
from lab.sandbox import LabError, Sandbox
from lab.traffic import FLOW_COUNTERS, Generator, settle
from reloader.bpf.live import LiveKernel
from reloader.engine.execute import execute
from reloader.engine.workspace import Workspace
from reloader.kernel import Fd, Kernel, Loaded, LoadRequest, XdpMode
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.plan import ops

ROUNDS = 10
SWAPS = 1000  # by reloader
PEER_SWAPS = 50  # by each other way
BARE_EVERY = 20  # swaps to one bare system call
LEAD = 0.05  # seconds of traffic before the first swap of a round


@dataclass(slots=True, kw_only=True)
class Figures:
    """Of one way, over all rounds."""

    text: str
    seconds: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    delivered: int = 0
    lost: int = 0

    @property
    def lost_by_thousand(self) -> float:
        return self.lost * 1000 / len(self.seconds)


class Pair:
    """Two loads of the flow counter that share their maps, as reloader's state maps are shared; pinned."""

    def __init__(self, kernel: Kernel, sandbox: Sandbox) -> None:
        self.kernel, self.sandbox = kernel, sandbox
        self.paths = Paths(bpffs=sandbox.bpffs, records=sandbox.records)
        self.loads = [self._load({})]
        self.loads.append(self._load({n: self.loads[0].maps[n] for n in ("flows", "counters", "events", "blocklist")}))
        self.pins = [self.paths.prog_pin("bench", number, "count_flows") for number in (1, 2)]
        self.serving = 0
        for path, loaded in zip(self.pins, self.loads, strict=True):
            kernel.pins.mkdir(os.path.dirname(path))
            kernel.pins.pin(loaded.progs["count_flows"], path)

    def _load(self, reuse: dict[str, Fd]) -> Loaded:
        image = OBJECTS["v1"].read_bytes()
        rodata = {"default_verdict": DROP}
        request = LoadRequest(objects=(image,), name="bench", programs=("count_flows",), rodata=rodata, reuse=reuse)
        return self.kernel.progs.load(request)

    def pin(self) -> str:
        """Of the program that serves."""
        return self.pins[self.serving]

    def turn(self) -> str:
        """Let the other one serve from now on; its pin."""
        self.serving = 1 - self.serving
        return self.pin()

    def close(self) -> None:
        for loaded in self.loads:
            loaded.close()


def packets_in(kernel: Kernel, counters: Fd) -> int:
    """The first member of flow_counters, summed over CPUs."""
    value = kernel.maps.lookup(counters, bytes(4)) or b""
    return sum(counts[0] for counts in FLOW_COUNTERS.iter_unpack(value))


class Way:
    """One way to exchange the program on the sandbox's receiving end. The pair's programs count in one map."""

    text = ""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.kernel, self.rx = pair, pair.kernel, pair.sandbox.rx
        self.bare: list[float] = []  # seconds of bare system calls

    def attach(self) -> None:
        raise NotImplementedError

    def swap(self) -> None:
        raise NotImplementedError

    def detach(self) -> None:
        raise NotImplementedError

    def note_load(self) -> None:
        """After each attachment, not timed; nothing to note where the counters stay."""

    def packets(self) -> int:
        """All that any program of this way has seen."""
        return packets_in(self.kernel, self.pair.loads[0].maps["counters"])

    def close(self) -> None:
        """Nothing of its own is open."""

    def create_link(self) -> Fd:
        interface = self.kernel.net.interface(self.rx.interface, self.rx.netns)
        if interface is None:
            raise LabError(f"no interface {self.rx.interface}")
        program = self.pair.loads[self.pair.serving].progs["count_flows"]
        mode, netns = XdpMode.NATIVE, self.rx.netns
        return self.kernel.links.create_xdp(program, ifindex=interface.ifindex, mode=mode, netns=netns)


class LinkUpdate(Way):
    """reloader's op as a transaction runs it: by pins, compare-and-swap. Now and then the system call alone, for
    what the kernel takes: it waits until no program runs in the dispatcher (RCU)."""

    text = "reloader"

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.swapped = 0

    def attach(self) -> None:
        self.path = self.pair.paths.link_pin("bench", "rx")
        self.kernel.pins.mkdir(os.path.dirname(self.path))
        with self.create_link() as link:
            self.kernel.pins.pin(link, self.path)
        self.bench = Workspace(host=Host(kernel=self.kernel, paths=self.pair.paths), pipeline="bench", wish=None)

    def swap(self) -> None:
        old = self.pair.pin()
        execute(self.bench, ops.SwapLink(attachment="rx", path=self.path, new=self.pair.turn(), old=old))
        self.swapped += 1

    def note_load(self) -> None:
        if self.swapped % BARE_EVERY:
            return
        programs = [loaded.progs["count_flows"] for loaded in self.pair.loads]
        old = programs[self.pair.serving]
        self.pair.turn()
        with self.kernel.pins.get(self.path) as link:
            update = functools.partial(self.kernel.links.update, link, new=programs[self.pair.serving], old=old)
            self.bare.append(stopwatch(update))

    def detach(self) -> None:
        self.kernel.pins.unpin(self.path)


class DetachAttach(Way):
    """The kindest form of it: both programs are loaded beforehand, only the link goes and comes."""

    text = "detach + attach, both loaded"

    def attach(self) -> None:
        self.link = self.create_link()

    def swap(self) -> None:
        self.pair.turn()
        self.link.close()
        self.attach()

    def detach(self) -> None:
        self.link.close()


class Bpftool(Way):
    """bpftool replaces by netlink, without comparing; it cannot touch a link."""

    text = "bpftool net attach … overwrite, a process"

    def attach(self) -> None:
        self._attach()

    def _attach(self, *overwrite: str) -> None:
        self.rx.run("bpftool", "net", "attach", "xdpdrv", "pinned", self.pair.pin(), "dev", "rx0", *overwrite)

    def swap(self) -> None:
        self.pair.turn()
        self._attach("overwrite")

    def detach(self) -> None:
        self.rx.run("bpftool", "net", "detach", "xdpdrv", "dev", self.rx.interface)


class XdpLoader(Way):
    """xdp-loader has no replace. Its dispatcher could add the new program before the old one goes, but needs
    freplace, which not every kernel grants; so it is told to attach the program by itself, on all alike."""

    text = "xdp-loader unload + load, no dispatcher, two processes and a fresh load"

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.counters: list[Fd] = []  # a load's counters go with its program, unless held
        libxdp = {"LIBXDP_SKIP_DISPATCHER": "1", "LIBXDP_BPFFS": os.path.dirname(pair.sandbox.bpffs)}
        self.environment = {**os.environ, **libxdp}

    def _run(self, *words: str) -> None:
        command = self.rx.command("xdp-loader", *words)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")

    def attach(self) -> None:
        self._run("load", "-m", "native", "-n", "count_flows", self.rx.interface, str(OBJECTS["v1"]))

    def swap(self) -> None:
        self.detach()
        self.attach()

    def detach(self) -> None:
        self._run("unload", "--all", self.rx.interface)

    def note_load(self) -> None:
        interface = self.kernel.net.interface(self.rx.interface, self.rx.netns)
        if interface is None or not interface.xdp_prog_id:
            raise LabError("xdp-loader attached nothing")
        with self.kernel.progs.by_id(interface.xdp_prog_id) as prog:
            maps = [self.kernel.maps.by_id(i) for i in self.kernel.progs.info(prog).map_ids]
        for fd in maps:
            if self.kernel.maps.info(fd).name == "counters":
                self.counters.append(fd)
            else:
                fd.close()

    def packets(self) -> int:
        return sum(packets_in(self.kernel, fd) for fd in self.counters)

    def close(self) -> None:
        for fd in self.counters:
            fd.close()


# Row suffix -> the way beside reloader's own.
PEERS = {"": DetachAttach, ".bpftool": Bpftool, ".xdp_loader": XdpLoader}


def a_round(way: Way, generator: Generator, swaps: int, figures: Figures) -> None:
    """So many swaps under full traffic, back to back; then everything sent is looked for."""
    way.attach()
    way.note_load()
    before, seen = generator.traffic().delivered, way.packets()
    generator.start()
    time.sleep(LEAD)
    for _ in range(swaps):
        figures.seconds.append(stopwatch(way.swap))
        way.note_load()
    generator.stop()
    balance = settle(generator, lambda: way.packets() - seen + before)
    figures.delivered += balance.traffic.delivered - before
    figures.lost += balance.lost
    figures.bare = way.bare
    way.detach()


def measure(kinds: Sequence[type[Way]], swaps: Sequence[int], rounds: int) -> list[Figures]:
    """Figures of each way; so many swaps of it in each round."""
    with Sandbox() as sandbox, Generator(sandbox.tx, flows=10_000) as generator, contextlib.ExitStack() as stack:
        pair = stack.enter_context(contextlib.closing(Pair(LiveKernel(), sandbox)))
        ways = [stack.enter_context(contextlib.closing(kind(pair))) for kind in kinds]
        figures = [Figures(text=way.text) for way in ways]
        for number in range(rounds):
            note(f"swap: round {number + 1} of {rounds}")
            for way, times, found in zip(ways, swaps, figures, strict=True):
                a_round(way, generator, times, found)
        return figures


def rows() -> list[Row]:
    each = (SWAPS // ROUNDS, *[PEER_SWAPS // ROUNDS] * len(PEERS))
    ours, *others = measure((LinkUpdate, *PEERS.values()), each, ROUNDS)
    note(f"swap: {ours.delivered:,} packets met {len(ours.seconds)} swaps, {ours.lost} lost")
    kernel = Figures(text="BPF_LINK_UPDATE alone", seconds=ours.bare)
    beside = dict(zip(PEERS, others, strict=True))
    lost = [_lost(suffix, ours, other) for suffix, other in beside.items()]
    medians = [
        _latency(f"swap.median{suffix}", 50, ours, other) for suffix, other in {**beside, ".kernel": kernel}.items()
    ]
    return [*lost, *medians, _latency("swap.p99", 99, ours, beside[""])]


def _lost(suffix: str, ours: Figures, other: Figures) -> Row:
    return Row(
        name=f"swap.packets_lost{suffix}", value=ours.lost_by_thousand, unit="per 1,000 swaps", n=len(ours.seconds),
        baseline=f"{other.text}; {len(other.seconds)} swaps", baseline_value=other.lost_by_thousand,
        aim=Aim(of="value", most=0),
    )  # fmt: skip


def _latency(name: str, percent: int, ours: Figures, other: Figures) -> Row:
    return Row(
        name=name, value=percentile(ours.seconds, percent) * 1000, unit="ms", n=len(ours.seconds),
        baseline=f"{other.text}; {len(other.seconds)} swaps",
        baseline_value=percentile(other.seconds, percent) * 1000,
    )  # fmt: skip
