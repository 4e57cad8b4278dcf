"""V8: a FIFO, socket, device or folder in the place of any file that is read: an error at once, never a wait."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from lab.stage import ROOT, Done, Stage
from reloader.errors import InputError
from reloader.pipeline import host_file
from reloader.store import records

pytestmark = pytest.mark.kernel
PATIENCE = 20  # seconds; what waits for a FIFO waits for ever
ODD = "not-a-regular-file"


@pytest.fixture
def serving(stage: Stage) -> Stage:
    """Two generations, with entries."""
    spec = stage.spec()
    for action in ("XDP_DROP", "XDP_PASS"):
        spec["maps"]["blocklist"]["entries"] = [{"key": "192.0.2.66", "value": {"action": action}}]
        stage.apply(spec)
    return stage


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        at = os.open(path.parent, os.O_PATH)  # the name of a socket may be 107 bytes long
        one.bind(f"/proc/self/fd/{at}/{path.name}")
        os.close(at)


def _link(path: Path) -> None:
    behind = path.parent / "behind"
    behind.unlink(missing_ok=True)
    os.mkfifo(behind)
    path.symlink_to("behind")


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (_fifo, "fifo"),
    "socket": (_socket, "socket"),
    "endless device": (lambda p: os.mknod(p, stat.S_IFCHR | 0o600, os.makedev(1, 5)), "character-device"),
    "block device": (lambda p: os.mknod(p, stat.S_IFBLK | 0o600, os.makedev(240, 250)), "block-device"),
    "directory": (Path.mkdir, "directory"),
    "link to a fifo": (_link, "fifo"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def put(path: Path, kind: str) -> str:
    """Put it in the place of a file; its type as errors name it."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make, name = KINDS[kind]
    make(path)
    return name


@contextmanager
def at_once() -> Iterator[None]:
    def late(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(stage: Stage, *words: str | Path) -> Done:
    with at_once():
        return stage.run(*words)


def reasons(done: Done) -> set[tuple[str, str]]:
    """(reason, type) of the error and its problems."""
    found = [done.error, *done.error.get("problems", [])]
    return {(one["reason"], one["values"].get("type", "")) for one in found if "reason" in one}


def plan_with(stage: Stage, what: str) -> tuple[Path, Path]:
    """(a YAML, the file that is to be exchanged)."""
    spec, folder = stage.spec(), stage.folder
    if what == "object":
        return stage.write(spec), folder / "v1.bpf.o"
    if what in ("csv", "jsonl"):
        spec["maps"]["blocklist"] = {"role": "config", "from": {what: f"block.{what}"}}
        return stage.write(spec), folder / f"block.{what}"
    if what == "capture":
        spec["test"] = [{"packet": {"pcap": "one.pcap"}, "expect": {"verdict": "XDP_DROP"}}]
        return stage.write(spec), folder / "one.pcap"
    if what == "registry":
        shutil.copytree(ROOT / "state" / "flow-count", folder / "state" / "flow-count")
        spec["stateSchema"] = "flow-count"
        return stage.write(spec), folder / "state" / "flow-count" / "flows.1.yaml"
    return stage.write(spec), stage.file


@every_kind
@pytest.mark.parametrize("what", ["yaml", "object", "csv", "jsonl", "capture", "registry"])
def test_v8_in_place_of_what_a_pipeline_is_made_from(stage: Stage, what: str, kind: str) -> None:
    path, odd = plan_with(stage, what)
    name = put(odd, kind)
    if odd == path and kind == "directory":
        path = path.parent  # a folder that is named is read as one; in a listing it is no file
    for command in ("validate", "apply", "test"):
        words = (command, path)
        done = run(stage, *words) if command == "apply" else _unplaced(stage, *words)
        assert done.code == 65, (command, done)
        assert reasons(done) == {(ODD, name)}
    assert stage.attached() == 0


def _unplaced(stage: Stage, *words: str | Path) -> Done:
    with at_once():
        return stage.run(*words, where=words[0] == "test")


@every_kind
def test_v8_in_place_of_the_host_file(stage: Stage, kind: str) -> None:
    odd = stage.folder / "host.yaml"
    name = put(odd, kind)
    with at_once(), pytest.raises(InputError) as caught:
        host_file.declared(odd)
    assert caught.value.reason == ODD
    assert caught.value.values["type"] == name


@every_kind
def test_v8_in_place_of_an_import_file(serving: Stage, kind: str) -> None:
    """It is read while the writer lock is held."""
    odd = serving.folder / "edge.state"
    name = put(odd, kind)
    done = run(serving, "state", "import", serving.name, odd)
    assert done.code == 65
    assert reasons(done) == {(ODD, name)}
    serving.call("status")


def test_v8_an_import_file_that_cannot_be_read(serving: Stage) -> None:
    done = run(serving, "state", "import", serving.name, "/proc/self/mem")
    assert (done.code, reasons(done)) == (65, {("cannot-be-read", "")})
    assert done.error["problems"][0]["file"] == "/proc/self/mem"


COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "history": ("history", "edge"),
    "show": ("show", "edge"),
    "diff": ("diff", "edge", "--live"),
    "doctor": ("doctor",),
    "recover": ("recover",),
    "rollback": ("rollback", "edge"),
    "apply": ("apply", "FILE"),
    "plan": ("plan", "FILE"),
    "gc": ("gc",),
    "remove": ("remove", "edge"),
}


