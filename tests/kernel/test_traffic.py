"""The lab's figures: exact to the packet, and red when packets are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import LabError, Sandbox
from lab.traffic import Balance, Generator, Seen, read_seen, settle
from reloader.bpf.live import LiveKernel
from reloader.kernel import Fd, Loaded, LoadRequest, XdpMode

pytestmark = pytest.mark.kernel

XDP_DROP = (1).to_bytes(4, "little")
FLOWS = 5000


class Counter:
    """flow_count on the receiving interface, put there without the engine."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        self.kernel = LiveKernel()
        self.sandbox = sandbox
        self.loaded = self.load(path)
        self.link: Fd | None = None
        self.attach()

    def load(self, path: Path) -> Loaded:
        request = LoadRequest(
            objects=(path.read_bytes(),),
            name="flow_count",
            programs=("count_flows",),
            rodata={"default_verdict": XDP_DROP},
        )
        return self.kernel.progs.load(request)

    def attach(self) -> None:
        rx = self.sandbox.rx
        interface = self.kernel.net.interface(rx.interface, rx.netns)
        assert interface
        self.link = self.kernel.links.create_xdp(
            self.loaded.progs["count_flows"], ifindex=interface.ifindex, mode=XdpMode.NATIVE, netns=rx.netns
        )

    def detach(self) -> None:
        if self.link:
            self.link.close()

    def close(self) -> None:
        self.detach()
        self.loaded.close()

    def seen(self) -> Seen:
        return read_seen(self.kernel.maps, self.loaded.maps["flows"], self.loaded.maps["counters"])

    def balance(self, generator: Generator) -> Balance:
        return settle(generator, lambda: self.seen().packets)


@pytest.fixture
def counter(sandbox: Sandbox, objects: Callable[[str], Path]) -> Iterator[Counter]:
    made = Counter(sandbox, objects("programs/flow_count/flow_count"))
    yield made
    made.close()


@pytest.fixture
def generator(sandbox: Sandbox, objects: Callable[[str], Path]) -> Iterator[Generator]:
    with Generator(sandbox.tx, flows=FLOWS) as running:
        yield running


def test_a_million_packets_are_all_accounted_for(counter: Counter, generator: Generator) -> None:
    assert generator.send(1_000_000).sent == 1_000_000
    balance, seen = counter.balance(generator), counter.seen()
    assert balance.lost == 0
    assert seen.missing == 0
    assert (seen.flows, seen.uncounted) == (FLOWS, 0)
    assert counter.sandbox.rx.xdp_drops() == balance.traffic.delivered


@pytest.mark.alone
def test_full_speed_can_be_stopped(counter: Counter, generator: Generator) -> None:
    generator.start()
    time.sleep(0.5)
    assert generator.traffic().sent > 100_000
    asked = time.monotonic()
    stopped = generator.stop()
    assert time.monotonic() - asked < 0.5
    assert counter.balance(generator).lost == 0
    assert generator.traffic().sent == stopped.sent


@pytest.mark.alone
def test_a_rate_is_kept(counter: Counter, generator: Generator) -> None:
    generator.start(rate=50_000)
    time.sleep(1.0)
    sent = generator.stop().sent
    assert 30_000 < sent < 70_000
    assert counter.balance(generator).lost == 0


def test_a_moment_without_a_program_is_noticed(counter: Counter, generator: Generator) -> None:
    """Sabotage: detach and attach again under traffic; the sum must not come out."""
    generator.start()
    time.sleep(0.1)
    counter.detach()
    unseen = generator.traffic().sent + 1000
    while generator.traffic().sent < unseen:
        time.sleep(0.001)
    counter.attach()
    generator.stop()
    balance = counter.balance(generator)
    assert balance.lost >= 1000
    assert counter.sandbox.rx.xdp_drops() == balance.seen  # the driver agrees that the rest met no program


def test_forgotten_state_is_noticed(counter: Counter, generator: Generator, objects: Callable[[str], Path]) -> None:
    """Sabotage: the flows of one load beside the counters of another."""
    generator.send(10_000)
    counter.balance(generator)
    other = counter.load(objects("programs/flow_count/flow_count"))
    seen = read_seen(counter.kernel.maps, other.maps["flows"], counter.loaded.maps["counters"])
    other.close()
    assert seen.missing == 10_000


def test_frames_have_the_length_asked_for(sandbox: Sandbox, counter: Counter) -> None:
    with Generator(sandbox.tx, flows=1, length=1000) as generator:
        generator.send(10)
        counter.balance(generator)
    (flow,) = counter.kernel.maps.items(counter.loaded.maps["flows"]).values()
    assert int.from_bytes(flow[8:16], "little") == 10 * 1000


def test_the_generator_says_when_it_is_gone(sandbox: Sandbox, objects: Callable[[str], Path]) -> None:
    generator = Generator(sandbox.tx)
    with pytest.raises(LabError, match="closed"):
        generator.traffic()
    with generator:
        assert generator.traffic().sent == 0
    generator.close()
