"""A figure and what it is held against: rows, medians, the table. Imports nothing of the project."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is hoped for: a figure, or its ratio to the baseline, no higher than `most`."""

    of: Literal["value", "ratio"]
    most: float

    def text(self) -> str:
        return f"{'ratio ' if self.of == 'ratio' else ''}≤ {self.most:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure. Value and baseline come from the same run, one after the other in turn."""

    name: str
    value: float
    unit: str
    n: int  # runs behind the value
    baseline: str = ""  # in words: what it is held against
    baseline_value: float | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        """value / baseline_value; None where there is no baseline, or it is zero."""
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without one, or when its ratio cannot be had."""
        if self.aim is None:
            return None
        reached = self.value if self.aim.of == "value" else self.ratio
        return None if reached is None else reached <= self.aim.most

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "baseline": self.baseline or None,
            "baseline_value": _rounded(self.baseline_value),
            "ratio": _rounded(self.ratio),
            "aim": self.aim.text() if self.aim else None,
            "met": self.met,
            "n": self.n,
        }


def _rounded(value: float | None) -> float | None:
    """Five digits are more than any of this can be trusted for."""
    return None if value is None else float(f"{value:.5g}")


def in_turn(times: int, *ways: Callable[[], float]) -> list[list[float]]:
    """Each way's results, taken A B A B …, so that a busy moment of the machine hits all of them alike."""
    results: list[list[float]] = [[] for _ in ways]
    for _ in range(times):
        for way, found in zip(ways, results, strict=True):
            found.append(way())
    return results


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def stopwatch(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def note(text: str) -> None:
    """Progress, on stderr."""
    print(f"… {text}", file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of columns; the baseline's words come last, since they are long."""
    header = ["name", "value", "unit", "baseline", "ratio", "aim", "met", "n", "beside"]
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    for line in cells:
        padded = (
            c.rjust(w) if i in (1, 3, 4, 7) else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(padded).rstrip()


def _cells(row: Row) -> list[str]:
    met = {None: "", True: "yes", False: "NO"}[row.met]
    aim = row.aim.text() if row.aim else ""
    return [row.name, _figure(row.value), row.unit, _figure(row.baseline_value), _figure(row.ratio), aim, met,
            str(row.n), row.baseline]  # fmt: skip


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if value == int(value) or abs(value) >= 1000 else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:,.{digits}f}"
