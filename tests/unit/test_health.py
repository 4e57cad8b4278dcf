"""What looks come to: figures from two readings, which bound breaks, when a failure counts. Numbers are made up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reloader.pipeline.checks import Bound, Check, Health, MapField, Of, ProgramRuns, Tcp
from reloader.trial import texts
from reloader.trial.judge import UNKNOWN, Figures, HealthProgress, Reading, broken, compared, figures, judge

ERRORS = MapField(map="counters", field="errors")
RUNS = ProgramRuns(program="count_flows")


def at(when: float, amount: int = 0, runs: int | None = None) -> Reading:
    return Reading(at=when, amount=amount, runs=runs)


def bound(word: str, limit: float) -> Bound:
    of, _, side = word.rpartition("_")
    return Bound(of=Of(of or "value"), above=side == "above", limit=limit)


def check(*bounds: Bound, failures: int = 1, program: bool = False) -> Check:
    return Check(what=RUNS if program else ERRORS, bounds=bounds, failures=failures)


def test_a_counter_has_a_value_and_a_rate() -> None:
    assert figures(None, at(1, 70)) == Figures(value=70)
    assert figures(at(1, 10), at(3, 70)) == Figures(value=70, rate=30, base=30)
    assert figures(at(3, 10), at(3, 70)) == Figures(value=70), "no time has passed"
    assert figures(at(1, 70), at(2, 10)).rate == -60, "somebody emptied it"


def test_a_program_has_a_time_and_a_rate() -> None:
    assert figures(None, at(1, 100, 7)) == UNKNOWN, "what it did before the first look is not what it does now"
    assert figures(at(1, 1000, 10), at(3, 2000, 14)) == Figures(value=250, rate=2, base=250)
    assert figures(at(1, 1000, 10), at(3, 1000, 10)) == Figures(rate=0), "it did not run"


@pytest.mark.parametrize(
    ("bounds", "before", "shown"),
    [
        ([("below", 71)], None, ""),
        ([("below", 70)], None, "70"),
        ([("above", 70)], None, "70"),
        ([("rate_below", 30)], None, "30/s"),
        ([("above", 0), ("rate_above", 31)], None, "30/s"),
        ([("ratio_below", 2)], None, ""),
        ([("ratio_below", 2)], 20.0, ""),
        ([("ratio_below", 2)], 15.0, "2 times as much as before"),
        ([("ratio_above", 0.5)], 60.0, "0.5 times as much as before"),
        ([("ratio_below", 2)], 0.0, "inf times as much as before"),
        ([("ratio_above", 2)], 0.0, ""),
    ],
)
def test_bounds(bounds: list[tuple[str, float]], before: float | None, shown: str) -> None:
    found = broken(check(*(bound(*b) for b in bounds)), Figures(base=before), at(1, 10), at(3, 70))
    assert (str(found.values["found"]) if found else "") == shown


def test_what_says_nothing_breaks_nothing() -> None:
    every = [bound(w, 0) for w in ("rate_above", "rate_below", "ratio_above", "ratio_below")]
    assert broken(check(*every), Figures(base=1), None, at(1, 70)) is None, "the first look knows no rate"
    idle = check(bound("below", 0), bound("ratio_below", 0), program=True)
    assert broken(idle, Figures(base=1), at(1, 10, 5), at(2, 10, 5)) is None, "it did not run"
    assert broken(check(bound("ratio_below", 5)), Figures(base=0), at(1, 10), at(2, 10)) is None, (
        "nothing then, nothing now"
    )
    assert broken(check(bound("below", math.nan)), UNKNOWN, None, at(1, 70)), "no number is below that"


def test_what_cannot_be_read_fails_and_gives_no_figures() -> None:
    gone = Reading(at=2, wrong=texts.CANNOT_BE_READ(why="EIO"))
    found = broken(check(bound("below", 9)), UNKNOWN, at(1), gone)
    assert found is not None
    assert (found.code, found.values["why"]) == ("check-unanswered", gone.wrong)
    assert broken(check(bound("rate_below", 9)), UNKNOWN, gone, at(3, 10**6)) is None


def trial(*checks: Check) -> Health:
    return Health(window=10, interval=1, checks=checks)


def test_a_failure_counts_once_it_came_often_enough_in_a_row() -> None:
    health = trial(check(bound("below", 5), failures=2), Check(what=Tcp(address="a", port=1), failures=3))
    standing = HealthProgress()
    no = texts.NOT_HTTP()
    story = [((9, None), (1, 0)), ((1, no), (0, 1)), ((9, no), (1, 2)), ((9, None), (2, 0))]
    for number, ((amount, wrong), streaks) in enumerate(story):
        assert standing.failed is None
        standing = judge(health, (), standing, (at(number, amount), Reading(at=number + 0.5, wrong=wrong)))
        assert standing.streaks == streaks
    assert standing.failed is not None
    assert (standing.failed.values["found"], standing.failed.values["bound"], standing.at) == ("9", "below 5", 3)


def test_the_first_that_fails_is_the_reason() -> None:
    health = trial(check(bound("below", 5)), check(bound("below", 4)))
    standing = judge(health, (), HealthProgress(), (at(7, 4), at(8, 4)))
    assert standing.failed is not None
    assert (standing.failed.values["found"], standing.failed.values["bound"], standing.at) == ("4", "below 4", 8)
    after = judge(health, (), standing, (at(9, 9), at(9, 9)))
    assert after.failed == standing.failed, "a verdict stands"


def test_before_is_compared_check_by_check() -> None:
    before = compared([(at(0, 0), at(0, 0)), (at(2, 20), Reading(at=2, wrong=texts.NOT_COMPARED()))])
    assert before == (Figures(value=20, rate=10, base=10), UNKNOWN)
    assert compared([]) == ()
    health = trial(check(bound("ratio_below", 2)), check(bound("rate_below", 50)))
    standing = HealthProgress(look=(at(5, 0), at(5, 0)), streaks=(0, 0))
    assert judge(health, before, standing, (at(6, 19), at(6, 49))).failed is None

    def found(*look: Reading) -> object:
        failed = judge(health, before, standing, look).failed
        return failed and failed.values["found"]

    assert found(at(6, 19), at(6, 50)) == "50/s"
    assert found(at(6, 20), at(6, 49)) == "2 times as much as before"


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(1, 5))
def test_exactly_so_many_in_a_row_fail(amounts: list[int], failures: int) -> None:
    health, standing = trial(check(bound("below", 50), failures=failures)), HealthProgress()
    for number, amount in enumerate(amounts):
        standing = judge(health, (), standing, (at(number, amount),))
    runs = "".join("x" if a >= 50 else "." for a in amounts)
    assert bool(standing.failed) is ("x" * failures in runs)
