"""The writer lock: held by one reloader, by no stranger, whatever becomes of its files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stage import ROOT, Stage, wait_until
from reloader.disk.lock import writer_lock
from reloader.errors import LockedError, PermissionRefused
from reloader.paths import Paths

pytestmark = pytest.mark.kernel

USER = 12345
FAILING = {"window": "200ms", "interval": "100ms", "checks": [{"map": "counters", "field": "packets", "below": 0}]}


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """The root of the bpf filesystem can be opened by everybody."""
    stage.sandbox.dir.chmod(0o755)
    Path(stage.sandbox.bpffs).parent.chmod(0o1777)
    return stage


@pytest.fixture
def run_dir(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for lock files of the test's own; it does not exist yet."""
    path = stage.sandbox.dir / "run"
    monkeypatch.setenv("RELOADER_RUN", str(path))
    return path


def umount(path: Path) -> None:
    subprocess.run(["umount", path], check=True)


def run_lock(stage: Stage) -> Path:
    device = os.stat(Path(stage.sandbox.bpffs).parent).st_dev
    return Path(f"/run/reloader/bpffs-{os.major(device)}:{os.minor(device)}.lock")


@contextlib.contextmanager
def process(code: str, *words: str, user: int = 0, runtime: str = "") -> Iterator[subprocess.Popen[str]]:
    """A Python process that says a line when it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": runtime}
    prefix = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all") if user else ()
    command = [*prefix, sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/", env=environment) as running:
        assert running.stdout
        try:
            assert running.stdout.readline().strip() == "ready"
            yield running
        finally:
            running.kill()


FLOCK = """
import fcntl, os, sys, time
held = []
for path in sys.argv[1:]:
    try:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    except PermissionError:
        pass
print("ready" if held else "refused", flush=True)
time.sleep(60)
"""

HOLD = """
import sys, time
from pathlib import Path
from reloader.paths import Paths
from reloader.disk.lock import writer_lock
with writer_lock(Paths(bpffs=sys.argv[1], records=Path(sys.argv[2]))):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_v2_a_user_cannot_hold_a_lock_of_root(stage: Stage) -> None:
    """All that a user can open below the bpf filesystem and the lock's folder is locked: nothing waits for it."""
    stage.records.chmod(0o755)  # as a careless administrator may have it
    stage.apply(stage.spec("v1"))
    lock, root = run_lock(stage), Path(stage.sandbox.bpffs).parent
    assert (lock.parent.stat().st_mode & 0o777, lock.stat().st_mode & 0o777) == (0o700, 0o600)
    assert stage.paths.lock_file.stat().st_mode & 0o777 == 0o600
    strangers = [str(p) for p in (root, stage.sandbox.bpffs, stage.records, stage.paths.lock_file, lock, lock.parent)]
    with process(FLOCK, *strangers, user=USER):
        for path in strangers[-3:]:
            assert user_may_open(path) is False, path
        stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
        stage.call("recover")
        file = stage.write(stage.spec("v1", rodata={"sample_rate": 3}, health=FAILING))
        assert stage.run("apply", file).code == 3
        stage.call("rollback", "edge")
        file = stage.write(stage.spec("v1", rodata={"sample_rate": 4}))
        stage.call("apply", file, "--confirm-timeout", "60s")
        stage.call("confirm", "edge")


def user_may_open(path: str) -> bool:
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "test", "-r"]
    return subprocess.run([*command, path], check=False).returncode == 0


def test_v2_a_lock_file_with_a_loose_mode_is_closed(stage: Stage) -> None:
    """Left by an older version, say: it is made private when it is taken."""
    stage.paths.lock_file.write_text("")
    stage.paths.lock_file.chmod(0o666)
    with writer_lock(stage.paths):
        assert stage.paths.lock_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("way", ["records", "bpffs", "other path", "bind mount", "symbolic link"])
