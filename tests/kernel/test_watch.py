"""`reloader watch` as a user runs it: a process of its own, files saved beside it, the kernel asked afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from reloader.bpf.live import LiveKernel
from reloader.disk.lock import writer_lock
from reloader.paths import Paths

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parent.parent.parent
YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  objects: [{object}]
  rodata: {{default_verdict: XDP_PASS, sample_rate: {rate}}}
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}}}
  maps:
    flows: {{role: {state}}}
    counters: {{role: state}}
    events: {{role: stream}}
    blocklist: {{role: config, entries: [{{key: {blocked}, value: {{action: XDP_DROP}}}}]}}
"""


class Watch:
    """A watched directory in a sandbox, and the process that watches it."""

    def __init__(self, sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> None:
        self.sandbox, self.objects, self.folder = sandbox, objects, tmp_path / "etc"
        self.folder.mkdir()
        self.objects_dir = tmp_path / "objects"
        self.objects_dir.mkdir()
        self.install("programs/flow_count/flow_count")
        self.file = self.folder / "edge.yaml"
        self.kernel = LiveKernel()
        self.lines: list[str] = []
        self.heard = 0
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()

    @property
    def where(self) -> list[str]:
        return ["--bpffs", self.sandbox.bpffs, "--records", str(self.sandbox.records)]

    def install(self, stem: str) -> None:
        shutil.copyfile(self.objects(stem), self.objects_dir / "x.bpf.o")

    def text(self, blocked: str = "10.0.0.1", *, interface: str = "", name: str = "edge", rate: int = 0) -> str:
        rx = self.sandbox.rx
        return YAML.format(
            name=name, object=self.objects_dir / "x.bpf.o", interface=interface or rx.interface, netns=rx.netns,
            blocked=blocked, rate=rate, state="state",
        )  # fmt: skip

    def start(self, code: str = "") -> None:
        """`code`: Python to run in place of the plain command line."""
        start = ["-c", code] if code else ["-m", "reloader"]
        command = [str(ROOT / ".venv" / "bin" / "python"), *start, "watch", str(self.folder), *self.where]
        self.lines, self.heard = [], 0
        self._process = subprocess.Popen(
            [*command, "--debounce", "0.05"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()
        self.hears(f"watching {self.folder}")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))

    def hears(self, words: str, *, seconds: float = 10) -> str:
        """The next line that holds `words`."""
        for _ in range(int(seconds / 0.01)):
            for line in self.lines[self.heard :]:
                self.heard += 1
                if words in line:
                    return line
            time.sleep(0.01)
        raise AssertionError(f"{words!r} not said within {seconds} s: {self.lines}")

    def stays_quiet(self, seconds: float = 0.5) -> None:
        time.sleep(seconds)
        assert self.lines[self.heard :] == []

    def send(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Ask it to end; the seconds it took."""
        assert self._process
        began = time.monotonic()
        self._process.send_signal(number)
        assert self._process.wait(10) == 0, self.lines
        took = time.monotonic() - began
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()
        self._process = None
        return took

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdout
            self._process.stdout.close()

    def call(self, *words: str) -> Any:
        command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "reloader", *words, *self.where, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def status(self, name: str = "edge") -> Any:
        return next(p for p in self.call("status")["pipelines"] if p["pipeline"] == name)

    def attached(self) -> int:
        interface = self.kernel.net.interface(self.sandbox.rx.interface, self.sandbox.rx.netns)
        assert interface is not None
        return interface.xdp_prog_id

    def blocked(self) -> list[str]:
        with self.kernel.pins.get(f"{self.sandbox.bpffs}/edge/pub/blocklist") as fd:
            return sorted(".".join(map(str, key)) for key in self.kernel.maps.items(fd))


@pytest.fixture
def watch(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Watch]:
    one = Watch(sandbox, objects, tmp_path)
    yield one
    one.close()


def test_a_working_day(watch: Watch) -> None:
    watch.file.write_text(watch.text("10.0.0.1"))
    watch.start()
    assert watch.lines[0].startswith("edge: generation 1 is live (")
    first = watch.attached()
    assert first

    watch.file.write_text(watch.text("10.0.0.2"))  # an entry: the program stays
    watch.hears("edge: generation 2 is live")
    assert (watch.attached(), watch.blocked()) == (first, ["10.0.0.2"])

    os.utime(watch.file)
    os.utime(watch.objects_dir / "x.bpf.o")
    watch.stays_quiet()

    watch.install("lab/bpf/flow_count_broken")  # the object alone changes
    assert "verifier" in watch.hears("edge.yaml: ")
    assert watch.attached() == first
    assert "verifier" in watch.status()["problems"][0]
    watch.install("programs/flow_count/flow_count")
    watch.hears("edge.yaml: correct now")
    assert (watch.attached(), watch.status()["problems"]) == (first, [])

    watch.file.write_text(watch.text("10.0.0.300"))
    assert watch.hears("edge.yaml:").startswith("edge.yaml:13:")
    assert (watch.attached(), watch.blocked()) == (first, ["10.0.0.2"])
    assert "edge.yaml:13:" in watch.status()["problems"][0]
    watch.stays_quiet()
    watch.file.write_text(watch.text("10.0.0.3", rate=5))
    watch.hears("edge: generation 3 is live")
    watch.hears("edge.yaml: correct now")
    assert watch.attached() != first
    assert watch.status()["problems"] == []

    watch.file.unlink()
    watch.hears("edge: orphaned; generation 3 keeps running")
    watch.hears("edge.yaml: missing")
    assert watch.status()["state"] == "orphaned"
    watch.stays_quiet()
    watch.file.write_text(watch.text("10.0.0.3", rate=5))
    watch.hears("edge: not orphaned any more; generation 3 is live")
    assert watch.status()["state"] == "serving"

    serving, pins = watch.attached(), watch.sandbox.pins()
    assert watch.stop() < 1
    assert (watch.attached(), watch.sandbox.pins()) == (serving, pins)


def test_a_rollback_by_hand_is_left_alone_until_the_text_changes(watch: Watch) -> None:
    watch.file.write_text(watch.text("10.0.0.1"))
    watch.start()
    watch.file.write_text(watch.text("10.0.0.2"))
    watch.hears("edge: generation 2 is live")
    watch.call("rollback", "edge")
    assert watch.blocked() == ["10.0.0.1"]
    os.utime(watch.file)
    watch.stays_quiet(2.5)
    watch.stop(signal.SIGINT)

    watch.start()  # another process remembers it too
    assert watch.lines[0].startswith("edge: generation 3 is live, applied by hand")
    assert watch.blocked() == ["10.0.0.1"]
    watch.file.write_text(watch.text("10.0.0.4"))
    watch.hears("edge: generation 4 is live")
    assert watch.blocked() == ["10.0.0.4"]


def test_an_interface_that_comes_back_is_served_again(watch: Watch) -> None:
    rx = watch.sandbox.rx

    def ip(end: str, *words: str) -> None:
        subprocess.run(["ip", "-n", end, *words], check=True)

    ip(rx.name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
    watch.file.write_text(watch.text(interface="eph0"))
    watch.start()
    assert watch.lines[0].startswith("edge: generation 1 is live (")
    ip(rx.name, "link", "del", "eph0")
    assert "eph0" in watch.hears("edge.yaml: ")
    watch.hears("    hint: ")
    assert watch.status()["state"] == "drift"
    watch.stays_quiet(2.5)
    ip(rx.name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
    watch.hears("edge: generation 2 is live")
    watch.hears("edge.yaml: correct now")
    interface = watch.kernel.net.interface("eph0", rx.netns)
    assert interface
    assert interface.xdp_prog_id
    assert watch.status()["state"] == "serving"
    watch.stop()


def test_another_writer_is_waited_for(watch: Watch) -> None:
    watch.start()
    with writer_lock(Paths(bpffs=watch.sandbox.bpffs, records=watch.sandbox.records)):
        watch.file.write_text(watch.text())
        watch.hears("edge.yaml: waiting: another reloader")
    watch.hears("edge: generation 1 is live")
    watch.stop()


def test_a_renamed_file_keeps_its_pipeline_and_a_second_one_is_refused(watch: Watch) -> None:
    watch.file.write_text(watch.text())
    watch.start()
    watch.file.rename(watch.folder / "core.yaml")
    watch.hears("edge.yaml: missing")
    assert watch.status()["state"] == "serving"
    (watch.folder / "twice.yaml").write_text(watch.text("10.0.0.9"))
    watch.hears("twice.yaml: metadata.name: pipeline 'edge' is already defined in")
    assert watch.blocked() == ["10.0.0.1"]
    (watch.folder / "core.yaml").unlink()
    watch.hears("edge: generation 2 is live")
    assert watch.blocked() == ["10.0.0.9"]
    watch.stop()


def test_what_vanished_while_nobody_watched_is_an_orphan(watch: Watch) -> None:
    watch.file.write_text(watch.text())
    watch.start()
    watch.stop()
    watch.file.unlink()
    watch.start()
    assert watch.lines[0].startswith("edge: orphaned; generation 1 keeps running")
    assert watch.status()["state"] == "orphaned"
    watch.stop()
    watch.start()
    assert watch.lines == [f"watching {watch.folder}"]
    watch.stop()


def test_a_directory_that_is_none(watch: Watch) -> None:
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "reloader", "watch", f"{watch.folder}/none", *watch.where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 65
    assert "the directory does not exist" in done.stderr
