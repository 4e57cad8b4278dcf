"""tools/run_tests.py: two phases that look like one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import run_tests
from tools.closing_line import of_pytest

ROOT = Path(run_tests.__file__).resolve().parent.parent
TESTS = """\
import os, pytest

def test_beside() -> None:
    assert os.environ.get("PYTEST_XDIST_WORKER")

@pytest.mark.alone
def test_alone() -> None:
    assert not os.environ.get("PYTEST_XDIST_WORKER")

@pytest.mark.alone
def test_wrong() -> None:
    assert os.environ.get("RIGHT")
"""


def test_one_report_one_line_and_one_exit_code(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone: x\n")
    # Its own basetemp: a pytest that starts closes /tmp/pytest-of-… to others, whom tests have let in.
    report = tmp_path / "out" / "tests.xml"
    words = [
        "-c",
        str(tmp_path / "pytest.ini"),
        f"--junitxml={report}",
        f"--basetemp={tmp_path / 'base'}",
        str(tmp_path),
    ]
    command = [sys.executable, "-m", "tools.run_tests", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "2 passed, 1 failed")
    assert of_pytest(report) == (2, 1)


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 5], 0), ([5, 0], 0), ([5, 5], 5), ([1, 0], 1), ([0, 1], 1), ([5, 3], 3)]
)
def test_a_phase_without_tests_is_no_failure(codes: list[int], code: int) -> None:
    assert run_tests.verdict(codes) == code


@pytest.mark.parametrize(
    ("code", "words", "goes_on"),
    [(0, [], True), (5, [], True), (1, [], True), (1, ["-x"], False), (1, ["--maxfail=1"], False), (2, [], False)],
)
def test_what_ends_a_run(code: int, words: list[str], goes_on: bool) -> None:
    assert run_tests.goes_on(code, words) is goes_on


@pytest.mark.parametrize("words", [["-m", "vm", "--junitxml=x"], ["--junitxml", "x", "-m=vm"]])
def test_each_phase_has_its_part_of_the_marked(words: list[str]) -> None:
    rest, found = run_tests.taken_out(["-k", "one", *words, "tests/unit"])
    assert (rest, found) == (["-k", "one", "tests/unit"], {"marked": "vm", "report": "x"})
    beside, alone = run_tests.phases(rest, found)
    assert (beside[-1], alone[-1]) == ("(vm) and not alone", "(vm) and alone")
    assert beside[:2] == ["-n", str(run_tests.jobs())]
    assert "-n" not in alone