def record(stage: Stage, what: str) -> Path:
    paths = stage.paths
    wish = records.read_generation(paths, "edge", 2).wish
    listed = next(m.entries for m in wish.maps if m.entries)
    return {
        "current": paths.current_file("edge"),
        "generation": paths.generation_file("edge", 2),
        "older generation": paths.generation_file("edge", 1),
        "object": paths.blob_file("objects", wish.objects[0].digest),
        "entries": paths.blob_file("entries", listed.digest),
        "journal": paths.journal_file("edge", "00000000000000000001-1"),
        "reserve": paths.reserve_file("edge"),
        "cache": next(paths.cache_dir.iterdir()),
    }[what]


READS = ("history", "show", "diff", "plan")
CHANGES = ("rollback", "apply", "remove")
NEEDS_HUMAN: dict[str, tuple[str, ...]] = {  # record -> the commands that cannot do without it: exit 4
    "current": (*READS, *CHANGES),
    "generation": (*READS, *CHANGES),
    "older generation": ("history", "rollback"),
    "object": (),  # a change of entries alone; `apply` stores it again
    "entries": ("diff",),
    "journal": ("recover", *CHANGES),
    "reserve": (),
    "cache": (),
}
UNWELL = ("current", "generation", "object", "entries", "journal")  # records that doctor finds something about: 69


@pytest.mark.parametrize("kind", ["fifo", "directory", "link to a fifo"])
@pytest.mark.parametrize("what", NEEDS_HUMAN)
def test_v8_in_place_of_a_record(serving: Stage, what: str, kind: str) -> None:
    """Damage like any other: exit 4 where it is needed, and nothing waits, least of all with the writer lock."""
    spec = yaml.safe_load(serving.file.read_text())["spec"]
    spec["maps"]["blocklist"]["entries"] = []
    serving.write(spec)
    odd = record(serving, what)
    for command, words in COMMANDS.items():
        odd.parent.mkdir(exist_ok=True)
        name = put(odd, kind)
        done = run(serving, *(str(serving.file) if w == "FILE" else w for w in words))
        if command in NEEDS_HUMAN[what]:
            assert (done.code, reasons(done)) == (4, {(ODD, name)}), (command, done)
        elif command == "doctor":
            assert done.code == (69 if what in UNWELL else 0), done
        elif what == "entries" and done.code == 65:  # a listing that cannot be read explains no entry
            assert reasons(done) == {("foreign-entries", "")}, (command, done)
            assert command in ("plan", "apply")
        elif done.code:  # where a folder stands, no file can be renamed to
            assert (kind, reasons(done)) == ("directory", {(ODD, name)}), (command, done)
            assert done.code in (1, 3, 4)
        assert serving.attached() or command == "remove"
