"""Damaged inputs that need no kernel, and that the fuzzing itself can fail."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NoReturn

import pytest

from lab.fuzz import inputs
from lab.fuzz.harness import Tally, TooSlow, limit, times
from reloader.layouts import archive
from reloader.structs.elf import read_object


@pytest.mark.parametrize("sort", inputs.SORTS)
def test_never_a_traceback_nor_a_hang(sort: str, tmp_path: Path) -> None:
    make, count = inputs.SORTS[sort]
    tally = make(tmp_path, count * times())
    assert tally.inputs >= count * times()
    tally.judge()


@pytest.mark.parametrize("kind", [b"H", b"T", b"Z"])
def test_regress_a_frame_of_right_checksum_that_is_no_json(kind: bytes) -> None:
    """The reader of exported state took the checksum for a promise that the words make sense."""
    sound = inputs.exported()
    inputs.read_archive(sound)
    at = len(archive.MAGIC)
    while (head := archive.HEAD.unpack_from(sound, at))[0] != kind:
        at += archive.HEAD.size + head[1]
    for words in (b"[1]", b"{", b"7", b"[" * 5000):
        frame = archive.HEAD.pack(kind, len(words), zlib.crc32(words)) + words
        with pytest.raises(archive.Damaged):
            inputs.read_archive(sound[:at] + frame + sound[at + archive.HEAD.size + head[1] :])


def test_a_traceback_is_seen() -> None:
    """Sabotage: a reader that lets an IndexError out, and one that goes round and round."""
    tally = Tally()

    def careless() -> NoReturn:
        raise IndexError("a byte too far")

    tally.offer("careless", careless)
    with pytest.raises(AssertionError, match="a byte too far"):
        tally.judge()


def test_a_hang_is_seen() -> None:
    def endless() -> NoReturn:
        while True:
            pass

    with pytest.raises(TooSlow), limit(0.05):
        endless()


def test_the_damage_does_damage() -> None:
    tally = inputs.objects(Path(), 60)
    assert 0 < tally.refused < 60
    read_object(inputs.OBJECT.read_bytes())