def test_v2_one_writer_whatever_path_leads_there(stage: Stage, tmp_path: Path, way: str) -> None:
    """Two record directories on one bpf filesystem exclude each other, and the error names the holder."""
    bpffs = Path(stage.sandbox.bpffs)
    other = {"other path": bpffs.parent / "b", "bind mount": tmp_path / "mnt", "symbolic link": tmp_path / "link"}
    folder = stage.records if way == "records" else tmp_path / "records"
    with contextlib.ExitStack() as undo:
        if way == "bind mount":
            other[way].mkdir()
            subprocess.run(["mount", "--bind", bpffs, other[way]], check=True)
            undo.callback(umount, other[way])
        elif way == "symbolic link":
            other[way].symlink_to(bpffs.parent)
        holder = undo.enter_context(process(HOLD, str(other.get(way, bpffs)), str(folder)))
        done = stage.run("apply", stage.write(stage.spec("v1")))
        assert done.code == 75
        error = done.document["error"]
        assert error["reason"] == "locked-by"
        assert error["values"]["pid"] == holder.pid
        assert error["values"]["subject"] == ("records" if way == "records" else "bpffs")
        assert not stage.attached()
        holder.kill()
        holder.wait()
        stage.call("apply", stage.file)


def test_v2_a_killed_holder_leaves_nothing_locked(stage: Stage) -> None:
    with process(HOLD, stage.sandbox.bpffs, str(stage.records)) as holder:
        with pytest.raises(LockedError), writer_lock(stage.paths):
            raise AssertionError("two writers")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with writer_lock(stage.paths):
            pass


@pytest.mark.parametrize("how", ["deleted", "replaced", "moved"])
@pytest.mark.parametrize("subject", ["records", "bpffs"])
def test_v2_a_lock_file_that_is_replaced_lets_no_second_writer_in(
    stage: Stage, tmp_path: Path, subject: str, how: str
) -> None:
    folder = stage.records if subject == "records" else tmp_path / "records"
    lock = stage.paths.lock_file if subject == "records" else run_lock(stage)
    aside = lock.with_suffix(".aside")
    with process(HOLD, stage.sandbox.bpffs, str(folder)) as holder:
        if subject == "records":  # the other lock would do
            run_lock(stage).unlink()
        if how == "deleted":
            lock.unlink()
        elif how == "moved":
            lock.rename(aside)
        else:
            aside.write_text("")
            aside.rename(lock)
        for _ in range(2):
            with pytest.raises(LockedError) as caught, writer_lock(stage.paths):
                raise AssertionError("two writers")
            assert caught.value.values["pid"] == holder.pid
            assert caught.value.values["subject"] == subject
        holder.kill()
        holder.wait()
    with writer_lock(stage.paths):
        pass
    aside.unlink(missing_ok=True)


def test_v2_a_waiter_that_opened_the_old_file_does_not_get_in(stage: Stage, run_dir: Path) -> None:
    """Its file has lost the name by the time it is locked."""
    with writer_lock(Paths(bpffs=stage.sandbox.bpffs, records=stage.records, run_dir=str(run_dir))):
        (lock,) = run_dir.iterdir()
        old = os.open(lock, os.O_RDWR)
        lock.unlink()
    fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no holder any more, and no name: it is nobody's lock
    try:
        done = stage.run("recover")
        assert done.code in (0, 75)
    finally:
        os.close(old)
    assert stage.run("recover").code == 0


PLANTED = ("owner", "link", "file", "writable", "read-only", "relative", "lock-file", "lock-link", "fifo")


