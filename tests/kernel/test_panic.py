"""`reloader panic`: everything passes, or nothing does, at once; and the way back loses no count."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from lab.stage import ROOT, Stage, wait_until
from reloader.disk.lock import writer_lock
from tests.support.processes import running
from tests.support.trials import (
    DROP,
    PASS,
    Beside,
    assert_no_guard,
    expire,
    guards,
    health,
    on_trial,
    outcomes,
    settled,
    tcp,
    trial_of,
)

pytestmark = pytest.mark.kernel

PACKETS = 50


def verdict(stage: Stage) -> str:
    """What packets meet now: "drop" by an XDP program, or "pass"."""
    before = stage.sandbox.rx.xdp_drops()
    stage.send(PACKETS)
    wait_until(lambda: stage.sandbox.rx.xdp_drops() >= before + PACKETS, seconds=0.5)
    dropped = stage.sandbox.rx.xdp_drops() - before
    assert dropped in (0, PACKETS)
    return "drop" if dropped else "pass"


def attachment(stage: Stage) -> Any:
    return stage.call("status", "edge")["pipelines"][0]["attachments"][0]


@pytest.mark.parametrize(("declared", "normal", "then"), [("open", "XDP_DROP", "pass"), ("closed", "XDP_PASS", "drop")])
def test_as_declared_and_back(stage: Stage, declared: str, normal: str, then: str) -> None:
    spec = stage.spec("v1", panic=declared, rodata={"default_verdict": normal})
    stage.apply(spec)
    stage.assert_counts()
    counted, serving = stage.counted(), stage.attached()
    assert verdict(stage) != then
    done = stage.call("panic", "edge")
    assert done["stance"] == declared
    assert verdict(stage) == then
    assert stage.counted() == counted + PACKETS, "only what came before the panic is counted"
    assert attachment(stage)["seen"].startswith(f"panic {declared}")
    assert attachment(stage)["reason"] == "panic"
    again = stage.call("panic", "edge")
    assert again == done
    plan = stage.call("plan", stage.file)
    assert "ends the panic" in json.dumps(plan)
    stage.call("apply", stage.file)
    assert stage.attached() == serving, "the very same program: nothing was loaded again"
    assert not [p for p in stage.sandbox.pins() if "/panic/" in p]
    stage.assert_counts()


def test_what_the_command_says_goes_before_the_yaml(stage: Stage) -> None:
    stage.apply(stage.spec("v1", panic="open"))
    assert stage.call("panic", "edge", "--closed")["stance"] == "closed"
    assert verdict(stage) == "drop"
    stage.call("panic", "edge", "--open")
    assert verdict(stage) == "pass"
    stage.call("remove", "edge", "--state")
    assert not stage.sandbox.pins()


def test_a_new_version_ends_it_too(stage: Stage) -> None:
    stage.apply(stage.spec("v1", panic="open"))
    stage.call("panic", "edge")
    stage.apply(stage.spec("v2", panic="open"))
    stage.assert_counts()
    stage.call("panic", "edge")
    stage.call("rollback", "edge")
    stage.assert_counts()
    assert not [p for p in stage.sandbox.pins() if "/panic/" in p]


def test_undeclared_is_refused_with_the_way_on(stage: Stage) -> None:
    stage.apply(stage.spec("v1"))
    refused = stage.run("panic", "edge")
    assert refused.code == 65
    assert "--open" in refused.err
    assert stage.run("panic", "nobody").code == 65


def test_it_waits_for_no_lock(stage: Stage) -> None:
    """Somebody holds the writer lock, and hangs."""
    stage.apply(stage.spec("v1", panic="open"))
    with writer_lock(stage.paths):
        assert stage.run("apply", stage.write(stage.spec("v2"))).code == 75
        stage.call("panic", "edge")
    assert verdict(stage) == "pass"


def test_an_apply_under_way_goes_back(stage: Stage) -> None:
    """The panic comes between the plan and the swap; the compare-and-swap finds what it did not expect."""
    stage.apply(stage.spec("v1", panic="open"))
    stage.write(stage.spec("v2", panic="open"))
    code = (
        "import sys\n"
        "from reloader import cli, fault_points as effects\n"
        "from reloader.bpf.live import LiveKernel\n"
        "from reloader.kernel.host import Host\n"
        "from reloader.paths import Paths\n"
        "from reloader.break_glass.panic import panic\n"
        "paths = Paths(bpffs=sys.argv[sys.argv.index('--bpffs') + 1])\n"
        "import pathlib\n"
        "paths = Paths(bpffs=paths.bpffs, records=pathlib.Path(sys.argv[sys.argv.index('--records') + 1]))\n"
        "came = []\n"
        "def gate(when, name):\n"
        "    if (when, name) == ('before', 'link.update') and not came:\n"
        "        came.append(name)\n"
        "        panic(Host(kernel=LiveKernel(), paths=paths), 'edge', None)\n"
        "effects.install(gate)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    done = stage.spawn("apply", stage.file, code=code)
    assert done.code in (1, 3), done.err
    assert verdict(stage) == "pass"
    assert attachment(stage)["seen"].startswith("panic open")
    stage.call("apply", stage.file)
    stage.assert_counts()


def test_killed_halfway_it_goes_on(stage: Stage) -> None:
    stage.apply(stage.spec("v1", panic="open"))
    words = ["panic", "edge", *stage.where]
    points = stage.folder / "points"
    command = [sys.executable, "-m", "lab.crash.gated"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for when, effect in (("before", "link.update"), ("after", "link.update")):
        strike = [*command, "kill", when, f"1 {effect}", "--", *words]
        done = subprocess.run(strike, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        stage.call("recover")
        assert stage.attached()
        stage.call("panic", "edge")
        assert verdict(stage) == "pass"
        stage.call("apply", stage.file)
        stage.assert_counts()
    assert not points.exists()


def test_a_guard_leaves_it(stage: Stage) -> None:
    """The window is open when the panic comes, and the check fails: nobody takes the version back over it."""
    failing = health(tcp(stage), window="8s", failures=20)  # nobody listens there
    stage.apply(stage.spec("v1", panic="open", rodata=PASS))
    with Beside(stage, "apply", stage.write(stage.spec("v1", panic="open", rodata=DROP, health=failing))) as applying:
        on_trial(stage)
        stage.call("panic", "edge")
        settled(stage)
        applying.process.wait(20)
    assert attachment(stage)["seen"].startswith("panic open")
    assert "panic" in outcomes(stage)[2]
    stage.call("apply", stage.file)
    assert_no_guard(stage)


def test_a_trial_that_is_over_leaves_it(stage: Stage) -> None:
    """Its guard is dead, its time is up: the next command takes the version back, but for a panic."""
    stage.apply(stage.spec("v1", panic="open", rodata=PASS))
    stage.apply(stage.spec("v1", panic="open", rodata=DROP), "--confirm-timeout", "60s")
    for pid in guards(stage):
        os.kill(pid, signal.SIGKILL)
    stage.call("panic", "edge")
    expire(stage)
    stage.call("recover")
    assert attachment(stage)["seen"].startswith("panic open")
    assert trial_of(stage) is None


def test_watch_leaves_it_until_an_edit(stage: Stage) -> None:
    folder = stage.folder / "etc"
    folder.mkdir()
    text = stage.write(stage.spec("v1", panic="open")).read_text().replace("- v1", f"- {stage.folder}/v1")
    watched = folder / "edge.yaml"
    watched.write_text(text)
    stage.call("apply", watched)
    stage.call("panic", "edge")
    said = stage.folder / "said"
    command = [sys.executable, "-m", "reloader", "watch", str(folder), *stage.where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with running(command, said, environment):
        wait_until(lambda: "is not applied until it changes" in said.read_text(), seconds=10)
        assert attachment(stage)["seen"].startswith("panic open"), said.read_text()
        watched.write_text(text.replace("XDP_DROP", "XDP_PASS"))
        wait_until(lambda: attachment(stage)["reason"] == "as-recorded", seconds=10)
    assert attachment(stage)["reason"] == "as-recorded", said.read_text()


def damage(stage: Stage, what: str) -> None:
    """What is left of the records when panic is called for."""
    path = stage.records / "pipelines/edge" / ("generations/1.json" if what == "generation damaged" else "current.json")
    path.unlink() if what == "lost" else path.write_text(path.read_text()[:90] + "x" + path.read_text()[91:])


@pytest.mark.parametrize("what", ["lost", "damaged", "generation damaged"])
def test_regress_panic_needs_no_sound_records(stage: Stage, what: str) -> None:
    """The pins say what serves; only how it is to panic has to be said."""
    stage.apply(stage.spec("v1", panic="open"))
    damage(stage, what)
    refused = stage.run("panic", "edge", json_too=False)
    assert refused.code == 65
    assert "--open" in refused.err
    for stance, then in (("--closed", "drop"), ("--open", "pass"), ("--closed", "drop")):
        stage.call("panic", "edge", stance)
        assert verdict(stage) == then


@pytest.mark.parametrize("record", ["current.json", "generations/1.json"])
def test_v11_panic_needs_no_readable_records(stage: Stage, record: str) -> None:
    """Trap: a disk that gives EIO stopped it."""
    stage.apply(stage.spec("v1"))
    path = stage.records / "pipelines/edge" / record
    inject = ("strace", "-f", "-o", "/dev/null", "-P", str(path), "-e", "inject=openat:error=EIO")
    done = stage.spawn("panic", "edge", "--open", prefix=inject)
    assert done.code == 0, done.err
    assert verdict(stage) == "pass"


def test_regress_panic_after_a_first_apply_was_killed(stage: Stage) -> None:
    """Its link is pinned and serves, its record was not written yet."""
    stage.write(stage.spec("v1", panic="open"))
    link = f"pin {stage.paths.link_pin('edge', f'xdp:{stage.sandbox.rx.interface}@{stage.sandbox.rx.name}')}"
    command = [sys.executable, "-m", "lab.crash.gated", "kill", "after", f"1 {link}", "--"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["apply", str(stage.file), *stage.where]
    done = subprocess.run([*command, *words], cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert verdict(stage) == "drop"
    stage.call("panic", "edge", "--open")
    assert verdict(stage) == "pass"
    stage.run("recover")


def test_regress_doctor_knows_a_panic(stage: Stage) -> None:
    """Not somebody else's program, which --take-over would be for."""
    stage.apply(stage.spec("v1", panic="closed"))
    stage.call("panic", "edge")
    said = stage.run("doctor", json_too=False)
    assert "panic closed: every packet is dropped" in said.out + said.err
    assert "take-over" not in said.out + said.err


def test_regress_the_way_by_hand_works(stage: Stage) -> None:
    """A link does not yield to `ip link set xdp off`; what the hint says must."""
    stage.apply(stage.spec("v1", panic="open"))
    pin = stage.paths.link_pin("edge", f"xdp:{stage.sandbox.rx.interface}@{stage.sandbox.rx.name}")
    subprocess.run(["bpftool", "link", "detach", "pinned", pin], check=True, timeout=20)
    assert stage.attached() == 0
    failed = stage.run("panic", "edge", json_too=False)
    assert failed.code == 4
    assert f"bpftool link detach pinned {pin}" in failed.err
