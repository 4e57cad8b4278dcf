"""The main promises at a pace that an emulated machine keeps: what runs on stock kernels too (`make test-vm`).

The same stages and checks as on this machine's kernel, with fewer flows and at most 10,000 packets a second.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import stage as flat
from lab.crash import loop
from lab.crash.scenario import Scene
from lab.sandbox import Sandbox
from lab.traffic import Generator, settle
from tests.kernel import test_config_flips as flips
from tests.kernel import test_convert as convert
from tests.kernel import test_gate as gates
from tests.kernel.test_main_job import CONVERTED, Stage
from tests.support import faults

pytestmark = [pytest.mark.kernel, pytest.mark.vm]

RATE = 8_000  # packets a second
LEAST = 10_000  # packets that make a check worth something
CONVERSIONS = int(os.environ.get("RELOADER_VM_CONVERSIONS", "4"))
fire_on = convert.fire_on


@pytest.fixture
def stage(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Stage:
    return Stage(sandbox, objects, tmp_path)


@pytest.fixture
def flipping(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[flat.Stage]:
    """The stage of the tests of configuration, with their object."""
    with flat.on_stage(sandbox, objects, tmp_path) as opened:
        opened.put(objects("lab/bpf/config_pair"), "pair.bpf.o")
        yield opened


def traffic(stage: Stage) -> Generator:
    return Generator(stage.sandbox.tx, flows=200)


def assert_exact(stage: Stage, generator: Generator, known: int | None = None) -> None:
    """Every packet sent was seen, every packet seen is in the state; of established flows none met no entry."""
    while generator.traffic().sent < LEAST:
        time.sleep(0.05)
    generator.stop()
    balance = settle(generator, lambda: stage.seen().packets)
    seen = stage.seen()
    assert balance.lost == 0, f"{balance.lost} of {balance.traffic.sent} packets lost"
    assert seen.missing == 0, f"{seen.missing} packets forgotten"
    assert known is None or seen.unknown == known, f"{seen.unknown - known} packets met no entry"


def established(stage: Stage) -> int:
    """Packets that met no entry, once every flow has one."""
    end = time.monotonic() + 20
    while stage.seen().flows < 200 and time.monotonic() < end:
        time.sleep(0.05)
    return stage.seen().unknown


def test_the_main_job(stage: Stage) -> None:
    """Create, change entries, replace, refuse, roll back, remove."""
    stage.apply("v1")
    with traffic(stage) as generator:
        generator.start(rate=RATE)
        known = established(stage)
        stage.apply("v1", "10.9.9.9")
        stage.apply("v2", "10.9.9.9")
        serving = stage.attached()
        assert stage.apply("broken", code=1)["error"]["code"] == "verifier-rejected"
        assert stage.attached() == serving
        stage.call("rollback", "edge")
        stage.apply("v2")
        stage.apply("v1")
        assert_exact(stage, generator, known)
    stage.call("remove", "edge", "--state")
    assert (stage.attached(), stage.sandbox.pins()) == (0, [])


def test_conversion_and_rollback(stage: Stage) -> None:
    """The registry's way: another layout by `apply`, and back by `rollback`, with the bridge."""
    stage.apply("v1", **CONVERTED)
    with traffic(stage) as generator:
        generator.start(rate=RATE)
        known = established(stage)
        for _ in range(2):
            result = stage.apply("v3", **CONVERTED)["pipelines"][0]
            assert any(line["action"] == "state: convert" for line in result["lines"])
            stage.call("rollback", "edge")
        assert_exact(stage, generator, known)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """test_convert's fire, small."""
    for name, value in {"STEADY": 300, "CHURN": 100, "BORN": 200, "RATE": RATE}.items():
        monkeypatch.setattr(convert, name, value)


def exact(fire: Any) -> None:
    """Nothing lost, nothing unknown, nothing resurrected."""
    while fire.steady.traffic().sent < LEAST:
        time.sleep(0.05)
    toll = fire.toll()
    assert (toll.lost, toll.unknown, toll.resurrected, toll.failed) == (0, 0, 0, 0), toll


