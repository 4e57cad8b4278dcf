"""health.*: from the moment a check fails to the old version on the hook again. May import lab and reloader.

The check is a command of the host's that notes when it was asked and says no: the clock starts there. What ends is
seen from outside, by asking the interface which program runs. Beside it: `reloader rollback` as a command, which is
what a script that watches for itself would call, from its start to the same moment.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from bench.rows import Row, in_turn, median, note
from bench.stage import Stage, stage
from lab.sandbox import LabError
from lab.traffic import ROOT
from reloader.bpf.live import LiveKernel

RUNS = 7
PATIENCE = 30.0  # seconds for what takes a fraction of one
HOST = """\
apiVersion: reloader/v1
kind: Host
commands:
  refuse: [/bin/sh, -c, 'date +%s%N >> {asked}; exit 1']
"""
TRIAL = """\
  health:
    window: 5s
    checks: [{command: refuse}]
"""


class Work:
    """A pipeline whose second version is sent home again and again."""

    def __init__(self, opened: Stage) -> None:
        self.stage, self.kernel = opened, LiveKernel()
        self.asked, host = opened.folder / "asked", opened.folder / "host.yaml"
        host.write_text(HOST.format(asked=self.asked))
        host.chmod(0o600)
        opened.environment["RELOADER_HOST"] = str(host)
        opened.run(opened.reloader("apply", opened.write(small=True)))

    def by_guard(self) -> float:
        """Seconds from the first look that fails."""
        self.asked.unlink(missing_ok=True)
        first = self._serving()
        with self._started("apply", self._second(TRIAL)) as process:
            bad = self._other_than(first)
            back = self._moment_without(bad)
        if process.returncode != 3:
            raise LabError(f"a failing check ended with exit {process.returncode}")
        return back - int(self.asked.read_text().split()[0]) / 1e9

    def by_command(self) -> float:
        """Seconds from the start of the command."""
        self.stage.run(self.stage.reloader("apply", self._second("")))
        bad, began = self._serving(), time.time()
        with self._started("rollback", "edge"):
            return self._moment_without(bad) - began

    def _second(self, more: str) -> Path:
        path = self.stage.write(version="v2", small=True)
        path.write_text(path.read_text() + more)
        return path

    def _started(self, *words: str | Path) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        command = self.stage.reloader(*words)
        return subprocess.Popen(command, cwd=ROOT, env=self.stage.environment, stdout=quiet, stderr=quiet)

    def _serving(self) -> int:
        found = self.kernel.net.interface(self.stage.sandbox.rx.interface, None)
        return found.xdp_prog_id if found else 0

    def _other_than(self, known: int) -> int:
        """The program that serves once it is not that one any more."""
        deadline = time.monotonic() + PATIENCE
        while (found := self._serving()) == known:
            if time.monotonic() > deadline:
                raise LabError("nothing was swapped")
            time.sleep(0.0005)
        return found

    def _moment_without(self, bad: int) -> float:
        self._other_than(bad)
        return time.time()


def rows() -> list[Row]:
    with stage() as opened:
        work = Work(opened)
        note(f"health: a version taken back {RUNS} times by its guard, and by a command")
        guard, command = in_turn(RUNS, work.by_guard, work.by_command)
    return [
        Row(
            name="health.rollback_time", value=median(guard) * 1000, unit="ms", n=RUNS,
            baseline="`reloader rollback`, from its start", baseline_value=median(command) * 1000,
        )
    ]  # fmt: skip
