"""Clocks that jump: the wall clock by more than a year, there and back, and the boot clock over a suspension.

The machine's own clocks stay. A small library in front of libc's shifts what a process is told, by what a file says at
that moment, so a clock can jump while a guard or `watch` runs. The boot clock also jumps for real, in a time namespace.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from lab.stage import ROOT, Done, Stage, wait_until
from reloader.store import records
from tests.kernel.test_state_transfer import KILLER
from tests.support.trials import (
    DROP,
    PASS,
    Beside,
    generation_of,
    health,
    on_trial,
    outcomes,
    settled,
    trial_of,
    verdict,
)  # fmt: skip
from tools import build_bpf

pytestmark = pytest.mark.kernel

YEARS = 400 * 86_400  # seconds
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* "<wall> <boot>" in seconds, read anew each time. */
static void shifts(long *wall, long *boot)
{
	char text[64] = {}, *end = text;
	const char *path = getenv("CLOCK_SHIFT");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0) {
		*wall = strtol(text, &end, 10);
		*boot = strtol(end, NULL, 10);
	}
	if (fd >= 0)
		close(fd);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	long wall = 0, boot = 0, failed = syscall(SYS_clock_gettime, id, now);

	shifts(&wall, &boot);
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		now->tv_sec += wall;
	if (!failed && id == CLOCK_BOOTTIME)
		now->tv_sec += boot;
	return failed;
}

int gettimeofday(struct timeval *now, void *zone)
{
	struct timespec precise;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *out)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	if (out)
		*out = precise.tv_sec;
	return precise.tv_sec;
}
"""


@dataclass(frozen=True, slots=True)
class Clocks:
    """What processes are told of the time that run with `environment`."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(self.library), "CLOCK_SHIFT": str(self.file)}

    def jump(self, *, wall: int = 0, boot: int = 0) -> None:
        """By so many seconds from the machine's own, for all of them at once."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{wall} {boot}\n")
        fresh.rename(self.file)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clocks")
    (folder / "shim.c").write_text(SHIM)
    made = folder / "shim.so"
    command = [build_bpf.Toolchain.find().clang, "-O2", "-shared", "-fPIC", "-o", str(made), str(folder / "shim.c")]
    subprocess.run(command, check=True)
    return made


@pytest.fixture
def clocks(library: Path, tmp_path: Path) -> Clocks:
    made = Clocks(library, tmp_path / "shift")
    made.jump()
    return made


def command(stage: Stage, clocks: Clocks, *words: str | Path) -> Done:
    """A command that must succeed, by those clocks."""
    done = stage.spawn(*words, env=clocks.environment)
    assert done.code == 0, done.err
    return done


def test_the_shim_shifts_what_the_product_reads(clocks: Clocks) -> None:
    """A check of the tests themselves."""
    clocks.jump(wall=-YEARS, boot=5000)
    code = "import time, datetime; print(time.time(), time.clock_gettime(7), datetime.datetime.now().timestamp())"
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", code], env=clocks.environment, capture_output=True, text=True, check=True
    )
    wall, boot, date = map(float, done.stdout.split())
    assert abs(wall - time.time() + YEARS) < 60
    assert abs(date - wall) < 5
    assert abs(boot - time.clock_gettime(time.CLOCK_BOOTTIME) - 5000) < 60


def test_the_wall_clock_orders_nothing(stage: Stage, clocks: Clocks) -> None:
    """Generations, the way back and what is unchanged go by numbers and contents, whatever time it is."""
    for number, wall in enumerate((YEARS, -YEARS, 0, -2 * YEARS), 1):
        clocks.jump(wall=wall)
        stage.write(stage.spec(rodata={"sample_rate": 100 + number}))
        assert "unchanged" not in command(stage, clocks, "apply", stage.file).out
        command(stage, clocks, "apply", stage.file)
        assert generation_of(stage) == number, "the second apply found nothing to do"
    rows = stage.call("history", "edge")["generations"]
    numbers = [row["generation"] for row in rows]
    assert numbers in ([1, 2, 3, 4], [4, 3, 2, 1])
    created = [records.read_generation(stage.paths, "edge", n).created for n in (1, 2, 3, 4)]
    assert created != sorted(created), "the clock did jump"
    clocks.jump(wall=3 * YEARS)
    command(stage, clocks, "rollback", "edge")
    assert records.read_generation(stage.paths, "edge", 5).origin == 3
    stage.assert_counts()


def test_what_was_interrupted_is_recovered_at_another_time(stage: Stage, clocks: Clocks) -> None:
    stage.apply(stage.spec())
    path = stage.write(stage.spec("v2"))
    for at, wall in ((20, -YEARS), (45, YEARS)):
        clocks.jump(wall=wall)
        environment = {**clocks.environment, "KILL_AT": str(at)}
        assert stage.spawn("apply", path, "-q", code=KILLER, env=environment).code == -signal.SIGKILL
        clocks.jump(wall=-wall)
        command(stage, clocks, "recover")
        assert not records.open_journals(stage.paths, "edge")
        stage.assert_counts()
    clocks.jump()
    command(stage, clocks, "apply", path)
    stage.assert_counts()


