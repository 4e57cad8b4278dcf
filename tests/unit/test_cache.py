"""pipeline/cache.py: a hit reads no object and imports nothing heavy; whatever changed is a miss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.disk import atomic_files
from reloader.disk.atomic_files import Inputs
from reloader.errors import InputError
from reloader.paths import Paths
from reloader.pipeline import cache, compile
from reloader.pipeline.wish import Compiled
from tests.support import faults

YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {name: subject}
spec:
  objects: [subject.bpf.o]
  attach: [{program: look, type: xdp, interface: eth0}]
  maps:
    policies: {role: state}
    blocklist: {role: config, from: {csv: b.csv}}
    pairs: {role: state}
    slots: {role: state}
    unsaid: {role: state}
    events: {role: stream}
    ports: {role: live}
    jumps: {role: live}
    .bss: {role: state}
"""


class Place:
    """A YAML with its files, a record directory, and a count of the compilations."""

    def __init__(self, folder: Path, paths: Paths) -> None:
        self.folder, self.paths = folder, paths
        self.yaml = folder / "t.yaml"
        self.compilations = 0

    def load(self) -> Compiled:
        (one,) = cache.load_wishes(self.yaml, self.paths)
        return one

    def apply(self) -> Compiled:
        """Load, and store the contents as the engine does."""
        one = self.load()
        for digest, data in one.objects.items():
            atomic_files.write_atomic(self.paths.object_file(digest), data)
        for digest, data in one.entries.items():
            atomic_files.write_atomic(self.paths.entries_file(digest), data)
        return one

    def age(self) -> None:
        """Let the files be older than what could still change unseen."""
        time.sleep(0.06)

    @property
    def kept(self) -> Path:
        (path,) = self.paths.cache_dir.iterdir()
        return path


@pytest.fixture
def place(tmp_path: Path, compile_bpf: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path / "src", Paths(records=tmp_path / "records"))
    made.folder.mkdir()
    made.yaml.write_text(YAML)
    (made.folder / "b.csv").write_text("key,value\n10.0.0.0/8,1\n")
    source = Path(__file__).parent / "bpf" / "spec_subject.bpf.c"
    (made.folder / "subject.bpf.o").write_bytes(compile_bpf(source).read_bytes())
    original = compile.compile_source

    def counted(data: bytes, path: Path, inputs: Inputs, **more: bool) -> tuple[Compiled, ...]:
        made.compilations += 1
        return original(data, path, inputs, **more)

    faults.inject(monkeypatch, "compile a source", counted)
    made.age()
    return made


def test_the_second_time_is_a_hit_with_the_same_wish(place: Place) -> None:
    first, second = place.apply(), place.load()
    assert place.compilations == 1
    assert second.wish == first.wish
    assert second.files == first.files
    assert (second.objects, second.entries) == ({}, {})


def test_a_hit_needs_the_stored_contents(place: Place) -> None:
    place.load()
    one = place.apply()  # nothing was stored yet: compiled again
    assert place.compilations == 2
    for digest in one.entries:
        place.paths.entries_file(digest).unlink()
    assert place.load().entries == one.entries
    assert place.compilations == 3


@pytest.mark.parametrize("name", ["t.yaml", "b.csv", "subject.bpf.o"])
def test_a_changed_file_is_a_miss(place: Place, name: str) -> None:
    place.apply()
    path = place.folder / name
    path.write_bytes(path.read_bytes() + (b"\n" if name != "subject.bpf.o" else b"\0"))
    place.load()
    assert place.compilations == 2


def test_the_same_times_and_size_do_not_hide_a_change(place: Place) -> None:
    """mtime can be set back, ctime cannot."""
    place.apply()
    path = place.folder / "b.csv"
    before = path.stat()
    path.write_text("key,value\n10.0.0.0/8,2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    place.load()
    assert place.compilations == 2


def test_a_file_changed_a_moment_ago_is_not_trusted(place: Place) -> None:
    (place.folder / "b.csv").write_text("key,value\n10.0.0.0/8,3\n")
    place.apply()
    assert not place.paths.cache_dir.exists()
    place.age()
    place.apply()
    place.load()
    assert place.compilations == 2


def test_touching_the_yaml_is_a_hit_moving_it_is_not(place: Place) -> None:
    place.apply()
    place.yaml.touch()
    place.load()
    assert place.compilations == 1
    place.yaml = place.yaml.rename(place.folder / "u.yaml")
    place.load()
    assert place.compilations == 2


def test_another_version_or_schema_is_a_miss(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.apply()
    faults.inject(monkeypatch, "version", "0.0.0-other")
    place.load()
    assert place.compilations == 2
    faults.inject(monkeypatch, "schema digest", lambda: "other")
    place.load()
    assert place.compilations == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data.replace(b'"count":1', b'"count":2'),
        lambda data: b"\xff" * 100,
        lambda data: signed(b"[]"),
        lambda data: signed(b"{}"),
        lambda data: signed(b'{"key": 1, "files": 2, "wishes": 3}'),
        lambda data: signed(json.dumps({**json.loads(data[65:]), "wishes": [{"pipeline": 1}]}).encode()),
    ],
)
def test_a_corrupt_cache_file_is_a_miss_and_mended(place: Place, spoil: Callable[[bytes], bytes]) -> None:
    place.apply()
    good = place.kept.read_bytes()
    bad = spoil(good)
    assert bad != good
    place.kept.write_bytes(bad)
    place.load()
    assert place.compilations == 2
    assert place.kept.read_bytes() == good


def signed(body: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def test_a_cache_that_cannot_be_written_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, **_: object) -> None:
        raise OSError(28, "No space left on device")

    faults.inject(monkeypatch, "cache write", full)
    assert place.load().wish.pipeline == "subject"
    assert place.load().wish.pipeline == "subject"


def test_bad_input_is_never_cached(place: Place) -> None:
    place.yaml.write_text(YAML.replace("look", "lok"))
    for _ in range(2):
        with pytest.raises(InputError):
            place.load()
    assert place.compilations == 2


def test_a_hit_imports_nothing_heavy_and_opens_no_object(place: Place) -> None:
    place.apply()
    program = """
import os, sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: event == "open" and not args[2] & os.O_PATH and opened.append(str(args[0])))
from reloader.paths import Paths
from reloader.pipeline.cache import load_wishes
(one,) = load_wishes(Path(sys.argv[1]), Paths(records=Path(sys.argv[2])))
heavy = {"yaml", "jsonschema", "csv", "difflib"}
heavy |= {"reloader.structs.elf", "reloader.pipeline.compile", "reloader.pipeline.parse"}
print(sorted(heavy & sys.modules.keys()), [o for o in opened if o.endswith((".bpf.o", ".csv"))], one.wish.pipeline)
"""
    command = [sys.executable, "-c", program, str(place.yaml), str(place.paths.records)]
    root = Path(__file__).resolve().parent.parent.parent
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    assert out.strip() == "[] [] subject"
