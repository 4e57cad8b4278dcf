"""V1: what other users left in the record directory while they could write there is refused, and doctor shows it."""

from __future__ import annotations

import os
import subprocess

import pytest

from lab.stage import Done, Stage

pytestmark = pytest.mark.kernel
STRANGER = 12345
REASON = "others-can-change"


def weak(done: Done) -> set[tuple[str, str]]:
    """(path below the record directory, weakness) of a refusal."""
    assert done.code == 77, (done.code, done.err)
    assert done.error["reason"] == REASON
    return {(one["at"], one["weakness"]) for one in done.error["values"]["files"]}


FOLDERS = (
    "objects", "entries", "cache", "logs", "pipelines", "pipelines/edge", "pipelines/edge/generations",
    "pipelines/edge/journal", "pipelines/edge/objects", "pipelines/new",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["owner", "link", "everybody"])
@pytest.mark.parametrize("below", FOLDERS)
def test_v1_a_folder_below_the_records_that_a_user_planted(stage: Stage, below: str, kind: str) -> None:
    """The record directory itself is sound again by now."""
    stage.apply(stage.spec("v1"))
    serving = stage.attached()
    folder, elsewhere = stage.records / below, stage.folder / "elsewhere"
    if kind == "link":
        if folder.exists():
            folder.rename(elsewhere)
        else:
            elsewhere.mkdir()
        folder.symlink_to(elsewhere)
        os.lchown(folder, STRANGER, STRANGER)
    else:
        folder.mkdir(exist_ok=True)
        if kind == "owner":
            os.chown(folder, STRANGER, STRANGER)
        else:
            folder.chmod(0o1777)
    unchanged = weak(stage.run("apply", stage.file))
    file = stage.write(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    expected = {(str(folder), "everybody" if kind == "everybody" else "owner")}
    assert unchanged == expected
    for words in (["apply", file], ["rollback", "edge"], ["recover"], ["gc"], ["remove", "edge"]):
        assert weak(stage.run(*words)) == expected, words
    assert stage.attached() == serving
    (finding,) = [f for f in stage.run("doctor").document["findings"] if f["check"] == "records"]
    assert (finding["ok"], finding["reason"]) == (False, REASON)


@pytest.mark.parametrize("what", ["current", "generation", "blob", "link", "journal", "cache", "writable"])
def test_v1_a_file_below_the_records_that_a_user_planted(stage: Stage, what: str) -> None:
    stage.apply(stage.spec("v1"))
    paths = stage.paths
    path = {
        "current": paths.current_file("edge"),
        "generation": paths.generation_file("edge", 7),
        "blob": next((stage.records / "objects").iterdir()),
        "link": paths.generation_file("edge", 8),
        "journal": paths.journal_file("edge", "00000000000000000001-1"),
        "cache": paths.cache_dir / f"{'0' * 64}.json",
        "writable": paths.generation_file("edge", 1),
    }[what]
    path.parent.mkdir(exist_ok=True)
    if what == "link":
        path.symlink_to(paths.generation_file("edge", 1))
    elif not path.exists():
        path.write_text("{}")
    if what == "writable":
        path.chmod(0o666)
    else:
        os.lchown(path, STRANGER, STRANGER)
    file = stage.write(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    kind = "everybody" if what == "writable" else "owner"
    assert (str(path), kind) in weak(stage.run("apply", file))


def test_v1_the_hint_about_the_records_helps(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    os.chown(stage.records / "objects", STRANGER, STRANGER)
    stage.paths.generation_file("edge", 1).chmod(0o666)
    file = stage.write(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    done = stage.run("apply", file)
    assert len(weak(done)) == 2
    command = done.error["hint"].split("`")[1]
    subprocess.run(["sh", "-c", command], check=True)
    stage.call("apply", file)


def test_v1_an_administrator_s_links_below_the_records_are_followed(stage: Stage) -> None:
    """Root keeps the pipelines on another disk, say; the way there is judged as well."""
    stage.apply(stage.spec("v1"))
    far = stage.folder / "far"
    far.mkdir()
    (stage.records / "pipelines").rename(far / "pipelines")
    (stage.records / "pipelines").symlink_to(far / "pipelines")
    (stage.records / "nowhere").symlink_to("nowhere")
    stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    os.chown(far, STRANGER, STRANGER)
    file = stage.write(stage.spec("v1"))
    assert weak(stage.run("apply", file)) == {(str(far), "owner")}
    os.chown(far, 0, 0)
    os.chown(far / "pipelines" / "edge", STRANGER, STRANGER)
    assert weak(stage.run("apply", file)) == {(str(stage.records / "pipelines" / "edge"), "owner")}


def test_v1_the_record_directory_is_not_made_through_a_user_s_link(stage: Stage) -> None:
    """Root would make folders wherever the link leads."""
    sticky, elsewhere = stage.folder / "sticky", stage.folder / "elsewhere"
    sticky.mkdir()
    sticky.chmod(0o1777)
    elsewhere.mkdir()
    (sticky / "x").symlink_to(elsewhere)
    os.lchown(sticky / "x", STRANGER, STRANGER)
    where = ["--bpffs", stage.sandbox.bpffs, "--records", str(sticky / "x" / "deep" / "records")]
    done = stage.run("apply", stage.write(stage.spec("v1")), *where, where=False)
    assert weak(done) == {(str(sticky / "x"), "owner")}
    assert not list(elsewhere.iterdir())
    assert not stage.attached()


def test_v1_a_refusal_names_some_of_many_files(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    for number in range(100, 300):
        path = stage.paths.generation_file("edge", number)
        path.write_text("{}")
        os.chown(path, STRANGER, STRANGER)
    done = stage.run("recover")
    assert 1 <= len(weak(done)) <= 20


def test_v1_the_last_of_many_folders_is_judged(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    for number in range(60):
        (stage.records / "pipelines" / f"p{number:02}").mkdir(mode=0o700)
    last = stage.records / "pipelines" / "p59"
    os.chown(last, STRANGER, STRANGER)
    assert weak(stage.run("recover")) == {(str(last), "owner")}


def test_records_that_are_a_file_are_shown_by_doctor(stage: Stage) -> None:
    file = stage.folder / "records"
    file.write_text("")
    for path in (file, file / "below"):
        done = stage.run("doctor", "--bpffs", stage.sandbox.bpffs, "--records", path, where=False)
        (finding,) = [f for f in done.document["findings"] if f["check"] == "records"]
        assert (done.code, finding["ok"], finding["reason"]) == (69, False, "not-a-directory")
