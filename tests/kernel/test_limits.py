"""What a process may have runs short: processes, descriptors, memory, file size, room on the disk. A clear error, and
the version before runs on; exit 4 only while a journal is open, and `recover` completes it once there is room.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox, run
from lab.stage import Done, Stage, on_stage
from reloader.store import records
from tests.kernel.test_privilege import ENOUGH
from tests.support.trials import PASS, assert_no_guard, generation_of, health

pytestmark = pytest.mark.kernel

LIMITED = 12346  # a user id of its own: limits count all processes of one


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.apply(stage.spec())
    return stage


def limited(stage: Stage, limit: str, *words: str | Path) -> Done:
    """A command in a process of its own under `prlimit`."""
    return stage.spawn(*words, prefix=("prlimit", limit, "--"))


def check(stage: Stage, done: Done) -> None:
    """THE check: no traceback; 4 exactly while a journal is open; and old or new entirely, once that is recovered."""
    assert "Traceback" not in done.err, done.err
    left = bool(records.open_journals(stage.paths, stage.name))
    assert (done.code == 4) == left, (done.code, done.err)
    assert done.code == 0 or "error" in done.err
    if left:
        stage.call("recover")
    assert not list(stage.records.rglob(".*.tmp"))
    stage.assert_counts()
    current = records.read_current(stage.paths, stage.name)
    assert current is not None
    (status,) = stage.call("status")["pipelines"]
    assert (status["state"], status["problems"]) == ("serving", [])


@pytest.mark.parametrize("limit", ["nofile=9", "nofile=14", "fsize=512", "fsize=40000", "as=90000000"])
def test_what_a_process_may_have_is_little(stage: Stage, limit: str) -> None:
    """EMFILE, EFBIG, ENOMEM, wherever they come; and SIGXFSZ kills nobody."""
    check(stage, limited(stage, f"--{limit}", "apply", stage.write(stage.spec("v2"))))


ROOM = range(0, 50, 10)  # pages: from none, so that the journal cannot begin, to enough for all of it


def test_a_full_disk(user: Stage) -> None:
    """ENOSPC for real, at each stage: the records are on a small file system that is full but for a few pages."""
    small, ends = user.sandbox.dir / "small", set()
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=0700,size=3m", "none", str(small))
    try:
        user.records = small / "records"
        user.apply(user.spec())
        for room in ROOM:
            ballast, path = small / "ballast", user.write(user.spec("v2"))
            ballast.write_bytes(b"x" * (os.statvfs(small).f_bavail - room) * 4096)
            done = user.spawn("apply", path)
            ballast.unlink()
            ends.add(done.code)
            check(user, done)
        assert {0, 1} <= ends <= {0, 1, 3, 4}
        user.call("remove", user.name, "--state")
    finally:
        run("umount", str(small))


@pytest.fixture
def user(sandbox: Sandbox, objects: Callable[[str], Path]) -> Iterator[Stage]:
    """A pipeline of an ordinary user, whom limits on processes hold for."""
    folder = sandbox.dir / "conf"
    folder.mkdir()
    with on_stage(sandbox, objects, folder) as made:
        yield made
        assert_no_guard(made)


def as_limited_user(stage: Stage, processes: int, *words: str | Path) -> Done:
    held = ",".join(f"+{c}" for c in ENOUGH)
    prefix = (
        "prlimit", f"--nproc={processes}", "--",
        *stage.sandbox.rx.command("setpriv", f"--reuid={LIMITED}", f"--regid={LIMITED}", "--clear-groups"),
        f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set=-all,{held}",
    )  # fmt: skip
    return stage.spawn(*words, prefix=prefix)


def give(stage: Stage, spec: dict[str, Any]) -> Path:
    """A YAML and all it needs, as this user's."""
    for attach in spec["attach"]:
        attach.pop("netns", None)
    path = stage.write(spec)
    stage.sandbox.dir.chmod(0o755)
    Path(stage.sandbox.bpffs).parent.chmod(0o755)
    for one in (Path(stage.sandbox.bpffs), stage.records, stage.folder, *stage.folder.rglob("*")):
        os.chown(one, LIMITED, LIMITED)
    return path


def test_a_user_who_may_start_no_process(user: Stage) -> None:
    """Trap: no loader child, no guard, no thread for progress or for a drain: an error or slower work, no traceback."""
    path = give(user, user.spec("v1", stateSchema="flow-count"))
    assert as_limited_user(user, 50, "apply", path).code == 0
    for processes in (1, 2):
        done = as_limited_user(user, processes, "apply", give(user, user.spec("v1", rodata=PASS)))
        assert (done.code, "Traceback" in done.err, "ulimit -u" in done.err) == (1, False, True), done.err
    guarded = user.spec("v1", rodata=PASS, health=health({"map": "counters", "field": "packets", "above": -1}))
    for processes in (1, 2, 3):
        done = as_limited_user(user, processes, "apply", give(user, guarded))
        assert (done.code, "Traceback" in done.err, "ulimit -u" in done.err) == (1, False, True), done.err
    assert generation_of(user) == 1
    user.send(50)
    converted = as_limited_user(user, 3, "apply", give(user, user.spec("v3", stateSchema="flow-count")))
    assert (converted.code, "Traceback" in converted.err) == (0, False), converted.err
    assert generation_of(user) == 2
    assert as_limited_user(user, 1, "recover").code == 0
