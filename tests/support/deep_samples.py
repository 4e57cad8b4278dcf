"""Pairs of structs that depend on their number only, with entries and what these must become: for tests that cannot
draw, because each example compiles something or loads a program.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.support.deep_pairs import Turn, parts_of, turn, values_of
from tests.support.layout_pairs import Misfit, Values


@dataclass(frozen=True, kw_only=True)
class Pair:
    key: Turn
    value: Turn
    packed: bool
    entries: tuple[tuple[Values, Values], ...]  # of the old layout, each with a counterpart in the new one


def pairs(count: int) -> Iterator[Pair]:
    for number in range(count):
        yield drawn(number)


@functools.cache
def drawn(number: int) -> Pair:
    found: list[Pair] = []

    @seed(number)
    @settings(max_examples=10, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        key = turn(data.draw, parts_of(data.draw, "k", depth=1, most=3), key=True)
        value = turn(data.draw, parts_of(data.draw, "v"))
        taken = [(values_of(data.draw, key.old), values_of(data.draw, value.old)) for _ in range(8)]
        fitting = tuple((k, v) for k, v in taken if _fits(value, v))
        found.append(Pair(key=key, value=value, packed=number % 3 == 2, entries=fitting))

    collect()
    return max(found, key=lambda p: (bool(p.entries), len(p.value.old) + len(p.value.new)))


def _fits(value: Turn, values: Values) -> bool:
    try:
        value.expected(values)
    except Misfit:
        return False
    return True
