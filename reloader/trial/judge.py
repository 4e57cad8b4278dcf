"""Judge what looks at a new version have seen: which check fails, and whether that counts. Pure.

Between trial/look.py, which looks, and trial/duty.py, which acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reloader.frozen import frozen
from reloader.pipeline.checks import Bound, Check, Health, Of
from reloader.trial import texts
from reloader.wording.message import Message


@frozen
class Reading:
    """What one look saw of one check."""

    at: float = 0.0  # seconds, of any one clock
    amount: int = 0  # the counter; of a program, its nanoseconds
    runs: int | None = None  # of a program
    wrong: Message | None = None  # why it fails without regard to numbers: no answer, or it could not be read


Look = tuple[Reading, ...]  # one for each check, in their order


@frozen
class Figures:
    """What two readings come to. None: they do not say."""

    value: float | None = None
    rate: float | None = None  # a second
    base: float | None = None  # what a ratio compares


UNKNOWN = Figures()


@frozen
class HealthProgress:
    """How a trial stands after so many looks."""

    look: Look = ()  # the last one
    streaks: tuple[int, ...] = ()  # looks in a row that each check has failed
    failed: Message | None = None  # the check that failed too often, and how; None: none so far
    at: float = 0.0  # when that check began to fail


def figures(earlier: Reading | None, later: Reading) -> Figures:
    """What a counter did between two readings; without an earlier one only how it stands."""
    if later.wrong:
        return UNKNOWN
    since = later.at - earlier.at if earlier is not None and not earlier.wrong else 0.0
    if later.runs is None:
        rate = (later.amount - earlier.amount) / since if earlier is not None and since > 0 else None
        return Figures(value=later.amount, rate=rate, base=rate)
    if earlier is None or earlier.runs is None or since <= 0:
        return UNKNOWN
    runs = later.runs - earlier.runs
    each = (later.amount - earlier.amount) / runs if runs > 0 else None  # a program that did not run took no time
    return Figures(value=each, rate=runs / since, base=each)


def compared(before: Sequence[Look]) -> tuple[Figures, ...]:
    """What the version before did, by two looks at it; empty when there was none."""
    if len(before) < 2:
        return ()
    return tuple(figures(earlier, later) for earlier, later in zip(before[0], before[-1], strict=True))


def judge(health: Health, before: Sequence[Figures], was: HealthProgress, look: Look) -> HealthProgress:
    """The standing after one look more. The first check that failed often enough decides."""
    streaks, failed, at = [], was.failed, was.at
    for index, check in enumerate(health.checks):
        earlier = was.look[index] if was.look else None
        why = broken(check, before[index] if before else UNKNOWN, earlier, look[index])
        streaks.append((was.streaks[index] if was.streaks else 0) + 1 if why else 0)
        if streaks[-1] >= check.failures and not failed:
            failed, at = why, look[index].at
    return HealthProgress(look=look, streaks=tuple(streaks), failed=failed, at=at)


def broken(check: Check, before: Figures, earlier: Reading | None, later: Reading) -> Message | None:
    """Why a check fails at this look; None: it holds, or says nothing yet."""
    name = check.what.text()
    if later.wrong:
        return texts.CHECK_UNANSWERED(check=name, why=later.wrong)
    now = figures(earlier, later)
    for bound in check.bounds:
        found = _found(bound, now, before)
        if found is not None and not (found > bound.limit if bound.above else found < bound.limit):
            must_be = bound.text().replace("_", " ")
            return texts.OUT_OF_BOUNDS(check=name, found=_shown(found, bound), bound=must_be)
    return None


def _found(bound: Bound, now: Figures, before: Figures) -> float | None:
    match bound.of:
        case Of.VALUE:
            return now.value
        case Of.RATE:
            return now.rate
    if now.base is None or before.base is None:
        return None
    if before.base == 0:  # nothing then: any growth is infinitely more, none says nothing
        return math.inf if now.base > 0 else None
    return now.base / before.base


def _shown(found: float, bound: Bound) -> str:
    number = f"{found:.6g}"
    return {Of.VALUE: number, Of.RATE: f"{number}/s", Of.RATIO: texts.TIMES_BEFORE(number=number)}[bound.of]
