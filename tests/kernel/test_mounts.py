"""Where bpf filesystems are mounted: a path may hold any byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stage import ROOT, Stage
from reloader.bpf.holders import holders, mounts, mounts_in

pytestmark = pytest.mark.kernel
USER = 12345
NAMES = ("zähler", "a b\tc\nd", "back\\slash\\134", "no-break\u00a0space", "re\rturn", os.fsdecode(b"by\xffte"))


@pytest.fixture
def odd(stage: Stage) -> Iterator[list[Path]]:
    """Bpf filesystems with those names."""
    paths = [stage.sandbox.dir / name for name in NAMES]
    for path in paths:
        path.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    yield paths
    for path in paths:
        subprocess.run(["umount", path], check=True)


def test_a_mount_is_found_whatever_its_name_is(stage: Stage, odd: list[Path]) -> None:
    assert {str(path) for path in odd} <= set(mounts())
    stage.apply(stage.spec("v1"))
    number = stage.map_id("flows")
    with stage.pub("flows") as fd:
        for path in odd:
            stage.kernel.pins.pin(fd, f"{path}/here")
    found = holders("map", number)
    assert {f"pin {path}/here" for path in odd} <= set(found)


def test_mountinfo_without_optional_fields_and_with_several() -> None:
    lines = [
        b"36 35 0:5 / /a\\040b rw - bpf none rw",
        b"37 35 0:6 / /c rw shared:1 master:2 - bpf bpf rw,mode=700",
        b"38 35 0:7 / /bpf rw - tmpfs bpf rw",
        b"36 35 0:5 / /a\\040b rw - bpf none rw",
    ]
    assert mounts_in(b"\n".join([*lines, b""])) == ["/a b", "/c"]


def test_a_user_s_lock_beside_mounts_with_odd_names(stage: Stage, odd: list[Path]) -> None:
    """The type of the filesystem is asked for by users who are not root."""
    code = "import sys; from reloader.disk.lock import _filesystem; print(_filesystem(int(sys.argv[1])))"
    device = str(os.stat(stage.sandbox.bpffs).st_dev)
    for locale in ("C.UTF-8", "C"):
        environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        command = ["setpriv", f"--reuid={USER}", sys.executable, "-c", code, device]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "bpf"), done.stderr
