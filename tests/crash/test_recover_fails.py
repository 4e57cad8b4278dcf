"""`recover` itself fails, twice: exit 4 while the journal is open. A third one, on a sound system, reaches one version.

At its effects, and by strace at system calls that are no effects: a folder or a file that cannot be read. `make crash`
takes every scenario, both ways, with an error of its own, `make test` a fixed spread.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab.crash import loop
from lab.crash.scenario import PIPELINE, SCENARIOS, Scene
from reloader.paths import BLOBS
from reloader.store.records import open_journals
from tests.crash import recovering

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

EVERY = os.environ.get("CRASH") == "all"
MOST = loop.spread(25 if EVERY else 3)
WAYS = [(name, way) for name in SCENARIOS for way in recovering.SHARES]
EFFECTS = [(*where, loop.ERRORS[i % len(loop.ERRORS)]) for i, where in enumerate(WAYS)] if EVERY else [
    ("update", "back", "EIO"), ("convert", "forward", "ENOSPC"),
]  # fmt: skip
CALLS = {
    "openat": ("EIO", "EACCES", "EMFILE"), "read": ("EIO",), "getdents64": ("EIO",), "newfstatat": ("EIO", "EACCES"),
    "write": ("ENOSPC", "EIO"), "unlink": ("EIO", "EROFS"), "rename": ("EIO",), "fsync": ("EIO", "ENOSPC"),
    "bpf": ("ENOMEM", "EPERM", "EINTR"), "rmdir": ("EBUSY",), "link": ("EDQUOT",), "mkdir": ("EDQUOT",),
}  # fmt: skip
FAILING = [
    (name, way, call, error)
    for name in ("update", "convert")
    for way in recovering.SHARES
    for call, errors in CALLS.items()
    for error in errors
] if EVERY else [("update", "forward", "fsync", "EIO")]  # fmt: skip


@pytest.mark.parametrize(("name", "way", "error"), EFFECTS)
def test_recover_fails_at_every_effect(name: str, way: str, error: str, scene: Scene, tmp_path: Path) -> None:
    tally = recovering.fail(name, way, error, scene, tmp_path, MOST)
    print(f"{name} {way}, {error}: {tally.struck} points of {tally.points}, {len(tally.violations)} violations")
    assert tally.points
    assert not tally.violations, "\n".join(tally.violations)


@pytest.mark.parametrize(("name", "way", "call", "error"), FAILING)
def test_recover_fails_at_every_system_call(
    name: str, way: str, call: str, error: str, scene: Scene, tmp_path: Path
) -> None:
    tally = recovering.fail_calls(name, way, call, error, scene, tmp_path, loop.spread(6 if EVERY else 3))
    print(f"{name} {way}, {error} of {call}: {tally.struck} of {tally.points}, {len(tally.violations)} violations")
    assert not tally.violations, "\n".join(tally.violations)


def test_a_journal_folder_that_cannot_be_read_is_not_an_empty_one(scene: Scene, tmp_path: Path) -> None:
    """Trap: Path.glob takes EACCES for an empty folder: recover said that nothing is to recover, and ended with 0."""
    middle = recovering.middle_of(scene, "update", tmp_path, "back")
    SCENARIOS["update"][0](scene)
    before = scene.view()
    recovering.kill_in(scene, "update", middle)
    journals = scene.paths.journal_file(PIPELINE, "").parent
    done = recovering.recover_under(
        scene, "-P", str(journals), "-o", "/dev/null", "-e", "inject=openat:error=EACCES", words=("-o", "json")
    )
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["reason"], error["values"]["pipeline"]) == (4, "recovery-stopped", PIPELINE)
    assert open_journals(scene.paths, PIPELINE)
    assert not loop.judge(scene, before, "update")
    scene.reset()


@pytest.mark.parametrize("opened", [3, 4])  # behind the two that sync it
def test_generations_that_cannot_be_read_cost_no_blob(opened: int, scene: Scene) -> None:
    """The same trap behind the commit: a folder that looks empty needs no blob, and all were deleted."""
    scene.call("apply", scene.yaml("v1", "192.0.2.66"))
    stored = {p.name for kind in BLOBS for p in (scene.paths.records / kind).glob("*")}
    generations = scene.paths.generation_file(PIPELINE, 1).parent
    done = recovering.under_strace(
        scene, ["apply", scene.yaml("v2", "192.0.2.66")],
        "-P", str(generations), "-o", "/dev/null", "-e", f"inject=openat:error=EACCES:when={opened}",
    )  # fmt: skip
    left = {p.name for kind in BLOBS for p in (scene.paths.records / kind).glob("*")}
    assert stored <= left, done.stderr
    assert bool(open_journals(scene.paths, PIPELINE)) == (done.returncode == 4), done.stderr
    scene.recover()
    scene.call("rollback", PIPELINE)
    scene.reset()
