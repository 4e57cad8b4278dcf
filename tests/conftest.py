"""What all tests share: a sandbox, compiled BPF objects, and the rules for kernel tests.

A test marked `kernel` runs on the real kernel, must leave nothing behind (see leaks.py), and may not
skip itself where root and BPF are there: a skip is reported as a failure.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from lab.sandbox import Sandbox
from lab.stage import Stage, on_stage
from tests.support import leaks
from tests.support.trials import assert_no_guard
from tools import build_bpf

ROOT = Path(__file__).resolve().parent.parent
NO_ROOT = "needs root; `make test` runs it by sudo"


def may_use_kernel() -> bool:
    return os.geteuid() == 0


settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


def pytest_configure() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # a background job inherits them ignored, and so would each command
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    leaks.mark_descendants()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root a kernel test cannot run; with it, no such excuse is added."""
    if not may_use_kernel():
        for item in items:
            if item.get_closest_marker("kernel"):
                item.add_marker(pytest.mark.skip(reason=NO_ROOT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A kernel test that skips where it could run is a failure."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # a wrapper receives what the inner hook returns
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("kernel") and may_use_kernel():
        report.outcome = "failed"
        report.longrepr = f"skipped, which this machine gives no reason for: {report.longrepr}"
    return report  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare what exists before and after each kernel test; first in, so that it judges last."""
    if not request.node.get_closest_marker("kernel"):
        yield
        return
    before = leaks.take()
    yield
    leaked = leaks.check(before)
    assert not leaked, f"the test left behind: {leaked}"


@pytest.fixture
def sandbox(_no_leaks: None) -> Iterator[Sandbox]:
    """Two namespaces of the test's own with a veth pair, a bpffs and a record directory."""
    with Sandbox() as opened:
        yield opened


@pytest.fixture
def stage(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Stage]:
    """The command line on that sandbox (lab/stage.py). Overridden where more is needed: `def stage(stage: Stage)`."""
    with on_stage(sandbox, objects, tmp_path) as opened:
        yield opened
        assert_no_guard(opened)


@pytest.fixture(scope="session")
def objects() -> Callable[[str], Path]:
    """objects("programs/flow_count/flow_count") or objects("lab/bpf/generator"): the compiled object's path."""
    try:
        build_bpf.build(ROOT)
    except build_bpf.BuildError as error:
        pytest.fail(str(error), pytrace=False)

    def path_of(stem: str) -> Path:
        path = ROOT / "build" / "bpf" / f"{stem}.bpf.o"
        assert path.is_file(), f"no source for {path}"
        return path

    return path_of


@pytest.fixture(scope="session")
def compile_bpf() -> Callable[[str | Path], Path]:
    """compile_bpf(C text or source path) → an object, cached by content in build/test-objects/.

    The includes of programs/ and the program folders themselves are found.
    """
    cache = ROOT / "build" / "test-objects"
    tools = build_bpf.Toolchain.find()
    shared = "".join(build_bpf.sha256(p) for p in sorted((ROOT / "programs").rglob("*.h")))

    def compiled(source: str | Path) -> Path:
        text = source.read_text() if isinstance(source, Path) else source
        key = hashlib.sha256("\0".join([text, shared, tools.identity, *build_bpf.flags()]).encode()).hexdigest()
        target = cache / f"{key}.bpf.o"
        if not target.is_file():
            written = source if isinstance(source, Path) else _written(text, cache / f"{key}.bpf.c")
            build_bpf.compile_object(tools, str(written), target)
        return target

    return compiled


def _written(text: str, path: Path) -> Path:
    """By rename: another worker may compile the same text just now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(f".{os.getpid()}")
    made.write_text(text)
    return made.replace(path)


@pytest.fixture
def reloader_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """reloader_command("plan", "x.yaml", …) runs the command line in a process of its own."""

    def call(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "reloader", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]

    return call
