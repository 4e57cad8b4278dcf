"""The bench's own arithmetic, and that its check of lost packets can turn red. No figure is judged here."""

from __future__ import annotations

import json

import pytest

from bench.rows import Aim, Row, in_turn, percentile, table
from bench.swap import DetachAttach, LinkUpdate, measure


def row(value: float, baseline: float | None, aim: Aim | None = None) -> Row:
    return Row(name="a.b", value=value, unit="ms", n=3, baseline="that", baseline_value=baseline, aim=aim)


def test_a_ratio_is_value_over_baseline_and_judged_by_its_aim() -> None:
    assert row(6, 2).ratio == 3
    assert row(6, 2, Aim(of="ratio", most=3)).met is True
    assert row(6, 2, Aim(of="ratio", most=2.9)).met is False
    assert row(6, 2, Aim(of="value", most=5)).met is False
    assert row(0, 0, Aim(of="value", most=0)).met is True
    assert row(6, 0, Aim(of="ratio", most=1)).met is None, "a ratio to nothing says nothing"


def test_a_row_has_the_fields_that_are_promised() -> None:
    written = json.loads(json.dumps(row(1 / 3, 2).to_json()))
    assert set(written) == {"name", "value", "unit", "baseline", "baseline_value", "ratio", "aim", "met", "n"}
    assert written["value"] == 0.33333


def test_ways_are_taken_in_turn() -> None:
    order: list[str] = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    results = in_turn(2, lambda: way("a"), lambda: way("b"))
    assert order == ["a", "b", "a", "b"]
    assert results == [[1, 3], [2, 4]]


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 99) == 99
    assert percentile(values, 50) == 50
    assert percentile([7.0], 99) == 7


def test_the_table_has_a_line_for_each_row_and_names_a_missed_aim() -> None:
    head, line = table([row(6, 2, Aim(of="ratio", most=2))])
    assert head.split()[:2] == ["name", "value"]
    assert "NO" in line.split()


@pytest.mark.kernel
def test_lost_packets_are_seen_where_the_program_is_taken_away_first() -> None:
    ours, naive = measure((LinkUpdate, DetachAttach), (5, 5), rounds=1)
    assert ours.delivered > 10_000, "hardly any traffic"
    assert ours.lost == 0
    assert naive.lost > 0
