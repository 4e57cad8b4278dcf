"""The day on which reloader itself is what fails: a stored generation's shell script, with no Python in reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from lab.stage import ROOT, Stage, wait_until
from reloader.kernel import MapType
from tests.support.processes import running

pytestmark = pytest.mark.kernel

TOOLS = (
    "sh", "bpftool", "nsenter", "od", "awk", "dd", "cp", "rm", "mktemp", "mkdir", "mv", "sleep", "stat",
)  # fmt: skip


def rescue(stage: Stage, number: int) -> subprocess.CompletedProcess[str]:
    """Generation `number` by its script, with a PATH that holds what the script says it needs and nothing else."""
    bare = stage.folder / "bin"
    bare.mkdir(exist_ok=True)
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found, tool
        (bare / tool).unlink(missing_ok=True)
        (bare / tool).symlink_to(found)
    path = stage.paths.rescue_file("edge", number)
    text = path.read_text().replace('PATH="$PATH:/usr/sbin:/sbin"', "")
    command = [str(bare / "sh"), "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(bare)}, timeout=30)


def name_of(stage: Stage) -> str:
    with stage.kernel.progs.by_id(stage.attached()) as fd:
        return stage.kernel.progs.info(fd).name


def rescued(stage: Stage, name: str) -> dict[bytes, bytes]:
    with stage.kernel.pins.get(f"{stage.sandbox.bpffs}/edge/rescue/maps/{name}") as fd:
        return stage.kernel.maps.items(fd)


def sweep(stage: Stage) -> None:
    """As its user would."""
    stage.call("remove", "edge", "--state")
    assert not stage.attached()
    assert not stage.sandbox.pins()


def test_a_generation_without_reloader(stage: Stage) -> None:
    """Program, constants, entries and state of generation 1, while generation 2 was in service."""
    entries = [{"key": f"192.0.2.{n}", "value": {"action": "XDP_DROP"}} for n in range(60, 80)]
    first = stage.spec("v1", rodata={"sample_rate": 7, "default_verdict": "XDP_DROP"})
    first["maps"]["blocklist"]["entries"] = entries
    stage.apply(first)
    stage.assert_counts()
    wanted, sample = stage.items("blocklist"), stage.attached()
    stage.apply(stage.spec("v2", rodata={"sample_rate": 1}))
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    assert stage.attached() not in (0, sample)
    assert name_of(stage) == "count_flows"
    assert rescued(stage, "blocklist") == wanted
    stage.assert_counts()  # in the same state map as before
    assert int.from_bytes(rodata_of(stage)["sample_rate"], "little") == 7
    sweep(stage)


def rodata_of(stage: Stage) -> dict[str, bytes]:
    """The constants that the attached program was loaded with."""
    from reloader.structs.elf import read_object

    variables = read_object((stage.folder / "v1.bpf.o").read_bytes()).rodata
    with stage.kernel.progs.by_id(stage.attached()) as fd:
        ids = stage.kernel.progs.info(fd).map_ids
    for found in ids:
        with stage.kernel.maps.by_id(found) as fd:
            if stage.kernel.maps.info(fd).name.endswith(".rodata"):
                data = stage.kernel.maps.lookup(fd, bytes(4)) or b""
                return {n: data[v.offset : v.offset + v.size] for n, v in variables.items()}
    raise AssertionError("no .rodata")


def test_after_everything_was_lost(stage: Stage) -> None:
    """A restart of the kernel: no pins. The script loads all anew; state starts empty."""
    stage.apply(stage.spec("v1"))
    stage.call("remove", "edge")
    shutil.rmtree(f"{stage.sandbox.bpffs}/edge")
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    stage.send(10)
    assert sum(int.from_bytes(v[:8], "little") for v in rescued(stage, "flows").values()) == 10
    before = stage.attached()
    assert rescue(stage, 1).returncode == 0
    assert stage.attached() not in (0, before)
    sweep(stage)


@pytest.mark.parametrize("serials", [(9, 10), (99, 100), (10, 9), (2, 11)], ids=str)
def test_regress_the_state_pin_of_the_highest_serial(stage: Stage, serials: tuple[int, int]) -> None:
    """Serial 10 is newer than serial 9, whichever a shell lists first."""
    stage.apply(stage.spec("v1"))
    stage.assert_counts()
    live, stale = max(serials), min(serials)
    (pin,) = [p for p in stage.sandbox.pins() if "/state/flows-" in p]
    stem = f"{stage.sandbox.bpffs}/{pin.rpartition('-')[0]}"
    with stage.pub("flows") as fd:
        info = stage.kernel.maps.info(fd)
        stage.kernel.pins.pin(fd, f"{stem}-{live}")
    sizes = ("key", str(info.key_size), "value", str(info.value_size), "entries", str(info.max_entries))
    kind = MapType(info.type).name.lower()
    stage.sandbox.rx.run("bpftool", "map", "create", f"{stem}-{stale}", "type", kind, *sizes, "name", "flows")
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    stage.assert_counts()
    for serial in serials:  # no record explains these, so `remove` leaves them
        stage.kernel.pins.unpin(f"{stem}-{serial}")
    sweep(stage)


def test_regress_a_rescue_takes_up_live_maps_below_other_pins(stage: Stage) -> None:
    """Pins of streams too are looked for where RELOADER_BPFFS says."""
    stage.apply(stage.spec("v1"))
    text = stage.paths.rescue_file("edge", 1).read_text()
    found = [line for line in text.splitlines() if line.startswith("newest ")]
    assert len(found) == 3
    assert all(line.startswith('newest "$pins"/edge/') for line in found), found


def test_every_generation_has_one_and_it_goes_with_it(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v2"))
    for number in (1, 2):
        path = stage.paths.rescue_file("edge", number)
        assert path.stat().st_mode & 0o777 == 0o700
        syntax = subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True, check=False)
        assert syntax.returncode == 0, syntax.stderr
    stage.call("remove", "edge", "--state")
    assert not list(stage.records.rglob("*.sh"))


def test_regress_apply_takes_over_from_the_script(stage: Stage) -> None:
    """What the script attached is ours: no --take-over, and nothing of it stays."""
    stage.apply(stage.spec("v1"))
    stage.assert_counts()
    assert rescue(stage, 1).returncode == 0
    said = stage.run("doctor", json_too=False)
    assert "`reloader apply FILE` takes over from it" in said.out + said.err
    kept = stage.run("gc", "--dry-run", json_too=False)
    assert "a rescue script loaded it" in kept.out + kept.err
    stage.call("apply", stage.file)
    assert not [p for p in stage.sandbox.pins() if "/rescue" in p]
    stage.assert_counts()
    assert stage.call("status", "edge")["pipelines"][0]["state"] == "serving"


def test_watch_leaves_the_scripts_version(stage: Stage) -> None:
    """Whoever ran it had a reason: what acts by itself does not go back to the version before an edit."""
    stage.apply(stage.spec("v1"))
    assert rescue(stage, 1).returncode == 0
    by_hand, said = stage.attached(), stage.folder / "said"
    command = [sys.executable, "-m", "reloader", "watch", str(stage.folder), *stage.where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with running(command, said, environment):
        wait_until(lambda: "is not applied until it changes" in said.read_text(), seconds=10)
    assert stage.attached() == by_hand, said.read_text()
    sweep(stage)


def test_regress_remove_leaves_somebody_elses_program(stage: Stage) -> None:
    """Who came after the script stays; only its pins go."""
    stage.apply(stage.spec("v1"))
    pin = stage.paths.prog_pin("edge", 1, "count_flows")
    assert rescue(stage, 1).returncode == 0
    rx = stage.sandbox.rx
    rx.run("bpftool", "net", "attach", "xdpdrv", "pinned", pin, "dev", rx.interface, "overwrite")
    theirs = stage.attached()
    stage.call("remove", "edge", "--state")
    assert stage.attached() == theirs
    assert not stage.sandbox.pins()
    rx.run("ip", "link", "set", rx.interface, "xdpdrv", "off")
