"""Limits of what is read and of what is said: sizes, findings, and the time that many documents take."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.disk.atomic_files import PLAIN, UnfitFile, open_to_write, read_regular, write_atomic
from reloader.errors import ENOUGH, MOST_PROBLEMS, InputError, Problem
from reloader.pipeline import parse
from reloader.pipeline.compile import compile_file
from reloader.pipeline.objects import read_file
from reloader.pipeline.source import read_source
from tests.support import faults

DOCUMENT = """apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge-{n}}}
spec:
  objects: [subject.bpf.o]
  attach: [{{program: {program}, type: xdp, interface: i{n}}}]
  maps:
    policies: {{role: state}}
    blocklist: {{role: config, entries: {entries}}}
    pairs: {{role: state}}
    slots: {{role: state}}
    unsaid: {{role: state}}
    events: {{role: stream}}
    ports: {{role: live}}
    jumps: {{role: live}}
    .bss: {{role: state}}
"""


@pytest.fixture
def folder(tmp_path: Path, compile_bpf: Callable[..., Path]) -> Path:
    source = Path(__file__).parent / "bpf" / "spec_subject.bpf.c"
    (tmp_path / "subject.bpf.o").write_bytes(compile_bpf(source).read_bytes())
    return tmp_path


def sparse(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


def test_v8_a_yaml_of_a_terabyte(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_source(sparse(tmp_path / "x.yaml", 1 << 40))
    assert caught.value.reason == "too-large"
    assert caught.value.values["limit"] == 8 << 20
    assert len(read_source(sparse(tmp_path / "y.yaml", 8 << 20))) == 8 << 20


def test_v8_an_object_of_a_terabyte(tmp_path: Path) -> None:
    with pytest.raises(UnfitFile) as caught:
        read_file(sparse(tmp_path / "x.bpf.o", 1 << 40))
    assert (caught.value.reason, caught.value.values["limit"]) == ("too-large", 64 << 20)


def test_v8_files_of_the_kernel_end_or_are_refused() -> None:
    """They say that they are regular and have no size."""
    assert read_regular("/proc/self/status", 1 << 20)
    with pytest.raises(UnfitFile) as caught:
        read_regular("/proc/self/status", 10)
    assert caught.value.reason == "too-large"


def test_v8_nothing_is_written_through_a_link_or_into_a_fifo(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("whole")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, kind in (("link", "symbolic-link"), ("fifo", "fifo"), ("folder", "directory")):
        with pytest.raises(UnfitFile) as caught:
            open_to_write(tmp_path / name)
        assert caught.value.values["type"] == kind
    write_atomic(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink()
    assert target.read_text() == "whole"
    with pytest.raises(UnfitFile):
        write_atomic(tmp_path / "folder", b"new")
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_more_than_a_hundred_findings_are_cut_and_that_is_said() -> None:
    def error(count: int) -> InputError:
        return InputError([Problem(file="x", line=n, column=0, path="", message="wrong") for n in range(count)])

    assert len(error(MOST_PROBLEMS).detail.splitlines()) == MOST_PROBLEMS
    assert error(MOST_PROBLEMS).reason == ""
    cut = error(ENOUGH)
    assert (cut.reason, cut.values) == ("too-many-problems", {"limit": MOST_PROBLEMS})
    assert len(cut.to_json()["problems"]) == MOST_PROBLEMS  # type: ignore[arg-type]
    assert len(cut.detail.splitlines()) == MOST_PROBLEMS + 1


WRONG = {
    "entries": DOCUMENT.format(n=1, program="look", entries=["{key: 1, value: {no: 1}}"] * 10_000).replace("'", ""),
    "schema": DOCUMENT.format(n=1, program="look", entries=["{kex: 1, value: 1}"] * 10_000).replace("'", ""),
    "documents": "---\n".join(DOCUMENT.format(n=n, program="nope", entries="[]") for n in range(300)),
    "text": "- !x 1\n" * 100_000,
}


@pytest.mark.parametrize("what", WRONG)
def test_many_wrong_values_end_with_a_hundred_findings(folder: Path, what: str) -> None:
    (folder / "x.yaml").write_text(WRONG[what])
    with pytest.raises(InputError) as caught:
        compile_file(folder / "x.yaml")
    assert caught.value.reason == "too-many-problems"
    assert len(caught.value.detail.splitlines()) == MOST_PROBLEMS + 1


def test_a_million_equal_keys(folder: Path) -> None:
    text = DOCUMENT.format(n=1, program="look", entries="[]").replace("entries: []", "from: {csv: b.csv}")
    (folder / "x.yaml").write_text(text)
    (folder / "b.csv").write_text("key,value\n" + "10.0.0.0/8,1\n" * 1_000_000)
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        compile_file(folder / "x.yaml")
    assert caught.value.reason == "too-many-problems"
    assert time.process_time() - started < 20


def test_many_documents_take_time_by_their_number(folder: Path) -> None:
    """Twice as many take about twice as long: nothing is walked through for each, no object read again."""

    def seconds(count: int) -> float:
        path = folder / "x.yaml"
        path.write_text("---\n".join(DOCUMENT.format(n=n, program="look", entries="[]") for n in range(count)))
        started = time.process_time()
        assert len(compile_file(path)) == count
        return time.process_time() - started

    seconds(10)
    few = seconds(500)
    assert seconds(2000) < 8 * few


def test_a_stream_s_error_names_its_file() -> None:
    """`state import` knows by that whose fault it is: exit 65, not 1."""
    with pytest.raises(OSError) as caught, PLAIN.stream("/proc/self/mem") as stream:
        stream.read(1)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "/proc/self/mem")


def test_a_document_of_many_wrong_maps_is_read_no_further(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sound part is looked for to find more; it took a minute for 100,000 maps."""
    maps = "".join(f"    m{number}: {{role: x}}\n" for number in range(200))
    path = folder / "many.yaml"
    path.write_text(
        "apiVersion: reloader/v1\nkind: Pipeline\nmetadata: {name: edge}\nspec:\n  objects: [a.o]\n"
        f"  attach: [{{program: p, type: xdp, interface: lo}}]\n  maps:\n{maps}"
    )

    def unasked(_document: object) -> None:
        raise AssertionError("its sound part is not needed")

    faults.inject(monkeypatch, "sound part", unasked)
    pipelines, problems = parse.parse_sound(path.read_bytes(), path)
    assert (len(pipelines), len(problems)) == (0, ENOUGH)
