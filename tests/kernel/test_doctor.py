"""doctor on the real kernel: features are tried and left no trace of, and what is missing is seen to be missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.stage import ROOT, Stage, checked

pytestmark = pytest.mark.kernel

USED = {  # by the engine itself, or by its programs: a kernel without these would fail other tests
    "xdp.link", "xdp.link_replace", "xdp.live_frames", "prog.bind_map", "map.freeze", "batch.hash", "helper.loop",
    "helper.map_lookup_percpu_elem", "host.membarrier",
}  # fmt: skip


def by_name(document: Any) -> dict[str, str]:
    return {f["name"]: f["presence"] for f in document["features"]}


def test_a_sound_host(stage: Stage) -> None:
    document = stage.call("doctor", "--features")
    assert document["well"] is True
    assert {f["check"] for f in document["findings"]} >= {"kernel", "privileges", "bpffs", "records"}
    found = by_name(document)
    assert {name for name in USED if found[name] != "yes"} == set()
    assert "unknown" not in found.values()


def test_features_as_a_table(stage: Stage) -> None:
    done = stage.run("doctor", "--features", json_too=False)
    assert done.code == 0
    rows = {line.split()[0]: line.split()[1] for line in done.out.splitlines() if "." in line.split(" ")[0]}
    assert rows == by_name(stage.call("doctor", "--features"))
    assert "FEATURE" not in stage.run("doctor", json_too=False).out


def test_no_bpf_filesystem(stage: Stage, tmp_path: Path) -> None:
    done = stage.run("doctor", "--bpffs", tmp_path, "--records", stage.records, where=False)
    assert done.code == 69
    wrong = [f for f in done.document["findings"] if not f["ok"]]
    assert [f["check"] for f in wrong] == ["bpffs"]
    assert "mount -t bpf" in wrong[0]["hint"]


def spawned(*prefix: str, more: Sequence[str] = ()) -> Any:
    """doctor's document and exit code, in a process that is hindered."""
    command = [*prefix, sys.executable, "-m", "reloader", "doctor", "--features", "-o", "json", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, checked(done.stdout)


def test_sabotage_a_kernel_without_bpf_is_seen() -> None:
    """Every bpf(2) fails as an unknown command does."""
    code, document = spawned("strace", "-f", "-o", os.devnull, "-e", "inject=bpf:error=EINVAL")
    found = by_name(document)
    assert code == 69
    assert {name for name in USED if found[name] == "yes"} == {"host.membarrier"}
    assert [f for f in document["findings"] if f["check"] == "kernel" and "xdp.link" in f["what"]]


def test_records_that_may_not_be_read_are_a_finding(stage: Stage) -> None:
    """An ordinary user on a host where root runs reloader still gets all that can be told."""
    stage.apply(stage.spec())
    for folder in (stage.sandbox.dir, stage.sandbox.dir / "bpf"):
        folder.chmod(0o755)
    code, document = spawned("setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "-all", more=stage.where)
    assert code == 69
    assert any(f.get("reason") == "not-permitted" for f in document["findings"])
    assert document["features"]


def test_what_may_not_be_tried_is_unknown() -> None:
    code, document = spawned("setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "-all")
    found = by_name(document)
    assert code == 69
    assert found["xdp.link"] == found["map.freeze"] == "unknown"
    assert next(f["check"] for f in document["findings"] if not f["ok"]) == "privileges"


def test_the_capabilities_that_suffice_are_no_fault() -> None:
    """CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON try all that needs no namespace of one's own."""
    caps = "-all,+bpf,+net_admin,+perfmon"
    _, document = spawned("setpriv", "--bounding-set", caps, "--inh-caps", caps)
    found = by_name(document)
    assert (found["map.freeze"], found["helper.loop"], found["xdp.link"]) == ("yes", "yes", "unknown")
    assert {f["check"] for f in document["findings"] if f["ok"]} >= {"kernel", "privileges"}


def test_the_document_is_json(stage: Stage) -> None:
    assert json.loads(stage.run("doctor").out)["kind"] == "Doctor"
