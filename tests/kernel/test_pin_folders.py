"""Pin folders of other users: refused before a change, shown by doctor, repaired by its hint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.stage import ROOT, Done, Stage
from reloader.bpf import folders
from reloader.disk.lock import writer_lock
from reloader.errors import KernelError
from reloader.pins import own_folders
from tests.kernel.test_rescue import rescue
from tests.support import faults

pytestmark = pytest.mark.kernel

USER = 12345
REASON = "pin-folder-not-ours"


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """The bpf filesystem is world-writable and sticky, as /sys/fs/bpf often is."""
    stage.sandbox.dir.chmod(0o755)
    mount = Path(stage.sandbox.bpffs).parent
    mount.chmod(0o1777)
    Path(stage.sandbox.bpffs).rmdir()
    return stage


def as_user(*words: str | Path, user: int = USER, group: int = USER) -> int:
    """The exit code of a command of an ordinary user."""
    prefix = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--bounding-set=-all")
    return subprocess.run([*prefix, *map(str, words)], capture_output=True, check=False).returncode


def refused(done: Done, path: str | Path, kind: str = "owner") -> None:
    assert done.code == 77, done.out
    error = done.document["error"]
    assert error["reason"] == REASON
    assert error["values"]["path"] == str(path)
    assert [f["kind"] for f in error["values"]["folders"] if f["path"] == str(path)] == [kind]


@pytest.mark.parametrize("below", ["", "edge", "edge/links"])
def test_v3_a_pin_folder_made_beforehand_by_a_user(stage: Stage, below: str) -> None:
    """The user would own the folder of the link's pin, and could remove that: the program would leave its hook."""
    folder = Path(stage.sandbox.bpffs, below)
    assert as_user("mkdir", "-p", folder) == 0
    file = stage.write(stage.spec("v1"))
    first = stage.sandbox.bpffs
    for command in ("plan", "apply"):
        refused(stage.run(command, file), first)
    assert not stage.attached()
    assert not stage.sandbox.pins()
    findings = [f for f in stage.run("doctor").document["findings"] if f["check"] == "pins" and not f["ok"]]
    assert [str(first) in f["what"] for f in findings][:1] == [True]
    for finding in findings:
        subprocess.run(["sh", "-c", finding["hint"]], check=True)
    assert [f["ok"] for f in stage.run("doctor").document["findings"] if f["check"] == "pins"] in ([True], [])
    stage.call("apply", file)
    (link,) = Path(first, "edge/links").iterdir()
    assert as_user("rm", "-f", link) != 0
    assert stage.attached()
    assert Path(first).stat().st_uid == 0


def test_v3_folders_of_ours_are_private(stage: Stage) -> None:
    file = stage.write(stage.spec("v1"))
    old = os.umask(0)
    try:
        stage.call("apply", file)
    finally:
        os.umask(old)
    for base, _, _ in os.walk(stage.sandbox.bpffs):
        info = os.stat(base)
        assert (info.st_uid, info.st_mode & 0o777) == (0, 0o700), base


