"""State into a file and back: nothing lost over a planned restart, exact under traffic, converted or refused."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import MOUNT, run
from lab.stage import ROOT, Done, Stage, wait_until
from lab.traffic import Generator, settle
from reloader.kernel import Kernel
from reloader.layouts.rules import Conversion
from tests.support import faults

pytestmark = pytest.mark.kernel
FLOWS = 500


def export(stage: Stage, *words: str, name: str = "edge.state") -> tuple[Path, str]:
    """The file, and what was said beside it."""
    path = stage.folder / name
    command = [sys.executable, "-m", "reloader", "state", "export", "edge", *words, *stage.where]
    with path.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return path, done.stderr


def bring_in(stage: Stage, path: Path, *words: str) -> list[str]:
    told: list[str] = stage.call("state", "import", "edge", path, *words)["told"]
    return told


def per_cpu_packets(stage: Stage) -> int:
    (value,) = stage.items("counters").values()
    return sum(int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 72))


def count(stage: Stage, packets: int) -> None:
    with Generator(stage.sandbox.tx, flows=FLOWS) as generator:
        before = stage.counted()
        generator.send(packets)
        settle(generator, lambda: stage.counted() - before)


def start_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a restart does: every program and map goes, and the boot_id is another."""
    mount = str(stage.sandbox.dir / MOUNT)
    run("umount", mount)
    run("mount", "-t", "bpf", "-o", "mode=0700", "none", mount)
    wait_until(lambda: not stage.attached())
    faults.restarted(monkeypatch)


def test_counts_survive_a_planned_restart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported, restarted, loaded at boot, imported while traffic counts on: the sum of both, to the unit."""
    stage.apply(stage.spec())
    count(stage, 10_000)
    before, beside = stage.counted(), per_cpu_packets(stage)
    path, said = export(stage)
    assert f"flows: {FLOWS} entries" in said
    start_again(stage, monkeypatch)
    stage.call("recover", "--boot")
    assert stage.counted() == 0
    with Generator(stage.sandbox.tx, flows=2 * FLOWS) as generator:
        generator.start()
        told = bring_in(stage, path, "--merge", "sum")
        generator.stop()
        balance = settle(generator, lambda: stage.counted() - before)
    assert balance.lost == 0
    assert balance.traffic.sent > 1000
    assert per_cpu_packets(stage) == beside + balance.traffic.delivered
    assert any(re.match(r"flows: \d+ entries added, \d+ merged", line) for line in told)
    (shown,) = stage.call("status")["pipelines"]
    assert shown["notes"] == []
    assert not [p for p in stage.sandbox.pins() if "/import/" in p]


def test_what_is_there_is_not_touched_unasked(stage: Stage) -> None:
    stage.apply(stage.spec())
    count(stage, 100)
    path, _ = export(stage)
    before = stage.standing(), stage.items("flows"), stage.items("counters")
    done = stage.run("state", "import", "edge", path)
    assert done.code == 65
    assert done.error["reason"] == "already-holds"
    assert [row["values"]["map"] for row in done.error["refusals"]] == ["counters", "flows"]
    assert "--merge" in done.err
    assert (stage.standing(), stage.items("flows"), stage.items("counters")) == before
    bring_in(stage, path, "--merge", "max")
    assert stage.items("flows") == before[1]
    bring_in(stage, path, "--merge", "sum", "--map", "flows")
    assert stage.counted() == 200
    assert stage.items("counters") == before[2]


def test_an_empty_map_takes_all(stage: Stage) -> None:
    stage.apply(stage.spec())
    count(stage, 1000)
    before = stage.items("flows"), stage.items("counters")
    path, _ = export(stage)
    stage.call("remove", "edge", "--state")
    stage.apply(stage.spec("v2"))
    bring_in(stage, path)
    assert (stage.items("flows"), stage.items("counters")) == before


def test_another_layout_is_converted_by_the_registry(stage: Stage) -> None:
    """Forwards, and with the file's own history back again."""
    stage.apply(stage.spec("v1", stateSchema="flow-count"))
    count(stage, 1000)
    old, _ = export(stage)
    stage.call("remove", "edge", "--state")
    stage.apply(stage.spec("v3", stateSchema="flow-count"))
    bring_in(stage, old, "--map", "flows")
    assert sum(int.from_bytes(value[8:16], "little") for value in stage.items("flows").values()) == 1000
    new, _ = export(stage, "--map", "flows", name="new.state")
    stage.call("remove", "edge", "--state")
    stage.apply(stage.spec("v1", stateSchema="flow-count"))
    bring_in(stage, new)
    assert stage.counted() == 1000


