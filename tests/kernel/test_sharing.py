"""`share:`: one group reads the published maps, everything else is private. Looked at by other users of this kernel."""

from __future__ import annotations

import grp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.stage import ROOT, Stage
from reloader import fault_points
from reloader.pipeline.share import group_id
from tests.kernel.test_rescue import rescue
from tests.support import faults

pytestmark = pytest.mark.kernel

MEMBER, STRANGER = 12345, 12346
GROUPS = [g.gr_name for g in grp.getgrall() if g.gr_gid not in (0, 65534)]
ONE, OTHER = GROUPS[0], GROUPS[1]  # whichever this host has: the users below are members for one command only

LOOK = """
import ctypes, errno, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attr):
    attr = ctypes.create_string_buffer(attr, 128)
    done = libc.syscall(int(sys.argv[1]), command, attr, 128)
    return done if done >= 0 else -ctypes.get_errno()
def get(path, flags):
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(7, struct.pack("=QII", ctypes.addressof(name), 0, flags))
out = {}
for path in sys.argv[2:]:
    fd = get(path, 8)  # BPF_F_RDONLY
    out[path] = {"read": min(fd, 0), "write": min(get(path, 0), 0), "write_only": min(get(path, 16), 0)}
    if fd >= 0:
        key, value = ctypes.create_string_buffer(bytes(4)), ctypes.create_string_buffer(4096)
        attr = struct.pack("=I4xQQQ", fd, ctypes.addressof(key), ctypes.addressof(value), 0)
        out[path]["update"] = min(bpf(2, attr), 0)
        out[path]["next"] = min(bpf(4, struct.pack("=I4xQQQ", fd, 0, ctypes.addressof(value), 0)), 0)
print(json.dumps(out))
"""


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.sandbox.dir.chmod(0o711)
    Path(stage.sandbox.bpffs).parent.chmod(0o711)
    return stage


def shared(stage: Stage, group: str = ONE, version: str = "v1", **more: Any) -> dict[str, Any]:
    return stage.spec(version, share={"group": group, "access": "read"}, **more)