@pytest.mark.parametrize("wall", [-YEARS, YEARS])
def test_a_trial_goes_by_the_boot_clock(stage: Stage, clocks: Clocks, wall: int) -> None:
    """The wall clock jumps while the guard waits: the deadline is neither missed nor reached early."""
    stage.apply(stage.spec(rodata=DROP))
    path = stage.write(stage.spec(rodata=PASS))
    command(stage, clocks, "apply", path, "--confirm-timeout", "2s")
    began = on_trial(stage)
    clocks.jump(wall=wall)
    time.sleep(0.5)
    assert trial_of(stage) == began
    settled(stage, 10)
    assert verdict(stage) == "XDP_DROP"
    assert outcomes(stage)[2].startswith("rolled back")
    command(stage, clocks, "apply", path, "--confirm-timeout", "60s")
    clocks.jump(wall=-wall)
    command(stage, clocks, "confirm", "edge")
    assert verdict(stage) == "XDP_PASS"


def test_a_suspension_counts_against_the_deadline(stage: Stage, clocks: Clocks) -> None:
    """The boot clock jumps by an hour while the guard waits: its time is up at once."""
    stage.apply(stage.spec(rodata=DROP))
    command(stage, clocks, "apply", stage.write(stage.spec(rodata=PASS)), "--confirm-timeout", "600s")
    on_trial(stage)
    clocks.jump(boot=3600)
    settled(stage, 10)
    assert verdict(stage) == "XDP_DROP"


def test_a_suspension_within_a_health_window_confirms_nothing_unseen(stage: Stage, clocks: Clocks) -> None:
    """Trap: suspended right behind a look. One more is due before the version is healthy, and this one is not."""
    stage.apply(stage.spec(rodata=DROP))
    wrong = {"map": "counters", "field": "packets", "below": 5}
    path = stage.write(stage.spec(rodata=PASS, health=health(wrong, window="600s", interval="500ms")))
    with Beside(stage, "apply", path, env=clocks.environment) as waiting:
        on_trial(stage)
        stage.send(20)
        clocks.jump(boot=3600)
        assert waiting.done().code == 3
    assert verdict(stage) == "XDP_DROP"


def test_in_a_time_namespace_the_boot_clock_is_another(stage: Stage) -> None:
    """A real jump, which the guard outside does not see: who looks by the later clock takes the version back."""
    stage.apply(stage.spec(rodata=DROP))
    path = stage.write(stage.spec(rodata=PASS))
    later = ("unshare", "--time", "--boottime", "86400", "--")
    assert stage.spawn("apply", path, "--confirm-timeout", "600s").code == 0
    on_trial(stage)
    done = stage.spawn("recover", prefix=later)
    assert done.code == 0, done.err
    assert verdict(stage) == "XDP_DROP"
    assert trial_of(stage) is None
    assert stage.spawn("apply", path, "--confirm-timeout", "1s", prefix=later).code == 0
    settled(stage, 10)
    assert verdict(stage) == "XDP_DROP"


def test_a_file_from_the_future_is_compiled_once(stage: Stage) -> None:
    """Trap: the clock was set back, and no file's time lay before now: nothing was ever cached."""
    path = stage.write(stage.spec())
    tomorrow = time.time() + 86_400
    code = (
        "import os, sys, time\n"
        "from reloader import cli\n"
        "real = time.time_ns\n"
        "time.time_ns = lambda: real() - 400 * 86_400 * 10**9\n"
        "code = cli.main(sys.argv[1:])\n"
        "sys.exit(code or 100 * ('yaml' in sys.modules))\n"
    )
    os.utime(path, (tomorrow, tomorrow))
    assert stage.spawn("apply", path, "-q", code=code).code == 100
    assert stage.spawn("apply", path, "-q", code=code).code == 0, "the second one reads no YAML"


def test_gc_takes_a_fragment_from_the_future(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.paths.cache_dir.mkdir(exist_ok=True)
    for name, age in ((".young.tmp", 0), (".old.tmp", 86_400), (".future.tmp", -86_400)):
        fragment = stage.paths.cache_dir / name
        fragment.write_bytes(b"")
        os.utime(fragment, (time.time() - age, time.time() - age))
    stage.call("gc")
    left = {p.name for p in stage.paths.cache_dir.glob(".*.tmp")}
    assert left == {".young.tmp"}


def _is_at(stage: Stage, generation: int) -> bool:
    return generation_of(stage) == generation


def test_watch_goes_on_while_the_clock_jumps(stage: Stage, clocks: Clocks) -> None:
    stage.write(stage.spec(rodata={"sample_rate": 100}))
    with Beside(stage, "watch", stage.folder, "--debounce", "0.05", env=clocks.environment) as watching:
        wait_until(lambda: generation_of(stage) == 1, 20)
        for number, wall in enumerate((-YEARS, YEARS, 0), 2):
            clocks.jump(wall=wall)
            stage.write(stage.spec(rodata={"sample_rate": 100 + number}))
            wait_until(partial(_is_at, stage, number), 20)
            assert generation_of(stage) == number
        time.sleep(0.5)
        assert generation_of(stage) == 4, "nothing is applied twice"
        watching.kill(signal.SIGTERM)
        assert watching.done().code == 0
    stage.assert_counts()