@pytest.mark.parametrize("below", ["", "edge", "edge/links", "edge/loads/1", "edge/loads/1/progs", "edge/pub"])
@pytest.mark.parametrize("kind", ["owner", "writable"])
def test_v3_everything_that_pins_refuses_a_folder_that_was_given_away(stage: Stage, below: str, kind: str) -> None:
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    command = [sys.executable, "-m", "reloader", "state", "export", "edge", *stage.where]
    (stage.folder / "state").write_bytes(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    below = below.replace("loads/1", "loads/2")
    folder, serving = Path(stage.sandbox.bpffs, below), stage.attached()
    if kind == "owner":
        os.chown(folder, USER, USER)
    else:
        folder.chmod(0o770)
    for words in (
        ["apply", stage.file], ["plan", stage.file], ["rollback", "edge"], ["recover", "edge"],
        ["panic", "edge", "--open"], ["state", "import", "edge", stage.folder / "state"],
    ):  # fmt: skip
        refused(stage.run(*words), folder, kind)
    assert rescue(stage, 1).returncode == 77
    assert stage.attached() == serving
    (finding,) = [f for f in stage.run("doctor").document["findings"] if f["check"] == "pins" and not f["ok"]]
    subprocess.run(["sh", "-c", finding["hint"]], check=True)
    stage.call("rollback", "edge")
    assert stage.attached() != serving


def test_v3_a_user_s_link_in_place_of_a_pin_folder(stage: Stage) -> None:
    """It would lead all pins to where its owner likes."""
    other = Path(stage.sandbox.bpffs).parent / "other"
    other.mkdir(mode=0o700)
    assert as_user("ln", "-s", other, stage.sandbox.bpffs) == 0
    refused(stage.run("apply", stage.write(stage.spec("v1"))), stage.sandbox.bpffs, "link")
    assert not list(other.iterdir())
    os.unlink(stage.sandbox.bpffs)
    stage.call("apply", stage.file)


@pytest.mark.parametrize("kind", ["link", "owner", "writable"])
def test_v3_the_way_to_the_bpf_filesystem_is_judged_too(stage: Stage, kind: str) -> None:
    """With a link or a folder there a user could lead the pins to another place, or the next command past them."""
    sticky, mount = stage.folder / "sticky", Path(stage.sandbox.bpffs).parent
    sticky.mkdir()
    sticky.chmod(0o1777)
    weak = sticky / "x"
    if kind == "link":
        weak.symlink_to(mount)
        os.lchown(weak, USER, USER)
        bpffs = weak / "reloader"
    else:
        weak.mkdir()
        (weak / "y").symlink_to(mount)
        bpffs = weak / "y" / "reloader"
        if kind == "owner":
            os.chown(weak, USER, USER)
        else:
            weak.chmod(0o777)
    where = ["--bpffs", str(bpffs), "--records", str(stage.records)]
    file = stage.write(stage.spec("v1"))
    for command in ("plan", "apply"):
        refused(stage.run(command, file, *where, where=False), weak, kind)
    assert not stage.sandbox.pins()
    if kind == "link":
        weak.unlink()
        weak.symlink_to(mount)
    else:
        os.chown(weak, 0, 0)
        weak.chmod(0o755)
    assert stage.run("apply", file, *where, where=False).code == 0
    assert stage.run("apply", file, *where, where=False).document["pipelines"][0]["why"] == "nothing to do"
    os.lchown(weak, USER, USER)
    refused(stage.run("apply", file, *where, where=False), weak, kind if kind == "link" else "owner")
    done = stage.run("doctor", *where, where=False)
    assert [str(weak) in f["what"] for f in done.document["findings"] if f["check"] == "pins" and not f["ok"]] == [True]


@pytest.mark.parametrize("below", ["", "x"])
def test_v3_a_pin_folder_that_is_no_folder_of_a_bpf_filesystem(stage: Stage, below: str) -> None:
    """No advice about files that are not pins: /dev/null is writable by everybody, and should be."""
    for path in (Path("/dev/null", below), Path(stage.write(stage.spec("v1")), below)):
        where = ["--bpffs", str(path), "--records", str(stage.records)]
        for command in ("plan", "apply"):
            assert stage.run(command, stage.file, *where, where=False).code == 69


def test_v3_a_folder_that_is_exchanged_between_judging_and_pinning(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user makes it first, after everything was judged: nothing is pinned below it, and nothing stays."""
    spec, folder = stage.spec("v1"), Path(stage.sandbox.bpffs)
    judged = own_folders.require_own_folders

    def and_then_taken(*words: object) -> None:
        judged(*words)  # type: ignore[arg-type]
        if not folder.exists():
            assert as_user("mkdir", folder) == 0

    faults.inject(monkeypatch, "own folders", and_then_taken)
    done = stage.run("apply", stage.write(spec))
    assert done.code in (1, 77), done.out
    assert not stage.attached()
    assert not stage.sandbox.pins()


def test_v3_a_pin_goes_to_the_folder_that_was_judged(stage: Stage) -> None:
    """Whatever bears its name by then."""
    root = Path(stage.sandbox.bpffs)
    stage.apply(stage.spec("v1"))
    with folders.judged(f"{root}/edge/links") as at:
        (root / "edge").rename(root / "moved")
        (root / "edge/links").mkdir(parents=True)
        with stage.kernel.maps.by_id(map_of(stage)) as fd:
            stage.kernel.pins.pin(fd, f"/proc/self/fd/{at}/here")
    assert (root / "moved/links/here").exists()
    assert not (root / "edge/links/here").exists()
    os.chown(root / "edge", USER, USER)
    with stage.kernel.maps.by_id(map_of(stage)) as fd, pytest.raises(KernelError):
        stage.kernel.pins.pin(fd, f"{root}/edge/links/here")


def map_of(stage: Stage) -> int:
    found = next(Path(stage.sandbox.bpffs).glob("*/pub/flows"))
    with stage.kernel.pins.get(str(found)) as fd:
        return stage.kernel.maps.info(fd).id


def test_v3_gc_leaves_a_folder_of_others(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    folder = Path(stage.sandbox.bpffs, "other/loads/1/progs")
    folder.mkdir(parents=True)
    os.chown(folder.parent, USER, USER)
    kept = stage.call("gc")["kept"]
    assert [k["path"] for k in kept] == [str(folder.parent)]
    assert folder.is_dir()


def test_v3_a_writer_needs_no_more_than_its_own_pipeline_s_folders(stage: Stage) -> None:
    """Another pipeline's folder is no obstacle, and neither is the sticky root of the bpf filesystem."""
    stage.apply(stage.spec("v1"))
    other = Path(stage.sandbox.bpffs, "other")
    other.mkdir()
    os.chown(other, USER, USER)
    stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    with writer_lock(stage.paths):
        pass
