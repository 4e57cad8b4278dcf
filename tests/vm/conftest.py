"""In the machine of tools/vm.py each result is written at once, to the folder that lasts.

Some of these tests make sense there only; elsewhere they are not collected at all.
"""

from __future__ import annotations

import json
import os

import pytest

FOLDER = os.environ.get("RELOADER_VM_FOLDER", "")
collect_ignore = [] if FOLDER else ["test_power_cut.py"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line for each part of a test; the machine may end at any moment."""
    if not FOLDER:
        return
    line = {
        "test": report.nodeid.rpartition("/")[2].replace(".py", ""), "part": report.when, "outcome": report.outcome,
        "seconds": report.duration, "why": "" if report.passed else report.longreprtext,
    }  # fmt: skip
    with open(f"{FOLDER}/results.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
