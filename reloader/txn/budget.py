"""What a packet costs, beside what it costs in the active version: both run in turn, on maps of their own.

Medians of many short runs, and a second and third look before anything is called too slow: on a busy machine a
single one says little. Used by proving.py. Imports spec.cases, txn.shadow.
"""

from __future__ import annotations

from statistics import median

from reloader.frozen import frozen
from reloader.kernel import Fd
from reloader.spec.cases import Case
from reloader.txn.shadow import Shadow

ROUNDS = 31  # a look: so many short runs of each version, in turn
LOOKS = 3  # too slow in all of them is too slow
RUN_NS = 200_000  # a run: long enough for the clock, short enough to be left alone
MOST_REPEATS = 100_000


@frozen
class Cost:
    active: float  # ns a packet, the median
    new: float
    ratio: float  # the median of new ÷ active, run by run


def judge(new: Shadow, old: Shadow, case: Case) -> tuple[str, tuple[str, ...]]:
    """(outcome, lines) of a case's budget."""
    assert case.budget is not None
    wrong: list[str] = []
    said: list[str] = []
    if case.budget.insns is not None:
        before, after = insns(old, case.program), insns(new, case.program)
        text = f"{after} verified instructions, the active version has {before}"
        into = said if after <= before * case.budget.insns else wrong
        into.append(f"{text}: {_factor(after / before, case.budget.insns)}")
    if case.budget.ns is not None:
        cost = measured(new, old, case, case.budget.ns)
        text = f"{cost.new:.1f} ns a packet, the active version takes {cost.active:.1f}"
        into = said if cost.ratio <= case.budget.ns else wrong
        into.append(f"{text}: {_factor(cost.ratio, case.budget.ns)}")
    return ("failed" if wrong else "passed"), tuple(wrong + said)


def _factor(ratio: float, most: float) -> str:
    return f"{ratio:.2f} times as much, at most {most:g} allowed"


def insns(shadow: Shadow, program: str) -> int:
    return shadow.kernel.progs.info(shadow.program(program)).verified_insns or 1


def measured(new: Shadow, old: Shadow, case: Case, most: float) -> Cost:
    """The lowest of a few looks; the first one within the budget is enough."""
    for shadow in (old, new):
        shadow.fresh()
        for seed in case.steps[0].seeds:
            shadow.plant(seed, like=new.wish)
    (packet,) = case.steps[0].packets
    progs = new.kernel.progs
    pair = old.program(case.program), new.program(case.program)
    once = max(progs.try_out(fd, packet, repeat=100).ns for fd in pair)
    repeat = max(1, min(MOST_REPEATS, int(RUN_NS / max(once, 1))))
    best = _look(new, pair, packet, repeat)
    for _ in range(LOOKS - 1):
        if best.ratio <= most:
            break
        best = min(best, _look(new, pair, packet, repeat), key=lambda c: c.ratio)
    return best


def _look(shadow: Shadow, pair: tuple[Fd, Fd], packet: bytes, repeat: int) -> Cost:
    costs: tuple[list[float], list[float]] = ([], [])
    for round_number in range(ROUNDS):
        for side in (0, 1) if round_number % 2 else (1, 0):
            costs[side].append(shadow.kernel.progs.try_out(pair[side], packet, repeat=repeat).ns)
    ratio = median(n / max(a, 0.001) for a, n in zip(*costs, strict=True))
    return Cost(active=median(costs[0]), new=median(costs[1]), ratio=ratio)
