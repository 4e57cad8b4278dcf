"""What a packet costs, beside what it costs in the active version: both run in turn, on maps of their own.

Medians of rounds, each of which runs both: on a busy machine a single one says little, and whatever slows one of a
round mostly slows the other. Used by packet_tests/run.py.
"""

from __future__ import annotations

from statistics import median

from reloader.frozen import frozen
from reloader.kernel import Fd, Progs
from reloader.packet_tests import texts
from reloader.packet_tests.outcome import Outcome
from reloader.packet_tests.shadow import Shadow
from reloader.pipeline.tests.cases import Case
from reloader.wording.message import Message

ROUNDS = 31  # at most: so many runs of each version, in turn
CLEAR = 5  # rounds that say the same are enough
RUN_NS = 8_000_000  # a run of the slower one: to begin it costs some 0.2 ms, which must not count for much
MOST_REPEATS = 1 << 20


@frozen
class Cost:
    active: float  # ns a packet, the median
    new: float
    ratio: float  # the median of new ÷ active, run by run


def judge(new: Shadow, old: Shadow, case: Case) -> tuple[Outcome, tuple[Message, ...]]:
    """(outcome, lines) of a case's budget."""
    assert case.budget is not None
    wrong: list[Message] = []
    said: list[Message] = []
    if case.budget.insns is not None:
        before, after, most = insns(old, case.program), insns(new, case.program), case.budget.insns
        into = said if not before or after <= before * most else wrong
        into.append(_instructions(before, after, most))
    if case.budget.ns is not None:
        cost, most = measured(new, old, case, case.budget.ns), case.budget.ns
        into = said if cost.ratio <= most else wrong
        into.append(texts.NANOSECONDS(new=cost.new, active=cost.active, ratio=cost.ratio, limit=most))
    return (Outcome.FAILED if wrong else Outcome.PASSED), tuple(wrong + said)


def _instructions(before: int, after: int, most: float) -> Message:
    if not before:
        return texts.INSTRUCTIONS_UNKNOWN()
    return texts.INSTRUCTIONS(new=after, active=before, ratio=after / before, limit=most)


def insns(shadow: Shadow, program: str) -> int:
    return shadow.kernel.progs.info(shadow.program(program)).verified_insns


def measured(new: Shadow, old: Shadow, case: Case, most: float) -> Cost:
    """Rounds until it is clear on which side of `most` the new version is, or ROUNDS of them."""
    for shadow in (old, new):
        shadow.fresh()
        for seed in case.steps[0].seeds:
            shadow.plant(seed, like=new.wish)
    (packet,) = case.steps[0].packets
    progs = new.kernel.progs
    pair = old.program(case.program), new.program(case.program)
    repeat = min(_repeats(progs, fd, packet) for fd in pair)
    costs: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        first = progs.try_out(pair[number % 2], packet, repeat=repeat).ns
        second = progs.try_out(pair[1 - number % 2], packet, repeat=repeat).ns
        costs.append((second, first) if number % 2 else (first, second))
        if len(costs) >= CLEAR and len({_ratio(c) <= most for c in costs}) == 1:
            break
    ratio = median(map(_ratio, costs))
    return Cost(active=median(c[0] for c in costs), new=median(c[1] for c in costs), ratio=ratio)


def _ratio(cost: tuple[float, float]) -> float:
    return cost[1] / max(cost[0], 0.001)


def _repeats(progs: Progs, program: Fd, packet: bytes) -> int:
    """How often the packet has to come for a run to be as long as it should."""
    repeat = 16
    while (took := progs.try_out(program, packet, repeat=repeat).ns * repeat) < RUN_NS and repeat < MOST_REPEATS:
        repeat *= max(2, min(8, int(RUN_NS / max(took, 1))))
    return min(repeat, MOST_REPEATS)