@pytest.mark.parametrize("what", PLANTED)
def test_v2_a_folder_for_locks_that_is_not_ours(stage: Stage, run_dir: Path, tmp_path: Path, what: str) -> None:
    """Planted before the first reloader of a boot came: a clear refusal, and doctor says the same."""
    device = os.stat(stage.sandbox.bpffs).st_dev
    lock = run_dir / f"bpffs-{os.major(device)}:{os.minor(device)}.lock"
    with contextlib.ExitStack() as undo:
        if what == "file":
            run_dir.write_text("")
        elif what == "link":
            stage.sandbox.dir.chmod(0o1777)
            run_dir.symlink_to(tmp_path)
            os.lchown(run_dir, USER, USER)
        elif what == "relative":
            os.environ["RELOADER_RUN"] = "run"
        elif what == "read-only":
            stage.sandbox.dir.joinpath("ro").mkdir()
            command = ["mount", "-t", "tmpfs", "-o", "ro,mode=755", "none", str(stage.sandbox.dir / "ro")]
            subprocess.run(command, check=True)
            undo.callback(umount, stage.sandbox.dir / "ro")
            os.environ["RELOADER_RUN"] = f"{stage.sandbox.dir}/ro/run"
        else:
            run_dir.mkdir(mode=0o700)
            if what == "owner":
                os.chown(run_dir, USER, USER)
            elif what == "writable":
                run_dir.chmod(0o1777)
            elif what == "lock-file":
                lock.write_text("")
                os.chown(lock, USER, USER)
            elif what == "lock-link":
                lock.symlink_to(tmp_path / "elsewhere")
            else:
                os.mkfifo(lock)
        done = stage.run("apply", stage.write(stage.spec("v1")))
        assert done.code == 77, done.err
        error = done.document["error"]
        assert error["reason"] in ("run-dir-not-ours", "lock-file-not-ours", "others-can-change")
        assert error["hint"]
        assert not stage.attached()
        assert not (tmp_path / "elsewhere").exists()
        if what in ("owner", "link", "file", "writable"):
            findings = stage.run("doctor").document["findings"]
            assert [f["ok"] for f in findings if f["check"] == "locks"] == [False]


def test_v2_a_folder_for_locks_with_a_loose_mode_is_closed(stage: Stage, run_dir: Path) -> None:
    run_dir.mkdir(mode=0o755)  # RuntimeDirectory= of a systemd unit
    stage.apply(stage.spec("v1"))
    assert run_dir.stat().st_mode & 0o777 == 0o700


HAMMER = """
import os, sys, time
from pathlib import Path
from reloader.errors import LockedError
from reloader.paths import Paths
from reloader.disk.lock import writer_lock
paths, inside, end = Paths(bpffs=sys.argv[1], records=Path(sys.argv[2])), sys.argv[3], time.monotonic() + 4
print("ready", flush=True)
count = 0
while time.monotonic() < end:
    try:
        with writer_lock(paths):
            os.mkdir(inside)  # fails when another is inside
            time.sleep(0.0005)
            os.rmdir(inside)
            count += 1
    except LockedError:
        time.sleep(0.0003)
print(count, flush=True)
"""


def test_v2_writers_exclude_each_other_while_lock_files_are_deleted(stage: Stage, tmp_path: Path) -> None:
    """Four processes with two record directories, and a fifth that takes their lock files away."""
    inside = str(tmp_path / "inside")
    with contextlib.ExitStack() as all_of_them:
        running = [
            all_of_them.enter_context(process(HAMMER, stage.sandbox.bpffs, str(folder), inside))
            for folder in (stage.records, tmp_path / "other") * 2
        ]
        deleted, end = 0, time.monotonic() + 3.5
        while time.monotonic() < end:
            for lock in (run_lock(stage), stage.paths.lock_file):
                with contextlib.suppress(FileNotFoundError):
                    lock.unlink()
                    deleted += 1
            time.sleep(0.005)
        counts = []
        for one in running:
            assert one.stdout
            counts.append(int(one.stdout.readline() or "-1"))
            assert one.wait() == 0
    assert deleted > 20
    assert sum(counts) > 50
    assert -1 not in counts


