"""The tests in two phases: side by side what can be, then one after the other what is marked `alone`.

`python -m tools.run_tests WORDS…`: the words are pytest's. JOBS in the environment says how many run side by side.
One report (--junitxml), one closing line and one exit code stand for both phases.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from tools.closing_line import of_pytest

FAILED, NONE_COLLECTED = 1, 5  # pytest's exit codes
OWN = {"-m": "marked", "-n": "jobs", "--junitxml": "report", "--junit-xml": "report"}


def jobs() -> int:
    """Twice as many as there are CPUs: most kernel tests wait for a grace period or a child."""
    return int(os.environ.get("JOBS", "0")) or max(2, min(8, 2 * (os.cpu_count() or 1)))


def taken_out(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words without the options that each phase has of its own, and those options' values."""
    rest, found, waiting = list[str](), dict[str, str](), iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in OWN:
            found[OWN[name]] = value if equals else next(waiting, "")
        else:
            rest.append(word)
    return rest, found


def phases(words: Sequence[str], found: dict[str, str]) -> list[list[str]]:
    chosen = f"({found['marked']}) and " if "marked" in found else ""
    beside = ["-n", found.get("jobs") or str(jobs()), "--dist", "worksteal"]
    return [[*beside, *words, "-m", f"{chosen}not alone"], [*words, "-m", f"{chosen}alone"]]


def verdict(codes: Sequence[int]) -> int:
    """The first failure; that nothing was collected is one only when it is so in every phase."""
    failures = [code for code in codes if code not in (0, NONE_COLLECTED)]
    if failures:
        return failures[0]
    return 0 if 0 in codes else NONE_COLLECTED


def goes_on(code: int, words: Sequence[str]) -> bool:
    """Whether another phase follows: not after an interruption or a usage error, nor when the first failure ends it."""
    first_ends = any(word in ("-x", "--exitfirst") or word.startswith("--maxfail") for word in words)
    return code in (0, NONE_COLLECTED) or (code == FAILED and not first_ends)


def merged(reports: Sequence[Path], target: Path) -> None:
    """All suites in one file."""
    whole = ElementTree.Element("testsuites")
    for report in reports:
        whole.extend(ElementTree.parse(report).iter("testsuite"))
    target.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(whole).write(target, encoding="utf-8", xml_declaration=True)


def main(arguments: Sequence[str]) -> int:
    words, found = taken_out(arguments)
    codes, reports = list[int](), list[Path]()
    with tempfile.TemporaryDirectory() as folder:
        for number, phase in enumerate(phases(words, found)):
            report = Path(folder) / f"{number}.xml"
            command = [sys.executable, "-m", "pytest", *phase, f"--junitxml={report}"]
            codes.append(subprocess.run(command, check=False).returncode)
            reports += [report] if report.is_file() else []
            if not goes_on(codes[-1], words):
                break
        whole = Path(found.get("report") or f"{folder}/whole.xml")
        merged(reports, whole)
        passed, failed = of_pytest(whole)
    print(f"{passed} passed, {failed} failed")
    return verdict(codes)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
