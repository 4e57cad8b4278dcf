"""Boot stock kernels in emulation and run the tests marked `vm` there: `python -m tools.vm [--kernel 6.12]`.

One boot a kernel for all tests. At the end of it a reload is held open and the machine loses its power
(tests/vm/power_cut.py); a second, short boot looks what became of it. A kernel passes when each test of
tests/vm/expected.yaml ran and passed, no other one ran, and it lacks the features named there and no others.
Writes build/vm/<series>/. The machine sees this root filesystem read-only, but for that folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tools import vm_kernels, vm_verdict
from tools.vm_kernels import ROOT, Unpacked, VmError

LIMIT = 450  # seconds for the tests of a boot: in a CI of ten minutes there must be room for the second one
SHORT_LIMIT = 120
EACH = 5  # seconds more for each conversion beyond the usual
LOOK = 0.2  # seconds between two looks at the held reload
# One thread emulates all CPUs: with one each, code that the kernel rewrites (static calls, the XDP dispatcher) is
# now and then run half written by another, which ends in `Oops: int3`.
EMULATION = ("--disable-kvm", "--qemu-opts=-accel tcg,thread=single")
HOST_FILES = "--qemu-opts=-virtfs local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap"
CONVERSIONS = 4  # in a row, in the one test that takes a number
SIZE = ("--cpus", "2", "--memory", "2G")


@dataclass(slots=True, kw_only=True)
class Boot:
    """One machine: what it runs, and where its words go."""

    kernel: Unpacked
    out: Path  # the only folder it can write to
    phase: str  # of tests/vm/guest.py
    conversions: int
    seconds: float = 0.0
    late: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def run(self, limit: float, cut: Callable[[], bool] = lambda: False) -> None:
        """Until it ends by itself, `cut` says to pull the plug, or time is up."""
        started = time.monotonic()
        with (self.out / f"console-{self.phase}.log").open("wb") as console:
            bounded = ["timeout", "--signal=KILL", str(2 * limit), *self._command()]  # should we be killed ourselves
            self._process = subprocess.Popen(
                bounded, cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL, stdout=console,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                while self._process.poll() is None and not cut():
                    self.late = time.monotonic() > started + limit
                    if self.late:
                        break
                    time.sleep(LOOK)
            finally:
                self._pull_the_plug()
        self.seconds = time.monotonic() - started

    def _command(self) -> list[str]:
        inside = ["tests/vm/inside.sh", str(self.out), sys.executable, "-m", "tests.vm.guest"]
        words = shlex.join([*inside, self.phase, str(self.out), self.kernel.series, str(self.conversions)])
        return [
            str(Path(sys.executable).with_name("vng")), "--run", str(self.kernel.image), *EMULATION, HOST_FILES, *SIZE,
            "--user", "root", "--append", "panic=-1", "--rwdir", str(self.out), "--cwd", str(ROOT), "--verbose",
            "--exec", f"cd {shlex.quote(str(ROOT))} && {words}",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """virtme-ng finds its own parts on the path, and keeps its settings out of anybody's home."""
        home = self.out.parent / "home"
        home.mkdir(exist_ok=True)
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, "HOME": str(home)}

    def _pull_the_plug(self) -> None:
        """The emulator and all it started, at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def test(series: str, conversions: int) -> vm_verdict.Verdict:
    """Both boots of a kernel, and what they showed."""
    kernel = vm_kernels.kernel(series)
    out = ROOT / "build" / "vm" / series
    _empty(out)
    first, second = (Boot(kernel=kernel, out=out, phase=p, conversions=conversions) for p in ("tests", "after"))
    print(f"booting Linux {kernel.release} in emulation …", file=sys.stderr, flush=True)
    held = out / "held"
    first.run(LIMIT + EACH * max(0, conversions - CONVERSIONS), held.exists)
    if held.exists():
        print(f"… power cut after {first.seconds:.0f} s; booting again", file=sys.stderr, flush=True)
        second.run(SHORT_LIMIT)
    late = [f"the boot for `{b.phase}` was ended after {b.seconds:.0f} s" for b in (first, second) if b.late]
    return vm_verdict.judge(series, out, late)


def _empty(folder: Path) -> None:
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir(parents=True)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make test-vm", description="Run the tests marked vm on stock kernels.")
    parser.add_argument("--kernel", choices=vm_kernels.SERIES, help="only this one")
    parser.add_argument("--conversions", type=int, default=CONVERSIONS, help="how many in a row (default %(default)s)")
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the machine ends with us
    verdicts = []
    for series in [args.kernel] if args.kernel else vm_kernels.SERIES:
        try:
            verdicts.append(test(series, args.conversions))
        except VmError as error:
            print(f"error: Linux {series}: {error}", file=sys.stderr)
            verdicts.append(vm_verdict.absent(series, str(error)))
        print(vm_verdict.table(verdicts[-1]), flush=True)
    counts = [sum(column) for column in zip(*((v.passed, v.failed) for v in verdicts), strict=True)]
    (ROOT / "build" / "vm" / "counts.json").write_text(json.dumps({"passed": counts[0], "failed": counts[1]}) + "\n")
    print(f"{counts[0]} passed, {counts[1]} failed")
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