def look(stage: Stage, user: int, group: str, pipeline: str = "edge") -> dict[str, dict[str, int]]:
    """What a user of a group may do with every pin of a pipeline, by its path below the pipeline; errno as -errno."""
    from reloader.bpf.libc import _BPF

    root = f"{stage.sandbox.bpffs}/{pipeline}/"
    pins = [p for p in stage.sandbox.pins() if p.startswith(f"{pipeline}/")]
    ids = [f"--reuid={user}", f"--regid={group_id(group) if group else user}", "--clear-groups", "--bounding-set=-all"]
    command = ["setpriv", *ids, sys.executable, "-c", LOOK, str(_BPF), *(f"{stage.sandbox.bpffs}/{p}" for p in pins)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {path.removeprefix(root): found for path, found in json.loads(done.stdout).items()}


def assert_shared(stage: Stage, group: str, pipeline: str = "edge") -> None:
    """The group reads what is published, and nothing else; others read nothing at all."""
    seen = look(stage, MEMBER, group, pipeline)
    published = {p: found for p, found in seen.items() if p.startswith("pub/")}
    assert {p.removeprefix("pub/") for p in published} >= {"flows", "counters", "blocklist"}
    for path, found in published.items():
        assert (found["read"], found["write"], found["write_only"]) == (0, -13, -13), path
        assert found["update"] == -1, path
    assert published["pub/counters"]["next"] == 0
    for path, found in seen.items():
        assert path in published or set(found.values()) == {-13}, path
    assert_private(stage, *(g for g in ("", ONE, OTHER) if g != group), pipeline=pipeline)


def assert_private(stage: Stage, *groups: str, pipeline: str = "edge") -> None:
    for group in groups:
        for path, found in look(stage, STRANGER, group, pipeline).items():
            assert set(found.values()) == {-13}, (group, path)


def modes(stage: Stage) -> dict[str, int]:
    root = stage.sandbox.bpffs
    return {os.path.relpath(base, root): os.stat(base).st_mode & 0o777 for base, _, _ in os.walk(root)}


def test_v3_a_group_reads_the_published_maps_and_nothing_else(stage: Stage) -> None:
    result = stage.apply(shared(stage))
    assert [line["name"] for line in result["lines"] if line["kind"] == "share"] == [ONE]
    assert_shared(stage, ONE)
    open_to_group = {path: mode for path, mode in modes(stage).items() if mode & 0o077}
    assert open_to_group == {".": 0o710, "edge": 0o710, "edge/pub": 0o750}
    stage.assert_counts()
    assert [f["ok"] for f in stage.run("doctor").document["findings"] if f["check"] == "pins"] == [True]


def test_v3_sharing_stays_right_over_every_change(stage: Stage) -> None:
    """Reload, entries, conversion of state, rollback, a lost name, recover, rescue script, another group, none."""
    stage.apply(shared(stage))
    stage.apply(shared(stage, version="v2"))
    assert_shared(stage, ONE)
    entries = [{"key": "192.0.2.9", "value": {"action": "XDP_DROP"}}]
    stage.apply(shared(stage, version="v2", maps={"blocklist": {"role": "config", "entries": entries}}))
    assert_shared(stage, ONE)
    stage.call("rollback", "edge")
    assert_shared(stage, ONE)
    os.unlink(stage.paths.pub_pin("edge", "flows"))
    stage.call("apply", stage.file)
    assert_shared(stage, ONE)
    stage.apply(shared(stage, version="v3", stateSchema="flow-count"))
    assert_shared(stage, ONE)
    assert rescue(stage, 1).returncode == 0
    assert_shared(stage, ONE)
    stage.call("apply", stage.file)
    assert_shared(stage, ONE)
    changed = shared(stage, OTHER, version="v3", stateSchema="flow-count")
    assert stage.apply(changed)["changed"]
    assert_shared(stage, OTHER)
    assert not stage.apply(changed)["changed"]
    stage.call("rollback", "edge")
    assert_shared(stage, ONE)
    del changed["share"]
    stage.apply(changed)
    assert_private(stage, "", ONE, OTHER)
    assert set(modes(stage).values()) == {0o700}


def test_v3_modes_that_were_changed_by_hand_are_put_right(stage: Stage) -> None:
    spec = shared(stage)
    stage.apply(spec)
    Path(stage.paths.pub_pin("edge", "flows")).chmod(0o600)
    stage.apply({**spec, "rodata": {"default_verdict": "XDP_PASS"}})
    assert_shared(stage, ONE)


def test_v3_remove_takes_the_way_back(stage: Stage) -> None:
    stage.apply(shared(stage))
    stage.call("remove", "edge")
    assert set(modes(stage).values()) == {0o700}
    stage.apply(shared(stage))
    assert_shared(stage, ONE)
    stage.call("remove", "edge", "--state")
    assert not stage.sandbox.pins()


def test_v3_two_pipelines_with_two_groups(stage: Stage) -> None:
    """Neither group reads the other's maps; once one is left, the way is its alone."""
    other = shared(stage, OTHER)
    other["attach"][0] |= {"interface": stage.sandbox.tx.interface, "netns": stage.sandbox.tx.netns}
    stage.call("apply", stage.write(shared(stage), stage.document(other, "other")))
    assert_shared(stage, ONE)
    assert_shared(stage, OTHER, "other")
    assert modes(stage)["."] == 0o711
    listing = ["setpriv", f"--reuid={STRANGER}", "--regid=12346", "--clear-groups", "--bounding-set=-all", "ls"]
    assert subprocess.run([*listing, stage.sandbox.bpffs], capture_output=True, check=False).returncode
    stage.call("remove", "edge", "--state")
    assert_shared(stage, OTHER, "other")
    assert modes(stage)["."] == 0o710
    stage.call("remove", "other", "--state")


def test_v3_an_unknown_group_is_told_before_anything_is_done(stage: Stage) -> None:
    file = stage.write(shared(stage, "no-such-group"))
    for command in ("validate", "plan", "apply"):
        done = stage.run(command, file, where=command != "validate")
        assert done.code == 65, (command, done.err)
        (problem,) = done.document["error"]["problems"]
        assert (problem["path"], problem["reason"]) == ("spec.share.group", "unknown-group")
        assert problem["line"] or command != "validate"
    assert not stage.sandbox.pins()


def test_v3_a_group_that_went_stops_no_way_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that failed goes back to one that shared; the maps are private then."""
    stage.apply(shared(stage))
    stage.apply(stage.spec("v2"))

    faults.inject(monkeypatch, "group id", lambda _: None)
    stage.call("rollback", "edge")
    assert_private(stage, "", ONE)
    assert stage.run("apply", stage.write(shared(stage, version="v2"))).code == 65


def test_v3_a_way_that_the_group_cannot_pass_is_named(stage: Stage) -> None:
    """Folders above ours stay as they are: the plan says which, and what opens it."""
    mount = Path(stage.sandbox.bpffs).parent
    mount.chmod(0o700)
    result = stage.apply(shared(stage))
    (line,) = [line for line in result["lines"] if line["kind"] == "share"]
    assert any(str(mount) in note for note in line["notes"])
    assert mount.stat().st_mode & 0o777 == 0o700
    mount.chmod(0o711)
    assert_shared(stage, ONE)


@pytest.mark.parametrize("bad", [{}, {"group": ""}, {"group": "a b"}, {"group": 7}, {"group": ONE, "access": "write"}])
def test_v3_a_share_that_makes_no_sense(stage: Stage, bad: dict[str, object]) -> None:
    done = stage.run("validate", stage.write(stage.spec("v1", share=bad)), where=False)
    assert done.code == 65
    assert all(p["path"].startswith("spec.share") for p in done.document["error"]["problems"])


def test_v3_share_is_part_of_the_digest_only_where_it_is_given(stage: Stage) -> None:
    """Records of before `share:` existed stay in force."""
    stage.apply(stage.spec("v1"))
    path = stage.paths.generation_file("edge", 1)
    body = json.loads(path.read_text())
    assert body["wish"].pop("share") is None
    del body["sum"]
    path.write_text(json.dumps(body))
    assert not stage.apply(stage.spec("v1"))["changed"]


@pytest.mark.parametrize("share", [True, False])
def test_v3_sharing_that_was_cut_short_is_finished_by_recover(stage: Stage, share: bool) -> None:
    """At each of its effects: no other user reads what is private, and `recover` ends it."""
    for number in range(1, 4):
        stage.apply(stage.spec("v1") if share else shared(stage))
        seen = 0

        def fail(when: str, name: str, number: int = number) -> None:
            nonlocal seen
            seen += when == "before" and name.startswith("give ")
            if seen == 2 * number:
                raise OSError(5, "sabotage")

        fault_points.install(fail)
        try:
            done = stage.run("apply", stage.write(shared(stage) if share else stage.spec("v1")))
        finally:
            fault_points.install(None)
        assert done.code == 4, done.err
        assert_private(stage, "", OTHER)
        stage.call("recover", "edge")
        if share:
            assert_shared(stage, ONE)
        else:
            assert_private(stage, "", ONE, OTHER)
            assert set(modes(stage).values()) == {0o700}