def test_v2_two_reloaders_with_two_record_directories(stage: Stage, tmp_path: Path) -> None:
    """Commands of both at once: each is done or says that it was locked out; the kernel is as the records say."""
    command = [sys.executable, "-m", "reloader"]
    files = [stage.write(stage.spec("v1")), tmp_path / "other.yaml"]
    other = stage.spec("v1", attach=[{**stage.attach(), "interface": stage.sandbox.tx.interface}])
    other["attach"][0]["netns"] = stage.sandbox.tx.netns
    files[1].write_text(files[0].read_text().replace("name: edge", "name: other").replace("rx0", "tx0"))
    text = files[1].read_text().replace(stage.sandbox.rx.netns, stage.sandbox.tx.netns)
    files[1].write_text(text)
    codes: list[int] = []
    for number in range(4):
        running = []
        for file, folder in zip(files, (stage.records, tmp_path / "records"), strict=True):
            verdict = ("XDP_PASS", "XDP_DROP")[number % 2]
            file.write_text(file.read_text().replace("XDP_DROP", verdict).replace("XDP_PASS", verdict))
            where = ["--bpffs", stage.sandbox.bpffs, "--records", str(folder)]
            running.append(subprocess.Popen([*command, "apply", str(file), *where], cwd=ROOT, stderr=subprocess.PIPE))
        for one in running:
            one.communicate()
            codes.append(one.returncode)
    assert set(codes) <= {0, 75}
    assert codes.count(0) >= 4
    stage.call("recover")
    stage.call("apply", files[0])
    where = ["--bpffs", stage.sandbox.bpffs, "--records", str(tmp_path / "records")]
    assert stage.run("apply", files[1], *where, where=False).code == 0
    assert stage.attached()


# not root


def hold_as_user(stage: Stage, folder: Path, *, runtime: str = "", bpffs: str = "") -> int:
    """What `recover` of the ordinary user comes to."""
    prefix = [
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        "--clear-groups",
        "--inh-caps=+bpf",
        "--ambient-caps=+bpf",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": runtime}
    command = [*prefix, sys.executable, "-m", "reloader", "recover", "-o", "json", "--records", str(folder)]
    command += ["--bpffs", bpffs or stage.sandbox.bpffs]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    hold_as_user.last = done  # type: ignore[attr-defined]
    return done.returncode


@pytest.fixture
def users(stage: Stage) -> Stage:
    os.chown(stage.sandbox.bpffs, USER, USER)
    for name in ("records", "records2", "runtime"):
        path = stage.sandbox.dir / name
        path.mkdir(exist_ok=True, mode=0o700)
        os.chown(path, USER, USER)
    return stage


def test_v2_without_root_the_pin_folder_must_be_the_user_s(users: Stage) -> None:
    assert hold_as_user(users, users.records) == 0
    os.chown(users.sandbox.bpffs, 0, 0)
    for bpffs in (users.sandbox.bpffs, f"{Path(users.sandbox.bpffs).parent}/new"):
        assert hold_as_user(users, users.records, bpffs=bpffs) == 77
        assert '"bpffs-not-ours"' in hold_as_user.last.stdout  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", ["", "runtime"])
@pytest.mark.parametrize("second", ["", "runtime"])
def test_v2_a_user_s_service_and_session_exclude_each_other(users: Stage, first: str, second: str) -> None:
    """The one has a runtime directory, the other has not."""
    runtime = {"": "", "runtime": str(users.sandbox.dir / "runtime")}
    with process(HOLD, users.sandbox.bpffs, str(users.records), user=USER, runtime=runtime[first]):
        assert hold_as_user(users, users.sandbox.dir / "records2", runtime=runtime[second]) == 75
        assert '"locked-by"' in hold_as_user.last.stdout  # type: ignore[attr-defined]
    wait_until(lambda: hold_as_user(users, users.sandbox.dir / "records2", runtime=runtime[second]) == 0)


def test_v2_a_user_without_a_place_for_a_lock_is_told_so(users: Stage) -> None:
    """No runtime directory, and a pin folder that others can open."""
    Path(users.sandbox.bpffs).chmod(0o755)
    assert hold_as_user(users, users.records) == 77
    assert '"no-private-lock"' in hold_as_user.last.stdout  # type: ignore[attr-defined]
    assert hold_as_user(users, users.records, runtime=str(users.sandbox.dir / "runtime")) == 0
    foreign = users.sandbox.dir / "foreign"
    foreign.mkdir(mode=0o700)
    assert hold_as_user(users, users.records, runtime=str(foreign)) == 77


def test_v2_root_stays_off_a_user_s_bpf_filesystem(users: Stage) -> None:
    """Their locks lie in different folders; the owner of the pin folder decides whose it is."""
    done = users.run("apply", users.write(users.spec("v1")))
    assert done.code == 77
    with contextlib.suppress(PermissionRefused), writer_lock(users.paths):
        pass