@pytest.mark.parametrize("kind", ["", "_percpu", "_lru"])
def test_bridge_under_churn(kind: str, fire_on: Callable[[str], Any], paced: None) -> None:
    with fire_on(kind) as fire:
        for number in range(2 if kind else CONVERSIONS):
            fire.convert("v1" if number % 2 else "v2")
        exact(fire)


def test_foreign_programs(fire_on: Callable[[str], Any], paced: None) -> None:
    """Without the header counts are exact; these flows are all there before."""
    with fire_on("_plain") as fire:
        for version in ("v2", "v1"):
            fire.convert(version, churn=False)
        exact(fire)


def test_sabotage_a_fresh_state_turns_the_check_red(stage: Stage) -> None:
    """With `flows` as scratch every load forgets."""
    stage.apply("v1", state="scratch")
    with traffic(stage) as generator:
        generator.start(rate=RATE)
        established(stage)
        stage.apply("v2", state="scratch")
        with pytest.raises(AssertionError, match=r"packets (lost|forgotten)"):
            assert_exact(stage, generator)


def test_sabotage_counts_left_behind_turn_the_check_red(
    fire_on: Callable[[str], Any], paced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied ahead and swapped, and the counters never fetched."""
    faults.no_bridge(monkeypatch)
    faults.inject(monkeypatch, "after the swap", lambda _: [])
    faults.retire_at_once(monkeypatch)
    with fire_on("") as fire:
        fire.convert("v2", churn=False)
        with pytest.raises(AssertionError, match=r"lost=[1-9]"):
            exact(fire)


def some(points: Sequence[loop.Point]) -> Sequence[loop.Point]:
    """Three, of those that a command meets every time."""
    return loop.spread(3)([p for p in points if "records/" not in p.effect and "cache/" not in p.effect])


@pytest.mark.parametrize("name", ["update", "convert"])
def test_killed(name: str, scene: Scene, tmp_path: Path) -> None:
    tally = loop.kill(name, scene, tmp_path, some)
    assert tally.points >= 16
    assert not tally.violations, "\n".join(tally.violations)


@pytest.fixture
def scene(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Any:
    with Generator(sandbox.tx, flows=4) as generator:
        yield Scene(sandbox, objects, tmp_path, generator)


def test_configuration_flips(flipping: flat.Stage) -> None:
    """Two tied maps exchanged by one store, and hit counters carried along."""
    flipping.apply(flips.spec(flipping, 1))
    with Generator(flipping.sandbox.tx, flows=4) as generator:
        generator.start(rate=RATE)
        for stamp in range(2, 6):
            flipping.apply(flips.spec(flipping, stamp))
        generator.stop()
        balance = settle(generator, lambda: flips.sight(flipping).packets)
    seen = flips.sight(flipping)
    assert balance.lost == 0
    assert seen.packets > 100
    assert (seen.mixed, seen.mismatch, seen.missing) == (0, 0, 0)
    assert flips.hits(flipping) == seen.packets


def test_two_hooks_change_together(flipping: flat.Stage) -> None:
    """By the gate, from packets of a socket: where the kernel has no links on traffic control, it is refused."""
    flipping.put(flipping.objects("lab/bpf/gate_pair"), "gate.bpf.o")
    done = flipping.run("apply", flipping.write(gates.spec(flipping, 1)))
    if not flipping.kernel.links.has_tcx():
        assert done.code == 69, done.err
        return
    assert done.code == 0, done.err
    for version in range(2, 5):
        trickle(flipping, gates.spec(flipping, version))
    seen = gates.pairs(flipping)
    assert seen.entered == seen.left > 10
    assert seen.mixed == 0
    assert gates.stats(flipping, 4) == (0, 0, 0)


def trickle(stage: flat.Stage, wish: dict[str, Any]) -> None:
    """Apply while packets come by one after the other."""
    done = threading.Event()

    def drip() -> None:
        while not done.is_set():
            stage.send(1)
            time.sleep(0.001)

    sender = threading.Thread(target=drip)
    sender.start()
    try:
        stage.apply(wish)
    finally:
        done.set()
        sender.join()
