"""What can go wrong while state moves: no room, no memory, a refusing verifier, SIGKILL in the middle, stale writers,
CPUs that are away. Counts are in one of the two maps at any instant, and end up in one.
"""

from __future__ import annotations

import mmap
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.bpf.progs import LiveProgs
from reloader.engine import execute as apply_module
from reloader.engine.workspace import Workspace
from reloader.errors import (
    KernelError,
    LoadRejected,
    NeedsHuman,
    NothingSwapped,
    RefusedChange,
    RolledBack,
    VerifierRejected,
)
from reloader.kernel import Loaded, LoadRequest
from reloader.plan import ops
from tests.support import faults
from tests.support.conversions import Shifting, column, conversions, cpu_values
from tests.support.refusals import refused_for

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

ROOT = Path(__file__).resolve().parent.parent.parent
MAPS = "flows: {role: state}, counters: {role: state}"
FLOWS = 10_000
PACKETS_AT = {16: 0, 32: 16}
MOVING = r"moving the entries of flows: ([0-9,]+) of 10,000 entries"


class Scene(Shifting):
    """flow_state with a generator of 10,000 flows."""

    generator: Generator

    def counted(self) -> int:
        """Packets in every flows map that is pinned: two of them while it is converted."""
        return sum(self.counted_in(pin) for pin in self.pins_of("flows"))

    def counted_in(self, pin: str) -> int:
        with self.kernel.pins.get(pin) as fd:
            info, entries = self.kernel.maps.info(fd), self.kernel.maps.items(fd)
        at = PACKETS_AT[info.value_size]
        values = (v for data in entries.values() for v in cpu_values(info.type, info.value_size, data))
        return sum(struct.unpack_from("=Q", v, at)[0] for v in values)

    def seen(self) -> int:
        """Packets that the programs saw, less those they said they had no room for."""
        with self.pub("counters") as fd:
            packets, _, failed, _ = column(self.kernel.maps.lookup(fd, bytes(4)) or b"", 4)
        return packets - failed

    def settle(self) -> None:
        """Stop, and let queued frames arrive."""
        self.generator.stop()
        before = -1
        while before != (before := self.seen()):
            time.sleep(0.05)

    def assert_whole(self) -> None:
        """One map, with every packet in it."""
        self.settle()
        assert len(self.pins_of("flows")) == 1
        assert self.seen() > 10_000, "hardly any traffic"
        assert self.counted() == self.seen()


