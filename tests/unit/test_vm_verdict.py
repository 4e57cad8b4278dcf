"""What `make test-vm` makes of what the machines leave: only what was seen to pass has passed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reloader.bpf import features as features_module
from tools import closing_line, vm_kernels, vm_verdict
from tools.vm_verdict import Row, compare, features, results

ROOT = Path(__file__).resolve().parent.parent.parent
WANTED = ["a::one", "a::two"]


def told(folder: Path, *lines: tuple[str, str, str]) -> list[Row]:
    rows = [{"test": t, "part": p, "outcome": o, "seconds": 1.0, "why": f"{o} it"} for t, p, o in lines]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return results(folder)


def whole(name: str, outcome: str = "passed") -> list[tuple[str, str, str]]:
    return [(name, "setup", "passed"), (name, "call", outcome), (name, "teardown", "passed")]


def outcomes(rows: list[Row]) -> dict[str, str]:
    return {row.name: row.result for row in rows}


def test_all_ran_and_passed(tmp_path: Path) -> None:
    found = told(tmp_path, *whole("a::one"), *whole("a::two"))
    assert outcomes(compare(WANTED, found)) == {"a::one": "passed", "a::two": "passed"}
    assert found[0].seconds == 3.0


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_sabotage_a_failure_and_a_skip_are_failures(tmp_path: Path, outcome: str) -> None:
    found = compare(WANTED, told(tmp_path, *whole("a::one"), *whole("a::two", outcome)))
    assert outcomes(found)["a::two"] == outcome
    assert found[1].why == f"{outcome} it"
    assert vm_verdict.Verdict(title="", rows=tuple(found)).failed == 1


def test_sabotage_a_skip_at_setup_is_a_failure(tmp_path: Path) -> None:
    found = told(tmp_path, ("a::one", "setup", "skipped"), ("a::one", "teardown", "passed"))
    assert outcomes(found) == {"a::one": "skipped"}


def test_sabotage_what_did_not_run_has_failed(tmp_path: Path) -> None:
    assert set(outcomes(compare(WANTED, results(tmp_path))).values()) == {"missing"}
    assert outcomes(compare(WANTED, told(tmp_path, *whole("a::one")[:2])))["a::one"] == "unfinished"


def test_what_nobody_expects_has_to_be_written_down(tmp_path: Path) -> None:
    assert outcomes(compare([], told(tmp_path, *whole("a::one")))) == {"a::one": "unexpected"}


def test_a_line_that_was_cut_off(tmp_path: Path) -> None:
    told(tmp_path, *whole("a::one"))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"test": "a::t')
    assert outcomes(results(tmp_path)) == {"a::one": "passed"}


def report(**presence: str) -> dict[str, Any]:
    return {"features": [{"name": name, "presence": p} for name, p in presence.items()]}


def test_features_are_exactly_as_expected() -> None:
    assert features(["tcx"], report(tcx="no", link="yes")).result == "passed"
    gone = features(["tcx"], report(tcx="no", link="no"))
    assert (gone.result, gone.why) == ("failed", "link: not expected to be missing")
    come = features(["tcx"], report(tcx="yes", link="yes"))
    assert (come.result, come.why) == ("failed", "tcx: expected to be missing")
    assert features(["tcx"], report(tcx="unknown")).result == "passed"
    assert features([], {}).result == "missing"


def test_a_machine_that_never_came_up_has_failed(tmp_path: Path) -> None:
    verdict = vm_verdict.judge("6.12", tmp_path, ["the boot for `tests` was ended after 420 s"])
    assert (verdict.passed, verdict.failed > 10) == (0, True)
    assert "did not boot" in vm_verdict.table(verdict)


def test_the_newest_package_is_taken() -> None:
    names = """linux-image-6.12.9+deb12-amd64 linux-image-6.12.117+deb12-amd64 linux-image-6.12.117+deb12-cloud-amd64
    linux-image-6.12.118+deb12-rt-amd64 linux-image-6.12.118+deb12-amd64-unsigned linux-image-6.12-amd64"""
    assert vm_kernels.newest(names, "6.12") == "linux-image-6.12.117+deb12-amd64"
    assert vm_kernels.newest("linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64", "6.1") == (
        "linux-image-6.1.0-56-amd64"
    )
    assert vm_kernels.newest(names, "6.1") == ""


def test_every_test_of_the_folder_is_expected_on_every_kernel() -> None:
    """By name; how often each is parametrized, the machine tells."""
    named = {
        f"{path.stem}::{line.split('(')[0].removeprefix('def ')}"
        for path in (ROOT / "tests" / "vm").glob("test_*.py")
        for line in path.read_text().splitlines()
        if line.startswith("def test_")
    }
    expected = vm_verdict.expected()
    assert set(expected) == set(vm_kernels.SERIES)
    for wanted in expected.values():
        assert {name.split("[")[0] for name in wanted["tests"]} == named


def test_one_closing_line_over_both_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert closing_line.of_both(tmp_path) == (0, 2)
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="1" skipped="2"/></testsuites>'
    )
    assert closing_line.of_both(tmp_path) == (6, 3)
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "counts.json").write_text('{"passed": 13, "failed": 0}')
    assert closing_line.main(tmp_path) == 1
    assert capsys.readouterr().out == "19 passed, 2 failed\n"
    (tmp_path / "tests.xml").write_text('<testsuites><testsuite tests="10"/></testsuites>')
    assert closing_line.main(tmp_path) == 0


def test_without_the_package_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that cannot be reached, and one that has no such kernel."""
    unreachable = 'echo "E: Could not resolve" >&2; exit 100'
    for name, script in (("apt-cache", "exit 0"), ("apt-get", unreachable), ("sudo", 'exec "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(vm_kernels, "CACHE", tmp_path / "kernels")
    with pytest.raises(vm_kernels.VmError, match=r"no kernel to boot(.|\n)*Could not resolve"):
        vm_kernels.kernel("6.12")
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    with pytest.raises(vm_kernels.VmError, match=r"archive has no linux-image-6\.12"):
        vm_kernels.kernel("6.12")
    assert not (tmp_path / "kernels" / "6.12" / vm_kernels.DONE).exists()


def test_the_page_on_kernels_says_what_is_expected() -> None:
    """docs/kernels.md has every feature, and of the booted kernels what expected.yaml has."""
    lines = (ROOT / "docs" / "kernels.md").read_text().splitlines()
    table = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header, rows = table[0], table[2:]
    assert [row[0] for row in rows] == [probe.name for probe in features_module._table()]
    for series, wanted in vm_verdict.expected().items():
        column = header.index(series)
        assert sorted(row[0] for row in rows if row[column] != "yes") == sorted(wanted["lacks"])
