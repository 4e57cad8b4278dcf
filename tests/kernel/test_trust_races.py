"""V1: a stranger exchanges names while files are read and judged; what is loaded was judged by its descriptors."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.stage import ROOT, Stage
from reloader.errors import InputError, PermissionRefused
from reloader.pipeline import compile, host_file
from tests.support import faults

pytestmark = pytest.mark.kernel
STRANGER = 12345
ROUNDS = 20


@pytest.fixture
def theirs(stage: Stage) -> Path:
    """A stranger's folder below a sticky one."""
    sticky = stage.folder / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    folder = sticky / "conf"
    folder.mkdir()
    return folder


def give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, STRANGER, STRANGER)


def planted(stage: Stage, folder: Path, what: str) -> Path:
    """A pipeline of which one file lies in the folder; the YAML's path."""
    spec = stage.spec()
    if what == "csv":
        (folder / "block.csv").write_text("key,action\n192.0.2.66,XDP_DROP\n")
        spec["maps"]["blocklist"] = {"role": "config", "from": {"csv": str(folder / "block.csv")}}
    elif what == "object":
        shutil.move(stage.folder / "v1.bpf.o", folder)
        spec["objects"] = [str(folder / "v1.bpf.o")]
    elif what == "capture":
        (folder / "one.pcap").write_bytes(pcap(bytes(60)))
        spec["test"] = [{"packet": {"pcap": str(folder / "one.pcap")}, "expect": {"verdict": "XDP_DROP"}}]
    elif what == "registry":
        shutil.copytree(ROOT / "state" / "flow-count", folder / "flow-count")
        (stage.folder / "state").symlink_to(folder)
        spec["stateSchema"] = "flow-count"
    elif what == "yaml":
        spec["objects"] = [str(stage.folder / "v1.bpf.o")]
        shutil.move(stage.write(spec), folder)
        give_away(folder)
        return folder / stage.file.name
    give_away(folder)
    return stage.write(spec)


def pcap(frame: bytes) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return head + struct.pack("<4I", 0, 0, len(frame), len(frame)) + frame


@contextmanager
def storm(sticky: Path, name: str) -> Iterator[None]:
    """A process of the stranger's that renames its folder away and back as fast as it can."""
    folder = os.open(sticky, os.O_RDONLY | os.O_DIRECTORY)
    process = os.fork()
    if not process:
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        while True:
            with suppress(OSError):
                os.rename(name, "away", src_dir_fd=folder, dst_dir_fd=folder)
                os.rename("away", name, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(folder)


def weak(done: Any) -> set[tuple[str, str]]:
    return {(Path(one["at"]).name, one["weakness"]) for one in done.error["values"]["files"]}


@pytest.mark.parametrize("what", ["yaml", "object", "csv"])
def test_v1_a_storm_of_renames_never_gets_a_stranger_s_file_loaded(stage: Stage, theirs: Path, what: str) -> None:
    path = planted(stage, theirs, what)
    codes = []
    with storm(theirs.parent, theirs.name):
        for _ in range(ROUNDS):
            done = stage.run("apply", path)
            codes.append(done.code)
            assert done.code in (65, 77)
            assert stage.attached() == 0
            if done.code == 77:
                assert done.error["reason"] == "others-can-change"
                assert ("conf", "owner") in weak(done)
    assert not stage.standing().stored, codes


@pytest.mark.parametrize("instead", ["nothing", "a folder of root's"])
@pytest.mark.parametrize("what", ["yaml", "object", "csv", "capture", "registry"])
def test_v1_a_folder_that_is_exchanged_between_reading_and_judging(
    stage: Stage, theirs: Path, what: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault point lies behind the reading of all files, before anything is made of the findings."""
    path = planted(stage, theirs, what)
    original = compile.compile_source

    def exchanged(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        theirs.rename(theirs.parent / "away")
        if instead != "nothing":
            shutil.copytree(theirs.parent / "away", theirs)
        return found

    faults.inject(monkeypatch, "compile a source", exchanged)
    done = stage.run("apply", path)
    assert done.code == 77
    assert ("conf", "owner") in weak(done)
    assert stage.attached() == 0
    assert not stage.standing().stored


def test_v1_a_link_of_a_stranger_s_that_is_exchanged_behind_the_reading(
    stage: Stage, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sticky folder is safe for entries of ours only; the link is theirs, what it leads to is root's."""
    path = stage.write(stage.spec())
    link = theirs.parent / path.name
    shutil.move(stage.folder / "v1.bpf.o", theirs.parent)  # meant beside the name that was given
    link.symlink_to(path)
    os.lchown(link, STRANGER, STRANGER)
    original = compile.compile_source

    def exchanged(*given: Any, **more: Any) -> Any:
        found = original(*given, **more)
        link.unlink()
        link.symlink_to(path)
        return found

    faults.inject(monkeypatch, "compile a source", exchanged)
    done = stage.run("plan", link)
    assert done.code == 77
    assert weak(done) == {(link.name, "owner")}


def test_v1_compiled_wishes_are_not_taken_when_others_could_change_the_way_to_their_files(stage: Stage) -> None:
    folder = stage.folder / "conf"
    folder.mkdir()
    path = Path(shutil.move(stage.write(stage.spec()), folder))
    shutil.move(stage.folder / "v1.bpf.o", folder)
    time.sleep(0.2)  # younger files are not kept
    stage.call("apply", path)
    stage.call("plan", path)
    assert list(stage.paths.cache_dir.iterdir())
    os.chown(folder, STRANGER, STRANGER)
    done = stage.run("plan", path)
    assert done.code == 77
    assert weak(done) == {("conf", "owner")}


def test_v1_the_host_file_is_judged_by_what_was_read(stage: Stage, theirs: Path) -> None:
    """The same for the file that names commands, under a storm."""
    path = theirs / "host.yaml"
    path.write_text("apiVersion: reloader/v1\nkind: Host\ncommands: {probe: [/bin/true]}\n")
    give_away(theirs)
    refused = 0
    with storm(theirs.parent, theirs.name):
        for _ in range(20 * ROUNDS):
            with pytest.raises((PermissionRefused, InputError)) as caught:
                host_file.declared(path)
            refused += isinstance(caught.value, PermissionRefused)
    assert refused


def test_v1_an_import_file_is_judged_and_read_by_one_descriptor(stage: Stage, theirs: Path) -> None:
    stage.apply(stage.spec())
    stage.send(5)
    exported = theirs / "edge.state"
    done = stage.spawn("state", "export", stage.name, prefix=("sh", "-c", f'"$@" > {exported}', "sh"))
    assert done.code == 0, done.err
    stage.put_entries("flows", {})
    before = stage.items("counters")
    give_away(theirs)
    with storm(theirs.parent, theirs.name):
        for _ in range(ROUNDS):
            assert stage.run("state", "import", stage.name, exported, "--merge", "sum").code in (65, 77)
    done = stage.run("state", "import", stage.name, exported, "--merge", "sum")
    assert done.code in (65, 77)  # the storm may have left it renamed
    assert stage.items("counters") == before
