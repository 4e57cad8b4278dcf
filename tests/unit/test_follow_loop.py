"""When a change becomes an attempt, and what is said of it: real directory, recording engine, a clock of our own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from reloader.daemon.file_events import Events
from reloader.daemon.loop import LOCKED_TRIES, PATIENCE, SWEEP, Follower, run
from reloader.daemon.sources.files import Files
from reloader.errors import InputError, LockedError, NothingSwapped, Problem
from reloader.places.place import Wake

DEBOUNCE = 0.2


class Recorder:
    """An engine that reads the file and remembers its text; `bad` and `locked` texts fail."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str]] = []
        self.gone: list[str] = []
        self.order: list[str] = []
        self.again: list[str] = []
        self.named: dict[str, list[str]] = {}
        self.locked = 0  # refusals still to give
        self.last: dict[str, str] = {}

    def attempt(self, path: str) -> bool:
        if self.locked:
            self.locked -= 1
            raise LockedError("another reloader is at work")
        text = "".join(Path(p).read_text() for p in [path, *self.named.get(path, [])])
        self.attempts.append((Path(path).name, text))
        self.order.append(f"attempt {Path(path).name}")
        if "bad" in text:
            self.last.pop(path, None)
            raise InputError([Problem(file=path, line=1, column=2, path="spec", message=text)])
        if "refused" in text:
            raise NothingSwapped("edge: refused", hint="see the log")
        before, self.last[path] = self.last.get(path), text
        return before != text

    def inputs(self, path: str) -> list[str]:
        return self.named.get(path, [])

    def vanished(self, path: str) -> None:
        if self.locked:
            self.locked -= 1
            raise LockedError("another reloader is at work")
        self.last.pop(path, None)
        self.gone.append(Path(path).name)
        self.order.append(f"vanished {Path(path).name}")

    def wakes(self) -> list[Wake]:
        return []

    def revisit(self) -> list[str]:
        again, self.again = self.again, []
        return again

    def take(self) -> list[tuple[str, str]]:
        taken, self.attempts = self.attempts, []
        return taken


