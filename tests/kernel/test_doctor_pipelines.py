"""doctor explains what is wrong with a pipeline and says what to do; what it says helps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import MOUNT, run
from lab.stage import Stage, wait_until
from reloader.kernel import LoadRequest, XdpMode
from tests.kernel.test_gc import OTHERS

pytestmark = pytest.mark.kernel


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.apply(stage.spec())
    return stage


def ills(stage: Stage) -> list[dict[str, Any]]:
    """All findings of what is wrong with pipelines."""
    done = stage.run("doctor")
    found = [f for f in done.document["findings"] if f["check"] in ("pipeline", "disk", "bpffs")]
    assert done.code == (0 if done.document["well"] else 69)
    return [f for f in found if not f["ok"]]


def ill(stage: Stage) -> dict[str, Any]:
    (one,) = ills(stage)
    return one


def test_a_pipeline_that_is_well(stage: Stage) -> None:
    document = stage.call("doctor")
    assert ("as-recorded", "edge") in [
        (f.get("reason"), f.get("values", {}).get("pipeline")) for f in document["findings"]
    ]
    assert ills(stage) == []


def test_a_bpffs_that_was_unmounted(stage: Stage) -> None:
    """Mounted again it is empty: what it says starts the pipeline again."""
    mount = str(stage.sandbox.dir / MOUNT)
    run("umount", mount)
    found, *_ = ills(stage)
    assert found["reason"] == "not-bpffs"
    assert "mount -t bpf" in found["hint"]
    run("mount", "-t", "bpf", "-o", "mode=0700", "none", mount)
    wait_until(lambda: not stage.attached())
    found = ill(stage)
    assert found["reason"] == "pins-all-missing"
    assert "--reset flows" in found["hint"]
    assert stage.run("apply", stage.file).code == 65, "state is not given up unasked"
    stage.call("apply", stage.file, "--reset", "flows", "--reset", "counters")
    assert ills(stage) == []
    stage.assert_counts()


@pytest.mark.parametrize("part", ["/pub/flows", "/state/flows", "/progs/count_flows"])
def test_a_pin_that_was_removed(stage: Stage, part: str) -> None:
    (pin,) = (p for p in stage.sandbox.pins() if part in p)
    stage.kernel.pins.unpin(f"{stage.sandbox.bpffs}/{pin}")
    found = ill(stage)
    assert found["reason"] == "pins-missing"
    assert "apply restores them" in found["hint"]
    stage.call("apply", stage.file)
    assert ills(stage) == []


def test_an_interface_that_is_gone_and_one_that_came_back(stage: Stage) -> None:
    rx = stage.sandbox.rx
    run("ip", "-n", rx.name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
    stage.apply(stage.spec(attach=[stage.attach(), stage.attach(interface="eph0")]))
    run("ip", "-n", rx.name, "link", "del", "eph0")
    found = ill(stage)
    assert "interface 'eph0' is missing" in found["what"]
    run("ip", "-n", rx.name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
    found = ill(stage)
    assert "the interface was recreated" in found["what"]
    assert "`reloader apply FILE`" in found["hint"]
    stage.call("apply", stage.file)
    assert ills(stage) == []


def test_a_namespace_that_is_gone(stage: Stage) -> None:
    name = f"{stage.sandbox.name}-x"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
    attach = {**stage.attach(interface="eph0"), "netns": f"/run/netns/{name}"}
    stage.apply(stage.spec(attach=[stage.attach(), attach]))
    run("ip", "netns", "del", name)
    found = ill(stage)
    assert f"the network namespace /run/netns/{name} does not exist" in found["what"]


def test_somebody_elses_program(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    """Our link is gone and theirs sits there, by netlink."""
    rx = stage.sandbox.rx
    (pin,) = (p for p in stage.sandbox.pins() if "/links/" in p)
    stage.kernel.pins.unpin(f"{stage.sandbox.bpffs}/{pin}")
    wait_until(lambda: not stage.attached())
    assert "our link's pin is missing" in ill(stage)["what"]
    request = LoadRequest(objects=(compile_bpf(OTHERS).read_bytes(),), name="others", programs=("others",))
    loaded = stage.kernel.progs.load(request)
    interface = stage.kernel.net.interface(rx.interface, rx.netns)
    assert interface
    with loaded.progs["others"] as prog:
        stage.kernel.links.give_back_xdp(prog, ifindex=interface.ifindex, mode=XdpMode.NATIVE, netns=rx.netns)
    loaded.close()
    (shown,) = stage.call("status")["pipelines"]
    assert shown["state"] == "drift"
    assert "our link's pin is missing; program 'others' (id" in shown["attachments"][0]["seen"]
    assert "runs there, by netlink" in shown["attachments"][0]["seen"]
    assert shown["attachments"][0]["reason"] == "occupied"
    found = ill(stage)
    assert "program 'others'" in found["what"]
    assert "by netlink" in found["what"]
    assert "--take-over" in found["hint"]
    stage.call("apply", stage.file, "--take-over")
    assert ills(stage) == []


def test_a_journal_left_open(stage: Stage) -> None:
    journal = stage.paths.journal_file("edge", "00000000000000000001-1")
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"")
    found = ill(stage)
    assert found["reason"] == "transaction-open"
    assert "`reloader recover edge`" in found["hint"]
    stage.call("recover")
    assert ills(stage) == []


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_damaged_records(stage: Stage, damage: bytes) -> None:
    stage.paths.current_file("edge").write_bytes(damage)
    found = ill(stage)
    assert found["reason"] == "records-damaged"
    assert "`reloader recover edge`" in found["hint"]
    stage.call("recover", "edge")
    assert ills(stage) == []


def test_lost_records(stage: Stage) -> None:
    shutil.rmtree(stage.records / "pipelines")
    found = ill(stage)
    assert found["reason"] == "records-missing"
    assert "`reloader recover edge`" in found["hint"]
    stage.call("recover", "edge")
    assert ills(stage) == []


def test_stored_files_that_are_damaged(stage: Stage) -> None:
    (blob,) = (stage.records / "objects").iterdir()
    sound = blob.read_bytes()
    blob.write_bytes(sound[:-1] + b"?")
    found = ill(stage)
    assert str(blob) in found["what"]
    assert f"remove {blob}, then apply it again from its YAML" in found["hint"]


def test_a_full_disk(stage: Stage, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small))
    try:
        stage.records = small
        assert any(f["reason"] == "disk-full" for f in ills(stage))
    finally:
        run("umount", str(small))


@pytest.mark.parametrize("name", [b"a\rb", b"\xff", "a\u2028b".encode()])
def test_a_mount_point_with_an_odd_name(stage: Stage, name: bytes) -> None:
    """Trap: a carriage return in any mount point ended doctor with a traceback."""
    stage.apply(stage.spec())
    folder = stage.folder / os.fsdecode(name)
    folder.mkdir()
    mounted = 'mount -t tmpfs none "$1"; shift; exec "$@"'
    prefix = ("unshare", "-m", "--propagation", "private", "sh", "-ec", mounted, "sh", str(folder))
    done = stage.spawn("doctor", prefix=prefix)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
