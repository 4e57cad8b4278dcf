"""Damaged inputs that need no kernel, and that the fuzzing itself can fail."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from reloader.elf import read_object
from tests.fuzz import inputs
from tests.fuzz.harness import Tally, TooSlow, limit, times


@pytest.mark.parametrize("sort", inputs.SORTS)
def test_never_a_traceback_nor_a_hang(sort: str, tmp_path: Path) -> None:
    make, count = inputs.SORTS[sort]
    tally = make(tmp_path, count * times())
    assert tally.inputs >= count * times()
    tally.judge()


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