class Scene:
    """A follower on a directory, and a clock that only moves when told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.engine, self.said = folder, Recorder(), list[str]()
        self.follower = Follower(Files(str(folder)), self.engine, self.said.append, debounce=DEBOUNCE)
        self.now = 100.0

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *known: str) -> None:
        self.follower.start(self.now, [str(self.folder / name) for name in known])

    def pass_time(self, seconds: float) -> float:
        self.now += seconds
        return self.follower.tick(self.now)

    def settle(self) -> list[tuple[str, str]]:
        """See what changed, then let it get quiet."""
        self.follower.tick(self.now)
        self.pass_time(DEBOUNCE)
        return self.engine.take()

    def hear(self) -> list[str]:
        heard, self.said[:] = list(self.said), []
        return heard


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    folder = tmp_path / "etc"
    folder.mkdir()
    return Scene(folder)


def test_everything_is_applied_at_the_start(scene: Scene) -> None:
    scene.write("b.yaml", "2")
    scene.write("a.yaml", "1")
    scene.start("gone.yaml")
    assert scene.engine.take() == [("a.yaml", "1"), ("b.yaml", "2")]
    assert scene.engine.gone == ["gone.yaml"]
    assert scene.hear() == ["gone.yaml: gone"]
    assert scene.settle() == []


def test_a_change_waits_until_it_is_quiet(scene: Scene) -> None:
    scene.start()
    for step in range(3):
        scene.write("a.yaml", f"{step}{'x' * step}")
        assert scene.pass_time(DEBOUNCE / 2) == pytest.approx(DEBOUNCE)
        assert scene.engine.take() == []
    scene.pass_time(DEBOUNCE)
    assert scene.engine.take() == [("a.yaml", "2xx")]


def test_a_file_that_never_gets_quiet_is_applied_all_the_same(scene: Scene) -> None:
    scene.start()
    began, attempts = scene.now, 0
    for step in range(5 * PATIENCE):
        scene.write("a.yaml", "x" * step)
        scene.pass_time(DEBOUNCE / 2)
        attempts += len(scene.engine.take())
    assert attempts == int((scene.now - began) / DEBOUNCE / PATIENCE)


def test_the_problem_is_said_once(scene: Scene) -> None:
    scene.start()
    scene.write("a.yaml", "bad")
    scene.settle()
    assert scene.hear() == ["a.yaml:1:2: spec: bad"]
    scene.pass_time(10 * SWEEP)
    assert scene.hear() == []
    scene.write("a.yaml", "bad")
    scene.settle()
    assert scene.hear() == ["a.yaml: still bad"]
    scene.write("a.yaml", "refused")
    scene.settle()
    assert scene.hear() == ["a.yaml: edge: refused", "    hint: see the log"]
    scene.write("a.yaml", "good")
    scene.settle()
    assert scene.hear() == ["a.yaml: mended"]
    scene.write("a.yaml", "good")
    scene.settle()
    assert scene.hear() == []


def test_a_bad_file_that_vanishes_is_bad_anew_when_it_returns(scene: Scene) -> None:
    scene.write("a.yaml", "bad")
    scene.start()
    (scene.folder / "a.yaml").unlink()
    scene.settle()
    assert scene.hear() == ["a.yaml:1:2: spec: bad", "a.yaml: gone"]
    scene.write("a.yaml", "bad")
    scene.settle()
    assert scene.hear() == ["a.yaml:1:2: spec: bad"]


def test_a_short_absence_is_none(scene: Scene) -> None:
    path = scene.write("a.yaml", "1")
    scene.start()
    scene.engine.take()
    path.unlink()
    scene.follower.tick(scene.now)
    scene.write("a.yaml", "2")
    assert scene.settle() == [("a.yaml", "2")]
    assert scene.engine.gone == []


def test_a_renamed_file_is_there_before_it_is_gone(scene: Scene) -> None:
    path = scene.write("a.yaml", "1")
    scene.start()
    scene.engine.take()
    path.rename(scene.folder / "b.yaml")
    assert scene.settle() == [("b.yaml", "1")]
    assert scene.engine.gone == ["a.yaml"]
    assert scene.engine.order[-2:] == ["attempt b.yaml", "vanished a.yaml"]


def test_a_draft_that_comes_and_goes_is_nobodys_business(scene: Scene) -> None:
    scene.start()
    path = scene.write("draft.yaml", "1")
    scene.follower.tick(scene.now)
    path.unlink()
    assert scene.settle() == []
    assert scene.engine.gone == []
    assert scene.hear() == []


def test_a_held_lock_is_asked_for_again_and_said_once(scene: Scene) -> None:
    scene.start()
    scene.write("a.yaml", "1")
    scene.engine.locked = LOCKED_TRIES + 2
    scene.follower.tick(scene.now)
    tries = 0
    while not scene.engine.attempts:
        tries += 1
        assert tries < 50
        scene.pass_time(max(scene.follower.tick(scene.now), 0.001))
    assert scene.hear() == ["a.yaml: waits: another reloader is at work"]
    assert scene.now < 110


def test_a_file_vanishes_while_the_lock_is_held(scene: Scene) -> None:
    path = scene.write("a.yaml", "1")
    scene.start()
    path.unlink()
    scene.engine.locked = 1
    scene.settle()
    assert scene.engine.gone == []
    scene.pass_time(1)
    assert scene.engine.gone == ["a.yaml"]


def test_files_worth_a_second_look_get_one(scene: Scene) -> None:
    path = scene.write("a.yaml", "refused")
    scene.start()
    scene.engine.take()
    scene.engine.again = [str(path)]
    scene.pass_time(SWEEP)
    assert scene.engine.take() == [("a.yaml", "refused")]


def test_a_stop_between_two_files(scene: Scene) -> None:
    scene.write("a.yaml", "1")
    scene.write("b.yaml", "2")
    scene.follower.start(scene.now, [], stopping=lambda: bool(scene.engine.attempts))
    assert scene.engine.take() == [("a.yaml", "1")]


class Deaf:
    """Hears of no place."""

    def point_at(self, wakes: Collection[Wake]) -> bool:
        assert not wakes
        return False


class Live:
    """run() with the real observer, as `reloader watch` puts it together, in a thread of the test's."""

    def __init__(self, folder: Path) -> None:
        self.engine, self.said, self.notes = Recorder(), list[str](), list[str]()
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._stopping = False
        self.follower = Follower(Files(str(folder)), self.engine, self.said.append, debounce=0.05)
        self.events = Events(self._queue, self.notes.append)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self.events.point_at(*self.follower.files.places())
        self.follower.start(0, [])
        self._thread.start()

    def _run(self) -> None:
        run(self.follower, self.events, Deaf(), self._queue, stopping=lambda: self._stopping)

    def stop(self) -> None:
        self._stopping = True
        self._queue.put("")
        if self._thread.is_alive():
            self._thread.join(5)
        assert not self._thread.is_alive()
        self.events.stop()

    def until(self, condition: Callable[[], bool], *, seconds: float = 8) -> None:
        woken = threading.Event()
        for _ in range(int(seconds / 0.01)):
            if condition():
                return
            woken.wait(0.01)
        raise AssertionError(f"not within {seconds} s: {self.engine.attempts} {self.said} {self.notes}")

    def quiet(self, seconds: float = 0.3) -> None:
        threading.Event().wait(seconds)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    folder = tmp_path / "etc"
    folder.mkdir()
    one = Live(folder)
    yield one
    one.stop()


