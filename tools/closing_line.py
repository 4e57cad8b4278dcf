"""One line over both test runs of `.ci/run`: `N passed, N failed`. A run that left no result counts as one failure."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build"
NO_RESULT = (0, 1)


def of_pytest(path: Path) -> tuple[int, int]:
    """(passed, failed) of a JUnit file; an error is a failure."""
    try:
        suites = list(ElementTree.parse(path).iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return NO_RESULT
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return tests - failures - errors - skipped, failures + errors


def of_machine(path: Path) -> tuple[int, int]:
    """(passed, failed) as tools/vm.py wrote them."""
    try:
        counts = json.loads(path.read_text())
    except (OSError, ValueError):
        return NO_RESULT
    return counts["passed"], counts["failed"]


def of_both(build: Path) -> tuple[int, int]:
    (one, other), (bad, worse) = zip(
        of_pytest(build / "tests.xml"), of_machine(build / "vm" / "counts.json"), strict=True
    )
    return one + other, bad + worse


def main(build: Path) -> int:
    passed, failed = of_both(build)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(BUILD))
