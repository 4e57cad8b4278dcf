"""Which files a directory's changes concern: the ways editors, tools and kubelets save, on a real filesystem."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.daemon.sources.files import RACY, Files, is_yaml, stamp, trail

LATER = 1 << 62  # ns: as if read long after everything here was written


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def rename_over(path: Path) -> None:
    """vim with backupcopy=no, most "atomic save" options, sed -i."""
    draft = path.with_name(".draft~")
    draft.write_text("new")
    draft.rename(path)


def in_place(path: Path) -> None:
    with path.open("r+") as stream:
        stream.truncate()
        stream.write("new")


def delete_and_create(path: Path) -> None:
    path.unlink()
    path.write_text("new")


def backup_and_create(path: Path) -> None:
    """vim with backupcopy=auto on some filesystems, emacs."""
    path.rename(f"{path}~")
    path.write_text("new")


def copy_over(path: Path) -> None:
    source = path.parent.parent / "source"
    source.write_text("new")
    subprocess.run(["cp", source, path], check=True)


def copy_keeping_times(path: Path) -> None:
    """Same size, same mtime: the ctime tells."""
    before = path.stat()
    path.write_text("new"[: before.st_size].ljust(before.st_size, "x"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


SAVES = [rename_over, in_place, delete_and_create, backup_and_create, copy_over, copy_keeping_times]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("save", SAVES, ids=lambda s: s.__name__)
def test_a_save_is_seen_once(folder: Path, save: Callable[[Path], None]) -> None:
    edge, files = write(folder / "edge.yaml", "old"), Files(str(folder))
    write(folder / "other.yml", "old")
    assert files.scan() == {edge, str(folder / "other.yml")}
    assert files.scan() == set()
    save(Path(edge))
    assert files.scan() == {edge}
    assert files.scan() == set()


@pytest.mark.parametrize("save", SAVES, ids=lambda s: s.__name__)
def test_a_save_of_a_named_file_is_seen(folder: Path, tmp_path: Path, save: Callable[[Path], None]) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    other = write(folder / "other.yaml", "text")
    elsewhere = tmp_path / "objects"
    elsewhere.mkdir()
    named = write(elsewhere / "edge.bpf.o", "old")
    files.scan()
    files.learn(edge, [named], read=time.time_ns())
    files.learn(other, [], read=time.time_ns())
    assert files.scan() == {edge}  # written just before it was read: it might have changed under the same times
    assert files.scan() == set()
    save(Path(named))
    assert files.scan() == {edge}
    assert files.scan() == set()


def test_a_named_file_may_come_and_go(folder: Path) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    named = folder / "bulk.csv"
    files.scan()
    files.learn(edge, [str(named)], read=LATER)
    assert files.scan() == set()
    named.write_text("a")
    assert files.scan() == {edge}
    named.unlink()
    assert files.scan() == {edge}
    assert files.scan() == set()


def test_an_old_named_file_is_not_read_twice(folder: Path) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    named = write(folder / "bulk.csv", "a")
    files.scan()
    time.sleep(RACY / 1e9 + 0.02)
    files.learn(edge, [named], read=time.time_ns())
    assert files.scan() == set()


def test_one_object_of_two_files(folder: Path) -> None:
    """What one file's reader learns must not hide a change from the other."""
    one, two, files = write(folder / "1.yaml", "a"), write(folder / "2.yaml", "b"), Files(str(folder))
    shared = write(folder / "x.o", "v1")
    files.scan()
    files.learn(one, [shared], read=LATER)
    files.scan()
    Path(shared).write_text("v2 ")
    files.learn(two, [shared], read=LATER)
    assert files.scan() == {one, two}


def test_touching_is_seen_here_and_judged_elsewhere(folder: Path) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    files.scan()
    os.utime(edge)
    assert files.scan() == {edge}


def test_kubelet_swap(folder: Path) -> None:
    """edge.yaml → ..data/edge.yaml, ..data → ..v1: an update renames a new ..data over the old."""
    for version in ("..v1", "..v2"):
        (folder / version).mkdir()
        (folder / version / "edge.yaml").write_text(version)
    (folder / "..data").symlink_to("..v1")
    (folder / "edge.yaml").symlink_to("..data/edge.yaml")
    edge, files = str(folder / "edge.yaml"), Files(str(folder))
    assert files.scan() == {edge}
    files.learn(edge, [], read=LATER)
    directories, names = files.places()
    real = os.path.realpath(folder)
    assert directories[0] == real
    assert f"{real}/..data" in names
    assert f"{real}/..v1" in directories
    (folder / "..tmp").symlink_to("..v2")
    (folder / "..tmp").rename(folder / "..data")
    shutil.rmtree(folder / "..v1")
    assert files.scan() == {edge}
    files.learn(edge, [], read=LATER)
    assert f"{real}/..v2" in files.places()[0]
    assert f"{real}/..v1" not in files.places()[0]
    assert files.scan() == set()