def vim_save(path: Path, text: str) -> None:
    (path.parent / "4913").touch()
    (path.parent / "4913").unlink()
    path.rename(f"{path}~")
    path.write_text(text)
    Path(f"{path}~").unlink()


def atomic_save(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(text)
    draft.rename(path)


def in_place_save(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.write(text)


@pytest.mark.parametrize("save", [vim_save, atomic_save, in_place_save], ids=lambda s: s.__name__)
def test_a_save_is_one_attempt_well_before_the_sweep(
    live: Live, tmp_path: Path, save: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "etc" / "a.yaml"
    path.write_text("1")
    live.start()
    for text in ("22", "333"):
        live.engine.take()
        save(path, text)
        live.until(lambda: bool(live.engine.attempts), seconds=SWEEP / 2)
        live.quiet()
        assert live.engine.take() == [("a.yaml", text)]
    assert live.said == []
    assert live.notes == []


def test_a_named_file_elsewhere_and_a_symlink_swap_wake_it(live: Live, tmp_path: Path) -> None:
    folder, releases = tmp_path / "etc", tmp_path / "releases"
    for version in ("1", "2"):
        (releases / version).mkdir(parents=True)
        (releases / version / "x.o").write_text(f"object {version}")
    (releases / "current").symlink_to("1")
    path = folder / "a.yaml"
    path.write_text("text ")
    live.engine.named[str(path)] = [str(releases / "current" / "x.o")]
    live.start()
    live.quiet()
    live.engine.take()
    (releases / "next").symlink_to("2")
    (releases / "next").rename(releases / "current")
    live.until(lambda: bool(live.engine.attempts), seconds=SWEEP / 2)
    live.quiet()
    assert set(live.engine.take()) == {("a.yaml", "text object 2")}
    (releases / "2" / "x.o").write_text("object 3")
    live.until(lambda: bool(live.engine.attempts), seconds=SWEEP / 2)
    live.quiet()
    assert set(live.engine.take()) == {("a.yaml", "text object 3")}


def test_our_own_reading_wakes_nobody(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "a.yaml"
    path.write_text("1")
    live.start()
    live.quiet()
    before = live.follower.files.scans
    for _ in range(50):
        path.read_text()
        (tmp_path / "etc" / "some.log").write_text("not ours")
        live.quiet(0.01)
    assert live.follower.files.scans - before <= 2  # sweeps


def test_the_directory_vanishes_and_returns(live: Live, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "a.yaml").write_text("1")
    live.start()
    live.engine.take()
    for text in ("2", "3"):
        shutil.rmtree(folder)
        live.until(lambda: live.engine.gone == ["a.yaml"])
        live.engine.gone.clear()
        folder.mkdir()
        (folder / "a.yaml").write_text(text)
        live.until(lambda: live.engine.attempts == [("a.yaml", text)])  # noqa: B023  # used within the turn
        live.engine.take()
    live.quiet()
    (folder / "a.yaml").write_text("44")
    live.until(lambda: bool(live.engine.attempts), seconds=SWEEP / 2)  # the new directory is watched too


def test_without_inotify_the_sweep_finds_it(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(live.events._observer, "schedule", exhausted)
    path = tmp_path / "etc" / "a.yaml"
    live.start()
    path.write_text("1")
    live.until(lambda: live.engine.attempts == [("a.yaml", "1")], seconds=3 * SWEEP)
    assert len(live.notes) == 1
    assert "within seconds" in live.notes[0]
