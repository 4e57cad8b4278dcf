"""What the machines left in their folders, against what tests/vm/expected.yaml wants: pure but for reading files.

A test that is expected and missing, or skipped, has failed; so has one that nobody expects. Used by tools/vm.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.vm_kernels import ROOT

EXPECTED = ROOT / "tests" / "vm" / "expected.yaml"
PASSED = "passed"
PARTS = ("setup", "call", "teardown")
CONSOLE_TAIL = 25  # lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One test, or one thing that must hold beside the tests."""

    name: str
    result: str  # PASSED, or how it failed
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One kernel."""

    title: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> int:
        return sum(row.result == PASSED for row in self.rows)

    @property
    def failed(self) -> int:
        return len(self.rows) - self.passed


def expected() -> dict[str, Any]:
    """series -> tests, and features it lacks."""
    document: dict[str, Any] = yaml.safe_load(EXPECTED.read_text())
    return document


def absent(series: str, why: str) -> Verdict:
    return Verdict(title=f"Linux {series}", rows=(Row(name="boot", result="failed", why=why),))


def judge(series: str, out: Path, late: list[str]) -> Verdict:
    """What both boots left in `out`; `late` says which of them did not end."""
    wanted = expected()[series]
    host = _json(out / "host.json")
    rows = [
        *(Row(name="boot", result="failed", why=why) for why in late),
        *compare(wanted["tests"], results(out)),
        features(wanted["lacks"], _json(out / "features.json")),
    ]
    if any(row.result != PASSED for row in rows):
        rows.append(Row(name="console", result="failed", why=_console(out)))
    title = " · ".join(f"{key} {value}" for key, value in host.items()) or f"Linux {series}, which did not boot"
    return Verdict(title=title, rows=tuple(rows))


def results(out: Path) -> list[Row]:
    """Every test of which a part ran; what did not come to its end has not passed."""
    path = out / "results.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]  # else it was cut off
    names = dict.fromkeys(line["test"] for line in lines)
    return [_row(name, [line for line in lines if line["test"] == name]) for name in names]


def _row(name: str, parts: list[dict[str, Any]]) -> Row:
    """Of set-up, call and tear-down: all must be there and have passed."""
    bad = next((part for part in parts if part["outcome"] != PASSED), None)
    result = bad["outcome"] if bad else PASSED if len(parts) == len(PARTS) else "unfinished"
    return Row(
        name=name, result=result, seconds=sum(part["seconds"] for part in parts), why=bad["why"] if bad else ""
    )  # fmt: skip


def compare(wanted: list[str], found: list[Row]) -> list[Row]:
    """Each expected test once, in order, then what nobody expects."""
    by_name = {row.name: row for row in found}
    missing = "it did not run: see the console"
    strange = "add it to tests/vm/expected.yaml"
    return [
        *(by_name.get(name, Row(name=name, result="missing", why=missing)) for name in wanted),
        *(Row(name=row.name, result="unexpected", why=strange) for row in found if row.name not in wanted),
    ]


def features(lacks: list[str], document: dict[str, Any]) -> Row:
    """Exactly these are not there."""
    found = {f["name"] for f in document.get("features", []) if f["presence"] != "yes"}
    if not document:
        return Row(name="doctor --features", result="missing", why="it did not run")
    wrong = [f"{name}: not expected to be missing" for name in sorted(found - set(lacks))]
    wrong += [f"{name}: expected to be missing" for name in sorted(set(lacks) - found)]
    return Row(name="doctor --features", result="failed" if wrong else PASSED, why="\n".join(wrong))


def table(verdict: Verdict) -> str:
    """One line a test, and behind them what went wrong."""
    width = max(len(row.name) for row in verdict.rows)
    lines = [verdict.title, f"  {'TEST'.ljust(width)}  {'RESULT':10}  SECONDS"]
    lines += [f"  {row.name.ljust(width)}  {row.result:10}  {row.seconds:7.1f}" for row in verdict.rows]
    wrong = [f"\n{row.name}: {row.result}\n{row.why}" for row in verdict.rows if row.why]
    return "\n".join([*lines, *wrong, ""])


def _json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document


def _console(out: Path) -> str:
    """The last words of each boot."""
    tails = []
    for path in sorted(out.glob("console-*.log"), reverse=True):
        lines = path.read_text("utf-8", "replace").splitlines()[-CONSOLE_TAIL:]
        tails.append("\n".join([f"-- {path.name}", *lines]))
    return "\n".join(tails)
