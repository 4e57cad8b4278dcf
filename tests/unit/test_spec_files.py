"""disk/atomic_files.py: atomic writes leave the old contents or the new ones, never a fragment."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reloader import fault_points
from reloader.disk import atomic_files


def test_writes_replaces_and_makes_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    atomic_files.write_atomic(target, b"one")
    atomic_files.write_atomic(target, b"two", mode=0o644)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(target.parent) == ["file"]


def test_full_disk_keeps_the_old_file_and_no_fragment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    atomic_files.write_atomic(target, b"old")

    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        atomic_files.write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_every_write_is_one_lasting_effect(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    fault_points.install(lambda when, name: seen.append((when, name)))
    try:
        atomic_files.write_atomic(tmp_path / "x", b"1")
    finally:
        fault_points.install(None)
    assert seen == [("before", f"write {tmp_path.name}/x"), ("after", f"write {tmp_path.name}/x")]