def test_another_layout_without_rules_is_refused(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    count(stage, 10)
    old, _ = export(stage)
    stage.call("remove", "edge", "--state")
    stage.apply(stage.spec("v3"))
    done = stage.run("state", "import", "edge", old)
    assert done.code == 65
    assert "value.packets: offset 0 → 8" in done.err
    assert done.error["reason"] == "rules-not-recorded"
    assert not stage.items("flows")


@pytest.mark.parametrize("damage", ["cut", "turned", "other"])
def test_a_damaged_file_changes_nothing(stage: Stage, damage: str) -> None:
    stage.apply(stage.spec())
    count(stage, 100)
    path, _ = export(stage)
    sound = path.read_bytes()
    turned = sound[:-300] + bytes([sound[-300] ^ 1]) + sound[-299:]
    path.write_bytes({"cut": sound[:-9], "turned": turned, "other": b"{}\n"}[damage])
    done = stage.run("state", "import", "edge", path, "--merge", "sum")
    assert done.code == 65, done.err
    assert str(path) in done.err
    assert stage.counted() == 100


def test_more_than_there_is_room_for_is_refused(stage: Stage) -> None:
    stage.apply(stage.spec(maps={"flows": {"role": "state", "max_entries": 1000}}))
    count(stage, 1000)
    path, _ = export(stage, "--map", "flows")
    stage.call("remove", "edge", "--state")
    stage.apply(stage.spec(maps={"flows": {"role": "state", "max_entries": 100}}))
    done = stage.run("state", "import", "edge", path)
    assert done.code == 65
    assert (done.error["reason"], done.error["values"]["more"]) == ("not-enough-room", 500)
    assert not stage.items("flows")


def test_a_full_map_takes_what_it_has_already(stage: Stage) -> None:
    stage.apply(stage.spec(maps={"flows": {"role": "state", "max_entries": FLOWS}}))
    count(stage, 1000)
    path, _ = export(stage, "--map", "flows")
    bring_in(stage, path, "--merge", "sum")
    assert stage.counted() == 2000


def naive(kernel: Kernel, _: str, source_pin: str, target_pin: str, __: Conversion) -> list[str]:
    """What a script does: read, add, write back."""
    with kernel.pins.get(source_pin) as source, kernel.pins.get(target_pin) as target:
        theirs, ours = kernel.maps.items(source), kernel.maps.items(target)
        time.sleep(0.1)  # as long as a large map takes
        added = {k: added_up(v, ours.get(k, bytes(len(v)))) for k, v in theirs.items()}
        kernel.maps.update_many(target, list(added), list(added.values()))
    return []


def added_up(one: bytes, other: bytes) -> bytes:
    words = zip(struct.iter_unpack("=Q", one), struct.iter_unpack("=Q", other), strict=True)
    return b"".join(struct.pack("=Q", a + b) for (a,), (b,) in words)


def test_a_naive_import_loses_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sabotage: the check of the first test turns red."""
    stage.apply(stage.spec())
    count(stage, 1000)
    path, _ = export(stage, "--map", "flows")
    faults.inject(monkeypatch, "absorb an import", naive)
    with Generator(stage.sandbox.tx, flows=FLOWS) as generator:
        generator.start()
        bring_in(stage, path, "--merge", "sum")
        generator.stop()
        balance = settle(generator, lambda: stage.counted() - 2000)
    assert balance.lost > 0


ROLES = Path(__file__).parent / "bpf" / "roles.bpf.c"


def test_every_type_of_map(stage: Stage, compile_bpf: Callable[[Path], Path]) -> None:
    """Hash, LRU, per-CPU, arrays, tries, .bss: out and in again, added up where something is there."""
    names = ("prefixes", "limits", "quotas", "switches", "bans", "recent")
    maps = {name: {"role": "state"} for name in (*names, ".bss")}
    spec = {
        "objects": [stage.put(compile_bpf(ROLES), "roles.bpf.o")],
        "attach": [stage.attach("judge")],
        "maps": maps,
    }
    stage.apply(spec)
    cpus = stage.kernel.possible_cpus()
    each = b"".join(struct.pack("=Q", n + 1) for n in range(cpus))
    index = bytes(4)
    stage.put_entries("prefixes", {struct.pack("=I", 24) + bytes([10, 0, 0, 0]): struct.pack("=I", 7)})
    stage.put_entries("limits", {index: each})
    stage.put_entries("quotas", {index: each})
    stage.put_entries("switches", {index: struct.pack("=I", 3)})
    stage.put_entries("bans", {bytes([10, 0, 0, 9]): struct.pack("=I", 1)})
    stage.put_entries("recent", {bytes([10, 0, 0, n]): struct.pack("=Q", n) for n in range(10)})
    before = {name: stage.items(name) for name in names}
    path, _ = export(stage)
    bring_in(stage, path, "--merge", "max")
    assert {name: stage.items(name) for name in names} == before
    bring_in(stage, path, "--merge", "sum")
    assert stage.items("quotas") == {index: added_up(each, each)}
    assert stage.items("limits")[index] == added_up(each, each)
    assert stage.items("switches")[index] == struct.pack("=I", 6)
    stage.call("remove", "edge", "--state")
    stage.apply(spec)
    bring_in(stage, path)
    assert {name: stage.items(name) for name in names} == before


KILLER = """\
import os, sys
from reloader import cli, fault_points as effects
target, seen = int(os.environ["KILL_AT"]), [0]
def gate(when, name):
    seen[0] += 1
    if seen[0] == target:
        os.kill(os.getpid(), 9)
effects.install(gate)
code = cli.main(sys.argv[1:])
print("points", seen[0])
sys.exit(code)
"""


def killed(stage: Stage, path: Path, at: int) -> Done:
    words = ("state", "import", "edge", path, "--merge", "sum", "-q")
    return stage.spawn(*words, code=KILLER, env={**os.environ, "PYTHONPATH": str(ROOT), "KILL_AT": str(at)})


def test_killed_in_the_middle_it_is_all_or_nothing(stage: Stage) -> None:
    """Before and after every lasting effect: the old counts or the sum, never a part, never twice."""
    stage.apply(stage.spec())
    count(stage, 1000)
    path, _ = export(stage)
    points = int(killed(stage, path, 0).out.rsplit(" ", 1)[1])
    assert points > 20
    completed = 0
    for at in range(1, points + 1, 5):
        before = stage.counted(), per_cpu_packets(stage)
        assert killed(stage, path, at).code == -9
        stage.call("recover")
        after = stage.counted(), per_cpu_packets(stage)
        assert after in (before, (before[0] + 1000, before[1] + 1000)), f"killed at {at} of {points}"
        completed += after != before
        assert not [p for p in stage.sandbox.pins() if "/import/" in p]
    assert 0 < completed < len(range(1, points + 1, 5)), "both ways were to be taken"
