"""What a process may have runs short: processes, descriptors, memory, file size, room on the disk. A clear error, and
the version before runs on; exit 4 only while a journal is open, and `recover` completes it once there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from reloader import records
from tests.kernel.stage import Done, Stage, on_stage
from tests.kernel.trials import assert_no_guard

pytestmark = pytest.mark.kernel

MIB = 1 << 20


@pytest.fixture
def stage(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Stage]:
    with on_stage(sandbox, objects, tmp_path) as made:
        made.apply(made.spec())
        yield made
        assert_no_guard(made)


def limited(stage: Stage, limit: str, *words: str | Path) -> Done:
    """A command in a process of its own under `prlimit`."""
    return stage.spawn(*words, prefix=("prlimit", limit, "--"))


def check(stage: Stage, done: Done) -> None:
    """THE check: no traceback; 4 exactly while a journal is open; and old or new entirely, once that is recovered."""
    assert "Traceback" not in done.err, done.err
    left = bool(records.open_journals(stage.layout, stage.name))
    assert (done.code == 4) == left, (done.code, done.err)
    assert done.code == 0 or "error" in done.err
    if left:
        stage.call("recover")
    assert not list(stage.records.rglob(".*.tmp"))
    stage.assert_counts()
    current = records.read_current(stage.layout, stage.name)
    assert current is not None
    (status,) = stage.call("status")["pipelines"]
    assert (status["state"], status["problems"]) == ("serving", [])


@pytest.mark.parametrize("most", [7, 9, 11, 14, 18, 24])
def test_few_descriptors(stage: Stage, most: int) -> None:
    path = stage.write(stage.spec("v2"))
    check(stage, limited(stage, f"--nofile={most}", "apply", path))


@pytest.mark.parametrize("mib", [40, 60, 80, 120])
def test_little_memory(stage: Stage, mib: int) -> None:
    """Too little for the interpreter is its own matter; more than that is ours."""
    path = stage.write(stage.spec("v2"))
    done = limited(stage, f"--as={mib * MIB}", "apply", path)
    if "MemoryError" in done.err or "cannot allocate memory" in done.err.lower() or done.code == 127:
        assert not records.open_journals(stage.layout, stage.name) or done.code == 4
        return
    check(stage, done)


@pytest.mark.parametrize("size", [512, 4096, 8192, 16384])
def test_files_may_not_grow(stage: Stage, size: int) -> None:
    """EFBIG, wherever it comes: journal, blob, record; and SIGXFSZ kills nobody."""
    path = stage.write(stage.spec("v2"))
    check(stage, limited(stage, f"--fsize={size}", "apply", path))