def test_git_checkout(folder: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    edge, files = write(folder / "edge.yaml", "one"), Files(str(folder))
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    git("checkout", "-b", "two")
    write(folder / "edge.yaml", "two")
    extra = write(folder / "extra.yaml", "two")
    git("add", ".")
    git("commit", "-m", "two")
    files.scan()
    git("checkout", "main")
    assert files.scan() == {edge, extra}
    assert not files.exists(extra)
    git("checkout", "two")
    assert files.scan() == {edge, extra}
    assert files.exists(extra)


def test_vanishing_is_said_once_and_forgotten(folder: Path) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    files.scan()
    assert files.exists(edge)
    Path(edge).unlink()
    assert files.scan() == {edge}
    assert not files.exists(edge)
    assert files.scan() == set()
    files.learn(edge, [], read=LATER)  # too late, and harmless
    write(folder / "edge.yaml", "text")
    assert files.scan() == {edge}


def test_names_that_do_not_count(folder: Path) -> None:
    write(folder / ".edge.yaml.swp", "")
    write(folder / "edge.yaml~", "")
    write(folder / ".hidden.yaml", "")
    write(folder / "#edge.yaml#", "")
    (folder / ".#edge.yaml").symlink_to("user@host.1234")  # emacs' lock
    (folder / "folder.yaml").mkdir()
    (folder / "dangling.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "fifo.yaml")
    assert Files(str(folder)).scan() == set()
    assert is_yaml("a.yml")
    assert not is_yaml("a.json")


def test_a_symlink_loop_is_there_to_be_reported(folder: Path) -> None:
    (folder / "loop.yaml").symlink_to("loop.yaml")
    files = Files(str(folder))
    assert files.scan() == {str(folder / "loop.yaml")}
    assert len(trail(str(folder / "loop.yaml"))) < 50


def test_the_directory_may_vanish_and_return(folder: Path) -> None:
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    files.scan()
    shutil.rmtree(folder)
    assert files.scan() == {edge}
    assert not files.exists(edge)
    assert files.scan() == set()
    folder.mkdir()
    write(folder / "edge.yaml", "text")
    assert files.scan() == {edge}
    assert files.problem == ""


def test_a_directory_that_cannot_be_listed_hides_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO of a sick network filesystem is no reason to call every file gone. (Root may list everything else.)"""
    edge, files = write(folder / "edge.yaml", "text"), Files(str(folder))
    files.scan()

    def sick(_path: str) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", sick)
        assert files.scan() == set()
    assert files.problem == "Input/output error"
    assert files.exists(edge)
    assert files.scan() == set()
    assert files.problem == ""


def test_trail_of_links_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "releases" / "5").mkdir(parents=True)
    (tmp_path / "releases" / "5" / "x.o").write_text("")
    (tmp_path / "current").symlink_to("releases/5")
    (tmp_path / "x.o").symlink_to(tmp_path / "current" / ".." / "5" / "x.o")
    real = os.path.realpath(tmp_path)
    assert trail(str(tmp_path / "x.o")) == [f"{real}/x.o", f"{real}/current", f"{real}/releases/5/x.o"]


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    assert stamp(str(tmp_path / "none")) is None
    assert stamp(f"{tmp_path}/a\0b") is not None
    assert stamp(str(tmp_path / ("x" * 300))) is not None  # ENAMETOOLONG


@pytest.mark.alone
def test_thousands_of_files(folder: Path) -> None:
    shared = write(folder / "shared.o", "x")
    names = [write(folder / f"p{i}.yaml", str(i)) for i in range(3000)]
    files = Files(str(folder))
    assert files.scan() == set(names)
    for name in names:
        files.learn(name, [shared], read=LATER)
    began = time.monotonic()
    assert files.scan() == set()
    assert time.monotonic() - began < 0.5  # about 20 ms when nothing else runs
    write(folder / "p7.yaml", "new")
    assert files.scan() == {str(folder / "p7.yaml")}
    write(folder / "shared.o", "new")
    assert files.scan() == set(names)
