"""Files that others could change are refused, whichever link or folder on the way lets them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reloader.disk.trust import require_ours
from reloader.errors import PermissionRefused

STRANGER = 12345
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "edge.yaml"
    path.parent.mkdir()
    path.write_text("{}")
    return path


def refused(path: Path) -> list[tuple[str, str]]:
    """What is weak on the way to a file, and how."""
    with pytest.raises(PermissionRefused) as caught:
        require_ours([str(path)])
    assert caught.value.exit_code == 77
    assert "go-w" in caught.value.hint
    files = caught.value.values["files"]
    assert isinstance(files, list)
    assert len(caught.value.lines) == len(files)
    assert {found["file"] for found in files} == {str(path)}
    return [(found["at"], found["weakness"]) for found in files]


def test_our_own_files_pass(file: Path) -> None:
    require_ours([str(file)])
    with pytest.raises(FileNotFoundError):
        require_ours([str(file), str(file.parent / "does-not-exist")])


@pytest.mark.parametrize("mode", [0o646, 0o666])
def test_a_file_that_everybody_writes(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refused(file) == [(str(file), "everybody")]


@root_only
def test_a_file_that_a_group_writes(file: Path) -> None:
    os.chown(file, 0, STRANGER)
    file.chmod(0o664)
    assert refused(file) == [(str(file), "group")]
    os.chown(file, 0, 0)
    require_ours([str(file)])  # root's own group


def test_a_parent_that_everybody_writes(file: Path) -> None:
    file.parent.chmod(0o777)
    assert refused(file) == [(str(file.parent), "everybody")]


def test_a_sticky_parent_is_no_danger(file: Path) -> None:
    file.parent.chmod(0o1777)
    require_ours([str(file)])


@root_only
def test_a_stranger_s_file_and_folder(file: Path) -> None:
    os.chown(file, STRANGER, 0)
    assert refused(file) == [(str(file), "owner")]
    os.chown(file, 0, 0)
    os.chown(file.parent, STRANGER, 0)
    assert refused(file) == [(str(file.parent), "owner")]


@root_only
def test_who_called_sudo_is_the_owner(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(file, STRANGER, STRANGER)
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    require_ours([str(file)])


def test_regress_a_link_that_leads_through_a_bad_folder(file: Path, tmp_path: Path) -> None:
    """The link's own folder is sound; the way it points is not."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "way").symlink_to(file)
    (tmp_path / "link.yaml").symlink_to("bad/way")
    bad.chmod(0o777)
    assert (str(bad), "everybody") in refused(tmp_path / "link.yaml")
    with pytest.raises(PermissionRefused):
        require_ours([f"{bad}/../conf/edge.yaml"])  # who may replace `bad` decides where `..` leads


@root_only
def test_regress_a_stranger_s_link_in_a_sticky_folder(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    os.lchown(link, STRANGER, STRANGER)
    assert refused(link) == [(str(link), "owner")]


def test_all_of_it_is_told_at_once(file: Path) -> None:
    other = file.parent / "other.bpf.o"
    other.write_text("")
    other.chmod(0o666)
    file.chmod(0o666)
    with pytest.raises(PermissionRefused) as caught:
        require_ours([str(file), str(other)])
    assert len(caught.value.detail.splitlines()) == 2
