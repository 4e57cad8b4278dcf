"""Running a pipeline's tests on a shadow of it: packets in, verdicts, bytes and maps out, before anything is swapped.

Called by engine/execute.py for RunTests and by the `test` command. Nothing it does outlasts it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from reloader.convert.migrate import possible_cpus
from reloader.errors import KernelError, ReloaderError, TestsFailed
from reloader.frozen import frozen
from reloader.kernel import PERCPU_TYPES, Fd, Kernel
from reloader.packet_tests import budget, compare, texts
from reloader.packet_tests.outcome import Outcome
from reloader.packet_tests.shadow import Blobs, Shadow
from reloader.pipeline.tests.cases import Case, EntryCheck, MapCheck, Step, load
from reloader.pipeline.wish import Wish, WishMap
from reloader.wording.message import Message


@frozen
class Result:
    """How one test ended."""

    name: str
    program: str
    outcome: Outcome
    place: str  # file:line:column of what failed, else of the test
    seconds: float
    said: tuple[str, ...] = ()  # why it failed or what was skipped; measured figures

    def to_json(self) -> dict[str, object]:
        """As reports print it (schemas/tests.schema.json)."""
        return {
            "name": self.name,
            "program": self.program,
            "outcome": self.outcome,
            "place": self.place,
            "seconds": round(self.seconds, 6),
            "said": list(self.said),
        }

    def lines(self) -> tuple[str, ...]:
        """Everything about a failure, the place first."""
        head, *rest = self.said or ("",)
        first = texts.TEST_FAILED(place=self.place, name=self.name, fault=head)
        return (first, *(f"    {line}" for line in rest))


class _Failed(Exception):
    """An expectation that does not hold; its lines."""

    def __init__(self, step: int, *lines: str) -> None:
        super().__init__(*lines)
        self.step, self.lines = step, lines


def prove(kernel: Kernel, wish: Wish, blobs: Blobs, active: Wish | None, why_not: str = "") -> tuple[Result, ...]:
    """Run every test; KernelError or LoadRejected when the version does not even load.

    `active`: the active version, which budgets are measured against; without one, `why_not` says why.
    """
    assert wish.tests is not None
    cases = load(blobs("tests", wish.tests.digest))
    measured = sum(c.budget is not None for c in cases)
    with ExitStack() as held:
        held.enter_context(_one_cpu())
        shadow = held.enter_context(Shadow(kernel, wish, blobs, uses=len(cases) + measured))
        old = None
        if active and measured:
            try:
                old = held.enter_context(Shadow(kernel, active, blobs, uses=measured))
            except (OSError, ReloaderError) as error:  # too little memory for both, a stored object that is missing
                why_not = texts.ACTIVE_NOT_LOADED(why=error)
        runner = _Runner(shadow, old, why_not)
        return tuple(runner.result(index, case) for index, case in enumerate(cases))


def failures(results: Sequence[Result]) -> TestsFailed | None:
    """What to raise for tests that failed; None when none did."""
    failed = [r for r in results if r.outcome is Outcome.FAILED]
    if not failed:
        return None
    message = texts.TESTS_FAILED(failed=len(failed), count=len(results))
    lines = [line for r in failed for line in r.lines()]
    return TestsFailed(message, tests=[r.to_json() for r in results], detail=lines)


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Stay where we are: programs add to this CPU's values of per-CPU maps, and those are looked at."""
    allowed = os.sched_getaffinity(0)  # of this thread only
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class _Runner:
    def __init__(self, shadow: Shadow, old: Shadow | None, why_not: str) -> None:
        self.shadow, self.old, self.why_not = shadow, old, why_not
        self.wish = shadow.wish
        (cpu,) = os.sched_getaffinity(0)
        self.slot = possible_cpus().index(cpu)

    def result(self, index: int, case: Case) -> Result:
        began = time.monotonic()
        outcome, step = Outcome.PASSED, 0
        said: tuple[str, ...] = ()
        try:
            self.shadow.fresh()
            for step, wanted in enumerate(case.steps):
                self._step(case, step, wanted)
            outcome, said = self._budget(case) if case.budget else (Outcome.PASSED, ())
        except _Failed as wrong:
            outcome, said, step = Outcome.FAILED, wrong.lines, wrong.step
        except KernelError as error:
            outcome, said = Outcome.FAILED, (_at_step(case, step, texts.RUN_FAILED(why=error)),)
        return Result(
            name=case.name, program=case.program, outcome=outcome, place=self._place(index, step), said=said,
            seconds=time.monotonic() - began,
        )  # fmt: skip

    def _place(self, index: int, step: int) -> str:
        tests = self.wish.tests
        assert tests is not None
        return f"{tests.file}:{tests.places[index][step]}" if index < len(tests.places) else tests.file

    def _step(self, case: Case, number: int, step: Step) -> None:
        for seed in step.seeds:
            self.shadow.plant(seed)
        lines = self._packets(case, step)
        lines += [line for check in step.maps for line in self._map(check)]
        if lines:
            raise _Failed(number, _at_step(case, number, lines[0]), *lines[1:])

    def _packets(self, case: Case, step: Step) -> list[str]:
        """What is wrong with the first packet that something is wrong with; the others come all the same."""
        program, count = self.shadow.program(case.program), len(step.packets)
        first: list[str] = []
        for number, packet in enumerate(step.packets, 1):
            for _ in range(step.repeat):
                wrong = self._packet(case, step, program, packet)
                if wrong and not first:
                    head = texts.OF_PACKET(number=number, count=count, fault=wrong[0]) if count > 1 else wrong[0]
                    first = [head, *wrong[1:]]
        return first

    def _packet(self, case: Case, step: Step, program: Fd, packet: bytes) -> list[str]:
        ran = self.shadow.kernel.progs.try_out(program, packet)
        wrong = list[str]()
        if step.verdict is not None and ran.verdict != step.verdict:
            found, expected = (compare.verdict(case, number) for number in (ran.verdict, step.verdict))
            wrong.append(texts.VERDICT_DIFFERS(found=found, expected=expected))
        if step.output is not None:
            wrong += compare.output(step.output, packet, ran.data)
        return wrong

    # maps

    def _map(self, check: MapCheck) -> list[str]:
        wanted = self.wish.map(check.map)
        wrong = list[str]()
        if check.low is not None or check.high is not None:
            count = self.shadow.kernel.maps.count(self.shadow.map(check.map))
            if not compare.within(count, check.low, check.high):
                expected = compare.ends(check.low, check.high)
                wrong.append(texts.COUNT_DIFFERS(map=check.map, count=count, expected=expected))
        for entry in check.entries:
            wrong += self._entry(wanted, entry)
        return wrong

    def _entry(self, wanted: WishMap, entry: EntryCheck) -> list[Message]:
        value = self.shadow.kernel.maps.lookup(self.shadow.map(wanted.name), entry.key)
        name, key = wanted.name, entry.said
        if value is None:
            return [] if entry.absent else [texts.ENTRY_MISSING(map=name, key=key)]
        if entry.absent:
            return [texts.ENTRY_EXISTS(map=name, key=key)]
        if wanted.type in PERCPU_TYPES:
            stride = -(-wanted.value_size // 8) * 8
            value = value[self.slot * stride :][: wanted.value_size]
        faults = [fault for field in entry.fields for fault in compare.field(wanted, field, value)]
        return [texts.OF_ENTRY(map=name, key=key, fault=fault) for fault in faults]

    # budgets

    def _budget(self, case: Case) -> tuple[Outcome, tuple[str, ...]]:
        if self.old is None or case.program not in self.old.loaded.progs:
            why = self.why_not if self.old is None else texts.PROGRAM_NOT_ACTIVE(program=case.program)
            outcome = Outcome.PASSED if _expects(case) else Outcome.SKIPPED
            return outcome, (texts.BUDGET_SKIPPED(why=why),)
        return budget.judge(self.shadow, self.old, case)


def _expects(case: Case) -> bool:
    """Whether a test with a budget looks at anything else."""
    return any(s.verdict is not None or s.output or s.maps for s in case.steps)


def _at_step(case: Case, step: int, fault: str) -> str:
    """The fault, with the number of its step where there are several."""
    return texts.OF_STEP(step=step + 1, fault=fault) if len(case.steps) > 1 else fault