@pytest.fixture
def scene(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    faults.inject(monkeypatch, "conversions", conversions)
    files = {f"v{v}": objects(f"lab/bpf/flow_state_v{v}") for v in (1, 2)}
    made = Scene(sandbox, tmp_path, files, MAPS)
    made.apply("v1")
    with Generator(sandbox.tx, flows=FLOWS) as made.generator:
        made.generator.start(rate=100_000)
        _wait(lambda: made.seen() > 10_000)
        yield made


def before_drain(monkeypatch: pytest.MonkeyPatch, act: Callable[[Workspace, ops.Drain], None]) -> None:
    """Let something happen right before the first drain of a transaction."""
    execute = apply_module.execute
    acted: list[ops.Op] = []

    def executed(bench: Workspace, op: ops.Op) -> None:
        if isinstance(op, ops.Drain) and not acted:
            acted.append(op)
            act(bench, op)
        execute(bench, op)

    faults.inject(monkeypatch, "execute", executed)


def test_no_room_in_the_new_map_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else fills the new map: what had moved comes back."""

    def crowd(bench: Workspace, op: ops.Drain) -> None:
        with bench.kernel.pins.get(op.source) as old, bench.kernel.pins.get(op.target) as new:
            moved = bench.kernel.maps.items(new)
            missing = len(bench.kernel.maps.items(old).keys() - moved.keys())
            assert missing > 100, "the bridge was too fast for this test"
            room = bench.kernel.maps.info(new).max_entries - len(moved) - missing // 2
            keys = [struct.pack("=QQ", 1 << 60, i) for i in range(room)]
            bench.kernel.maps.update_many(new, keys, [bytes(32)] * room)

    scene.maps = MAPS.replace("flows: {role: state}", "flows: {role: state, max_entries: 12000}")
    before_drain(monkeypatch, crowd)
    scene.generator.stop()
    scene.generator.start(rate=2_000)
    told = r"flows: the new map is full: [1-9][\d,]* entries did not move; [1-9][\d,]* moved; rolled back"
    with pytest.raises(RolledBack, match=told):
        scene.apply("v2")
    scene.assert_whole()


def test_too_small_a_map_is_refused(scene: Scene) -> None:
    scene.maps = MAPS.replace("flows: {role: state}", "flows: {role: state, max_entries: 9999}")
    with pytest.raises(RefusedChange) as refused:
        scene.apply("v2")
    values = refused_for(refused.value, "entries-too-many")
    assert (values["map"], values["count"], values["max_entries"]) == ("flows", 10_000, 9_999)
    scene.maps = MAPS.replace("flows: {role: state}", "flows: {role: state, max_entries: 10000}")
    scene.apply("v2")
    scene.assert_whole()


ERRORS = [KernelError("bpf_object__load", 12, "migrate"), LoadRejected("migrate", 13, "R1 invalid mem access")]


def failing_loads(monkeypatch: pytest.MonkeyPatch, *errors: KernelError | None) -> None:
    """The first loads of the migration program end like this; None: as always."""
    load, left = LiveProgs.load, list(errors)

    def loaded(self: LiveProgs, request: LoadRequest) -> Loaded:
        error = left.pop(0) if request.name == "migrate" and left else None
        if error is not None:
            raise error
        return load(self, request)

    faults.inject(monkeypatch, "load", loaded)


@pytest.mark.parametrize("error", ERRORS, ids=["ENOMEM", "verifier"])
def test_a_migration_program_that_does_not_load_is_found_before_the_swap(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: KernelError
) -> None:
    failing_loads(monkeypatch, error)
    with pytest.raises((NothingSwapped, VerifierRejected)) as raised:
        scene.apply("v2")
    assert raised.value.exit_code == 1
    scene.assert_whole()


@pytest.mark.parametrize("error", ERRORS, ids=["ENOMEM", "verifier"])
def test_when_it_loads_no_more_after_the_swap_all_comes_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: KernelError
) -> None:
    """The bridge has taken entries over by then."""
    failing_loads(monkeypatch, None, error)
    before_drain(monkeypatch, lambda *_: time.sleep(0.1))
    with pytest.raises(RolledBack):
        scene.apply("v2")
    scene.assert_whole()


def test_going_back_fails_too_until_recover(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_loads(monkeypatch, None, ERRORS[0], ERRORS[0])
    before_drain(monkeypatch, lambda *_: time.sleep(0.1))
    with pytest.raises(NeedsHuman):
        scene.apply("v2")
    scene.settle()
    assert len(scene.pins_of("flows")) == 2
    assert scene.counted() == scene.seen()
    scene.generator.start(rate=100_000)
    (line,) = scene.recover()
    assert re.fullmatch(
        "edge: an interrupted transaction was rolled back; flows: moved [1-9][0-9,]* entries back", line
    )
    scene.assert_whole()


def test_a_long_drain_says_how_far_it_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "seconds between looks", 0.0)
    said: list[str] = []
    scene.generator.stop()
    before_drain(monkeypatch, lambda *_: said.clear())
    scene.apply("v2", progress=said.append)
    moved = [int(m[1].replace(",", "")) for text in said if (m := re.fullmatch(MOVING, text))]
    assert moved
    assert moved == sorted(moved)
    assert moved[-1] <= FLOWS
    scene.assert_whole()


# SIGKILL in the middle

APPLY = """
import sys
from tests.support.conversions import apply_in_process
from tests.support.refusals import refused_for
apply_in_process(sys.argv[1:])
"""


def test_killed_in_the_middle_of_a_large_drain(scene: Scene) -> None:
    """200,000 entries: each count is in one of the two maps; recover brings all back; a rerun completes."""
    large = MAPS.replace("flows: {role: state}", "flows: {role: state, max_entries: 300000}")
    scene.maps = large
    scene.apply("v1")
    extra = _fill(scene, 200_000)
    killed_midway = 0
    for fraction in (0.1, 0.6):
        scene.generator.start(rate=100_000)
        killed_midway += _kill_at(scene, fraction)
        scene.settle()
        assert scene.counted() == scene.seen() + extra
        scene.generator.start(rate=100_000)
        (line,) = scene.recover()
        assert re.search(r"rolled back; flows: moved [0-9,]{5,} entries", line)
        scene.settle()
        assert len(scene.pins_of("flows")) == 1
        assert scene.counted() == scene.seen() + extra
    assert killed_midway, "no kill met a drain"
    scene.generator.start(rate=100_000)
    scene.apply("v2")
    scene.settle()
    assert scene.counted() == scene.seen() + extra


def _fill(scene: Scene, count: int) -> int:
    """That many more entries, by bpf(2); the packets in them."""
    keys = [struct.pack("=QQ", 1 << 60, i) for i in range(count)]
    with scene.pub("flows") as fd:
        scene.kernel.maps.update_many(fd, keys, [struct.pack("=QQ", i % 7, i) for i in range(count)])
    return sum(i % 7 for i in range(count))


def _kill_at(scene: Scene, fraction: float) -> bool:
    """Apply version 2 in another process and kill it when that much has moved; whether both maps had entries then."""
    words = [str(scene.folder / "edge.yaml"), scene.sandbox.bpffs, str(scene.sandbox.records)]
    scene.intake("v2")
    before = scene.pins_of("flows")
    child = subprocess.Popen([sys.executable, "-c", APPLY, *words], cwd=ROOT)
    try:
        new = _wait(lambda: next(iter(set(scene.pins_of("flows")) - set(before)), None))
        with scene.kernel.pins.get(new) as fd:
            _wait(lambda: scene.kernel.maps.count(fd) > 200_000 * fraction or child.poll() is not None)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGKILL, "it was done before it was killed"
    with scene.kernel.pins.get(before[0]) as old, scene.kernel.pins.get(new) as fd:
        return scene.kernel.maps.count(old) > 0 and scene.kernel.maps.count(fd) > 0


def _wait(holds: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if found := holds():
            return found
    raise AssertionError("nothing happened")


# writers in user space


def test_a_writer_of_the_old_map_is_stopped_and_what_it_wrote_before_is_kept(scene: Scene) -> None:
    written: list[bytes] = []
    refused: list[KernelError] = []
    with scene.pub("flows") as old:

        def write() -> None:
            for i in range(1_000_000):
                key = struct.pack("=QQ", 2 << 60, i)
                try:
                    scene.kernel.maps.update_many(old, [key], [struct.pack("=QQ", 3, i)])
                except KernelError as error:
                    refused.append(error)
                    return
                written.append(key)
                time.sleep(0.0002)

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.02)
        scene.apply("v2")
        writer.join(timeout=5)
    assert [e.errno for e in refused] == [1]
    assert len(written) > 50
    contents = scene.contents("flows")
    assert [key for key in written if key not in contents] == []
    assert {struct.unpack("=4Q", contents[key])[2] for key in written} == {3}


def test_a_section_that_somebody_has_mapped_does_not_hold_up_the_commit(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be frozen; counts that are written to it before the commit are there all the same."""
    faults.inject(monkeypatch, "conversions", conversions)
    stage = _conv(sandbox, objects, tmp_path, ".bss")
    with stage.pub(".bss") as old, mmap.mmap(old.fileno(), mmap.PAGESIZE) as memory:
        memory[:8] = struct.pack("=Q", 41)
        stage.apply("v2")
    (value,) = stage.contents(".bss").values()
    assert 41 in struct.unpack_from("=3Q", value.ljust(24, b"\0"))
    assert len(stage.pins_of("sec-bss")) == 1


def _conv(sandbox: Sandbox, objects: Callable[[str], Path], folder: Path, *state: str) -> Shifting:
    """conv.h with some of its maps as state."""
    names = ("hash", "sparse", "percpu_hash", "lru_hash", "lru_percpu_hash", "macs", "array", "percpu_array", "wide",
             "locked", ".bss", ".data")  # fmt: skip
    files = {f"v{v}": objects(f"lab/bpf/conv_v{v}") for v in (1, 2)}
    maps = ", ".join(f"{name}: {{role: {'state' if name in state else 'scratch'}}}" for name in names)
    stage = Shifting(sandbox, folder, files, maps)
    stage.attached = {"touch_all": sandbox.rx}
    stage.apply("v1")
    return stage
