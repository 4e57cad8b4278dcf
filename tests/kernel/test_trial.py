"""An unproven version always has an owner of its deadline: whoever is killed, whatever terminal is lost.

The commands run in processes of their own and are killed for real; so are their guards.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from lab.stage import ROOT, VERSIONS, Stage, hear_signals, on_stage, wait_until
from reloader.errors import Interrupted
from reloader.store import records
from reloader.store.records import Trial
from reloader.store.trial_terms import born, guarded
from tests.kernel.test_watch import Watch
from tests.support.trials import (
    DROP,
    PASS,
    Beside,
    assert_no_guard,
    expire,
    generation_of,
    guards,
    health,
    on_trial,
    outcomes,
    server,
    settled,
    tcp,
    trial_of,
    verdict,
)

pytestmark = pytest.mark.kernel

LONG = {"window": "60s", "interval": "100ms"}  # longer than any test: what ends it is what the test does
HOLDS = {"map": "counters", "field": "packets", "above": -1}


def served(stage: Stage, **changes: Any) -> None:
    """Generation 1 serves, and needs no confirmation."""
    stage.apply(stage.spec(rodata=PASS, **changes))


def wished(stage: Stage, *checks: dict[str, Any], rodata: Any = DROP, **more: Any) -> Path:
    """The YAML of generation 2."""
    return stage.write(stage.spec(rodata=rodata, health=health(*(checks or (HOLDS,)), **{**LONG, **more})))


def assert_back(stage: Stage, reason: str) -> None:
    """THE check: generation 1 serves again, as 3, and history says why."""
    settled(stage)
    assert verdict(stage) == "XDP_PASS"
    assert generation_of(stage) == 3
    assert reason in outcomes(stage)[2]
    stage.assert_counts()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: born(pid) == 0)


# what others see, and may do


def test_a_window_is_seen_and_others_go_on(stage: Stage) -> None:
    """The pipeline refuses changes, its state is unconfirmed, and another pipeline is changed meanwhile."""
    served(stage)
    with Beside(stage, "apply", wished(stage)) as apply:
        trial = on_trial(stage)
        (status,) = stage.call("status", stage.name)["pipelines"]
        assert status["state"] == "unconfirmed"
        assert status["trial"]["guard"] == trial.guard == guards(stage)[0]
        assert 0 < status["trial"]["seconds_left"] <= 60
        assert (status["trial"]["back_to"], status["trial"]["waits_for"]) == (1, "health")
        assert any(f"guarded by process {trial.guard}" in note for note in status["notes"])
        refused = stage.run("apply", stage.write(stage.spec("v2", rodata=PASS)))
        assert refused.code == 75
        assert refused.error["reason"] == "unconfirmed"
        assert "reloader confirm edge" in refused.error["hint"]
        same = stage.run("apply", wished(stage))
        assert same.code == 75, "what may go back is not in force"
        other(stage)
        assert "unconfirmed and guarded: edge" in stage.run("doctor").out
        assert "the running version is unconfirmed" in stage.run("plan", stage.file).err
        assert stage.call("confirm", stage.name)["generation"] == 2
        done = apply.done()
    assert done.code == 0, done.err
    assert "confirmed" in done.out
    assert verdict(stage) == "XDP_DROP"
    assert outcomes(stage)[2] == "confirmed"
    nothing = stage.run("confirm", stage.name)
    assert nothing.code == 65
    assert nothing.error["reason"] == "nothing-to-confirm"


def other(stage: Stage) -> None:
    """A second pipeline, on the other end of the wire."""
    tx = stage.sandbox.tx
    attach = {"program": "count_flows", "type": "xdp", "interface": tx.interface, "netns": tx.netns}
    spec = stage.spec(rodata=PASS, attach=[attach])
    path = stage.folder / "other.yaml"
    path.write_text(json.dumps(stage.document(spec, "other")))
    assert stage.call("apply", path)["pipelines"][0]["generation"] == 1


def test_rollback_and_remove_end_a_trial(stage: Stage) -> None:
    served(stage)
    with Beside(stage, "apply", wished(stage)) as apply:
        on_trial(stage)
        assert stage.call("rollback", stage.name)["pipelines"][0]["generation"] == 3
        done = apply.done()
    assert done.code == 3
    assert "another command rolled back generation" in done.err
    assert_back(stage, "rolled back by hand")
    with Beside(stage, "apply", wished(stage)) as apply:
        on_trial(stage)
        stage.call("remove", stage.name)
        assert apply.done().code == 3
    assert stage.attached() == 0


def test_several_documents_one_after_the_other(stage: Stage) -> None:
    """The window of the first is over before the second begins; what is committed before a failure is said."""
    tx = stage.sandbox.tx
    attach = {"program": "count_flows", "type": "xdp", "interface": tx.interface, "netns": tx.netns}
    spec = stage.spec(rodata=PASS, health=health(HOLDS, window="200ms"))
    bad = {**spec, "attach": [attach], "health": health(tcp(stage), window="200ms")}
    done = stage.run("apply", stage.write(spec, stage.document(bad, "other")))
    assert done.code == 3
    assert "already applied and kept: edge (generation 1)" in done.err
    assert outcomes(stage)[1] == "healthy for 0.2 s"
    assert generation_of(stage, "other") == 0


# a person's word


def test_confirm_timeout_goes_back_unless_confirmed(stage: Stage) -> None:
    served(stage)
    path = stage.write(stage.spec(rodata=DROP))
    (result,) = stage.call("apply", path, "--confirm-timeout", "2s")["pipelines"]
    assert 0 < result["unconfirmed"] <= 2
    assert verdict(stage) == "XDP_DROP"
    assert_back(stage, "not confirmed in time")
    stage.call("apply", path, "--confirm-timeout", "60s")
    trial = on_trial(stage)
    stage.call("confirm", stage.name)
    wait_until(lambda: not guarded(trial), 5)
    assert not guarded(trial), "its guard goes when it has nothing to guard"
    assert (verdict(stage), outcomes(stage)[4]) == ("XDP_DROP", "confirmed")


def test_health_first_then_a_word(stage: Stage) -> None:
    served(stage)
    path = stage.write(stage.spec(rodata=DROP, health=health(HOLDS, window="200ms")))
    done = stage.run("apply", path, "--confirm-timeout", "100ms")
    assert (done.code, generation_of(stage)) == (64, 1)
    (result,) = stage.call("apply", path, "--confirm-timeout", "2s")["pipelines"]
    assert (result["outcome"], result["outcome_kind"]) == ("healthy for 0.2 s", "healthy")
    assert 0 < result["unconfirmed"] < 1.8
    assert_back(stage, "not confirmed in time")


# whoever dies


def test_apply_is_killed_and_the_guard_goes_on(stage: Stage) -> None:
    served(stage)
    with Beside(stage, "apply", wished(stage, tcp(stage, failures=20))) as apply, server(stage):
        # the wrong version is noticed only once the checks have failed so often
        on_trial(stage)
        apply.kill()
        assert apply.done().code == -signal.SIGKILL
        assert_back(stage, "no answer within 0.2 s")


def test_the_guard_is_killed_and_apply_takes_over(stage: Stage) -> None:
    served(stage)
    with Beside(stage, "apply", wished(stage)) as apply:
        kill(on_trial(stage).guard)
        done = apply.done()
    assert done.code == 3
    assert "its guard process was killed; rolled back: generation 3 restores generation 1" in done.err
    assert_back(stage, "its guard process was killed")


@pytest.mark.parametrize("command", ["recover", "apply", "confirm", "rollback"])
def test_both_are_killed_and_the_next_command_takes_it_back(stage: Stage, command: str) -> None:
    """Not before its time: until then somebody may still confirm."""
    served(stage)
    path = wished(stage)
    with Beside(stage, "apply", path) as apply:
        trial = on_trial(stage)
        apply.kill()
        apply.done()
        kill(trial.guard)
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert status["trial"]["guard"] == 0
    assert any("its guard is missing" in note for note in status["notes"])
    assert "is unconfirmed, and its guard is missing or stuck" in stage.run("doctor").out
    assert stage.run("apply", path).code == 75
    expire(stage)
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert status["state"] == "overdue"
    assert "was not confirmed in time (`reloader recover edge` takes it back)" in status["problems"][0]
    if command == "apply":
        assert stage.run("apply", stage.write(stage.spec(rodata=PASS))).code == 0
    elif command == "confirm":
        assert stage.run("confirm", stage.name).code == 65  # too late
    elif command == "rollback":
        assert stage.call("rollback", stage.name)["pipelines"][0]["generation"] == 3  # once, not twice
    else:
        (line,) = stage.call("recover")["recovered"]
        assert "rolled back: generation 3 restores generation 1" in line
    assert_back(stage, "its guard process has ended")


def test_a_stuck_guard_is_not_waited_for(stage: Stage) -> None:
    """Stopped, it lives and does nothing; woken, it finds that it was decided without it."""
    served(stage)
    stage.call("apply", stage.write(stage.spec(rodata=DROP)), "--confirm-timeout", "60s")
    trial = on_trial(stage)
    os.kill(trial.guard, signal.SIGSTOP)
    try:
        expire(stage)
        assert stage.call("recover")["recovered"] == [], "it may be about to act"
        expire(stage, grace=0.5)
        assert "rolled back" in stage.call("recover")["recovered"][0]
    finally:
        os.kill(trial.guard, signal.SIGCONT)
    assert_back(stage, "its guard process has ended")


STRUCK = ["before 1 journal.commit", "after 1 journal.commit", "after 1 record.release", "after 1 journal.end"]


@pytest.mark.parametrize("point", STRUCK)
def test_apply_is_killed_around_its_commit(stage: Stage, point: str) -> None:
    """The swapped version has an owner at every moment: its guard ends the transaction itself, and the trial."""
    served(stage)
    path = wished(stage, tcp(stage))
    when, _, what = point.partition(" ")
    gate = ["-m", "lab.crash.gated", "kill", when, what, "--"]
    words = [sys.executable, *gate, "apply", str(path), *stage.where]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: not guards(stage), 20)
    assert not list(stage.paths.journal_file(stage.name, "").parent.glob("*.jsonl")), "the guard left it unfinished"
    settled(stage)
    assert verdict(stage) == "XDP_PASS"
    assert generation_of(stage) == (1 if when == "before" else 3)
    stage.assert_counts()


def test_a_refused_version_leaves_no_guard(stage: Stage) -> None:
    served(stage)
    done = stage.run("apply", stage.write(stage.spec("broken", rodata=PASS, health=health(HOLDS))))
    assert done.code == 1
    assert_no_guard(stage)
    assert trial_of(stage) is None


def test_the_terminal_is_lost(stage: Stage) -> None:
    """SIGHUP ends the command; the guard is in a session of its own."""
    served(stage)
    trial = lose_terminal(stage, wished(stage, tcp(stage, failures=20)))
    assert guarded(trial)
    assert_back(stage, "tcp ")


def lose_terminal(stage: Stage, path: Path, before: str = "") -> Trial:
    """Apply on a terminal that goes away once the version is on trial; the trial."""
    control = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'reloader'"
    code = f"{before}\n{control}\nfrom reloader.cli import entry\nentry()"
    words = [sys.executable, "-c", code, "apply", str(path), *stage.where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    master, slave = pty.openpty()
    with subprocess.Popen(
        words,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=environment,
        cwd=ROOT,
        preexec_fn=hear_signals,
    ) as process:
        os.close(slave)
        trial = on_trial(stage)
        os.close(master)
        assert process.wait(20) == Interrupted.exit_code
    return trial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_takes_it_back_at_once(stage: Stage, number: int) -> None:
    served(stage)
    with Beside(stage, "apply", wished(stage)) as apply:
        on_trial(stage)
        apply.kill(number)
        done = apply.done()
    assert done.code == 3, done.err
    assert "generation 2 failed: interrupted; rolled back: generation 3 restores generation 1" in done.err
    assert_back(stage, "interrupted")


def test_an_interrupt_at_any_moment(stage: Stage) -> None:
    """Before the swap, between commit and window, in the window: never is the version left on trial."""
    served(stage)
    path = wished(stage)
    codes = set()
    for number in range(10):
        with Beside(stage, "apply", path) as apply:
            if number % 2:
                wait_until(lambda: trial_of(stage) is not None, 20)  # the lock is held still
            else:
                time.sleep(0.04 * number)
            apply.kill(signal.SIGINT)
            codes.add(apply.done().code)
        assert_no_guard(stage)
        assert trial_of(stage) is None
        assert verdict(stage) == "XDP_PASS"
    assert codes <= {-signal.SIGINT, 130, 1, 3}
    assert 3 in codes


def test_after_a_restart_what_was_unconfirmed_is_not_loaded_again(stage: Stage) -> None:
    """Another boot: nobody can vouch for it any more. Played by a record of another boot."""
    served(stage)
    stage.call("apply", stage.write(stage.spec(rodata=DROP)), "--confirm-timeout", "60s")
    trial = on_trial(stage)
    current = records.read_current(stage.paths, stage.name)
    assert current is not None
    records.write_current(stage.paths, replace(current, trial=replace(trial, boot_id="another", guard=1)))
    assert "rolled back" in stage.call("recover", "--boot")["recovered"][0]
    assert_back(stage, "its guard process has ended")


FRAIL = """\
import os, signal
from reloader.trial import guard

plain, os.setsid = guard._become_apart, lambda: None


def frail(keep):
    plain(keep)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


guard._become_apart = frail
"""


def test_sabotage_a_guard_in_the_session_of_its_terminal(stage: Stage) -> None:
    """Without a session of its own the guard goes with the terminal, and test_the_terminal_is_lost must fail."""
    served(stage)
    trial = lose_terminal(stage, wished(stage, tcp(stage, failures=20)), FRAIL)
    wait_until(lambda: not guarded(trial), 5)
    assert not guarded(trial)
    with pytest.raises(AssertionError, match="the trial goes on"):
        settled(stage, 1)
    expire(stage)
    stage.call("recover")
    assert_back(stage, "its guard process has ended")


# watch


def test_watch_goes_on_while_one_is_on_trial(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> None:
    """The window of one pipeline does not hold up another; the outcome is said; the bad text is not tried again."""
    with on_stage(sandbox, objects, tmp_path) as stage:
        watch = Watch(sandbox, objects, tmp_path)
        watch.install(VERSIONS["v1"])
        tx = sandbox.tx
        watch.file.write_text(watch.text())
        watch.start()
        try:
            assert "edge: generation 1 is live" in watch.lines[0]
            check = f"{{tcp: '192.0.2.1:9', netns: {tx.name}}}"
            checks = "  health: {window: 6s, interval: 200ms, failures: %d, checks: [" + check + "]}\n"
            watch.file.write_text(watch.text(rate=7) + checks % 20)
            assert "on trial for 6 s" in watch.hears("edge: generation 2 is live")
            second = watch.text(name="other", interface=tx.interface).replace(sandbox.rx.netns, tx.netns)
            (watch.folder / "other.yaml").write_text(second)
            watch.hears("other: generation 1 is live")
            assert trial_of(stage) is not None, "the other had to wait"
            watch.file.write_text(watch.text(rate=9) + checks % 1)  # has to wait for the outcome
            told = watch.hears("edge: generation 2: rolled back: tcp 192.0.2.1:9: ")
            assert "generation 3 is live" in told
            watch.hears("edge: generation 4 is live")
            current = records.read_current(stage.paths, stage.name)
            assert current is not None
            assert current.last_error == "", "to wait is no failed attempt"
            watch.hears("edge: generation 4: rolled back: tcp 192.0.2.1:9: ")
            watch.stop()
            watch.start()  # the text is the one that failed; it is not tried again
            left = "edge: generation 5 is live after a rollback to 3: generation 4 failed"
            assert any(left in line for line in watch.lines), watch.lines
            assert generation_of(stage) == 5
        finally:
            watch.close()
        assert_no_guard(stage)


# the way back itself is cut short

GATED_GUARD = """\
import os, sys
from pathlib import Path
from reloader import fault_points as effects
from reloader.cli import entry
from lab.crash.gated import Striking

when, point, *words = sys.argv[1:]
strike = Striking("kill", when, point)


def gate(at, name):
    if Path("/proc/self/comm").read_text().strip() == "reloader-guard":
        strike.owner = os.getpid()
        strike(at, name)


effects.install(gate)
sys.argv = ["reloader", *words]
entry()
"""


@pytest.mark.parametrize("point", ["after 1 journal.begin", "before 1 link.update", "after 1 journal.commit"])
def test_the_guard_is_killed_on_its_way_back(stage: Stage, point: str) -> None:
    """In the middle of its own transaction: `apply` ends that, and sees to it that the old version serves."""
    served(stage)
    path = wished(stage, tcp(stage))
    when, _, what = point.partition(" ")
    done = stage.spawn(when, what, "apply", path, code=GATED_GUARD)
    assert done.code == 3, done.err
    assert_no_guard(stage)
    settled(stage)
    assert verdict(stage) == "XDP_PASS"
    assert "no answer within 0.2 s" in outcomes(stage)[2] or "its guard process was killed" in outcomes(stage)[2]
    stage.assert_counts()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_guard_gets_a_signal(stage: Stage, number: signal.Signals) -> None:
    """SIGTERM ends it, and `apply` takes the version back at once; the others are not meant for it."""
    served(stage)
    with Beside(stage, "apply", wished(stage)) as apply:
        guard = on_trial(stage).guard
        os.kill(guard, number)
        if number != signal.SIGTERM:
            time.sleep(0.3)
            assert guards(stage) == [guard]
            os.kill(guard, signal.SIGTERM)
        done = apply.done()
    assert_no_guard(stage)
    assert done.code == 3, done.err
    assert_back(stage, "its guard process was killed")


@pytest.mark.parametrize("point", ["after 1 journal.begin", "before 1 link.update", "after 1 journal.commit"])
def test_the_guard_is_terminated_on_its_way_back(stage: Stage, point: str) -> None:
    """Trap: its transaction holds the signal back, comes to its end, and nothing is left open."""
    served(stage)
    when, _, what = point.partition(" ")
    code = GATED_GUARD.replace('"kill"', '"SIGTERM"')
    done = stage.spawn(when, what, "apply", wished(stage, tcp(stage)), code=code)
    assert done.code == 3, done.err
    assert_no_guard(stage)
    assert verdict(stage) == "XDP_PASS"
    assert outcomes(stage)[2].startswith("rolled back")
    assert stage.call("recover")["recovered"] == []
    stage.assert_counts()


def test_no_way_back_needs_a_human(stage: Stage) -> None:
    """What served before cannot be loaded: the version stays, everybody says so, and a person decides."""
    served(stage)
    old = records.read_generation(stage.paths, stage.name, 1).wish
    path = stage.write(stage.spec("v2", rodata=DROP, health=health(tcp(stage))))
    stored = stage.paths.blob_file("objects", old.objects[0].digest)
    whole = stored.read_bytes()
    stored.write_bytes(b"damaged")
    done = stage.run("apply", path)
    assert done.code == 4, done.err
    assert "generation 2 failed: tcp" in done.error["message"]
    assert "the rollback failed" in done.error["message"]
    assert verdict(stage) == "XDP_DROP"
    assert trial_of(stage) is None
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert any("the rollback failed" in problem for problem in status["problems"])
    assert outcomes(stage)[2].startswith("failed, and stays: tcp")
    third = stage.spec("v2", rodata={**DROP, "sample_rate": 9})
    assert stage.call("apply", stage.write(third))["pipelines"][0]["generation"] == 3, "nothing is blocked"
    stored.write_bytes(whole)
    stage.call("rollback", stage.name, "--to", "1")
    assert verdict(stage) == "XDP_PASS"


def test_a_forgotten_version_without_a_way_back(stage: Stage) -> None:
    """The next command tries once, says so, and does not stand in the way of the one after it."""
    served(stage)
    old = records.read_generation(stage.paths, stage.name, 1).wish
    stage.call("apply", stage.write(stage.spec("v2", rodata=DROP)), "--confirm-timeout", "60s")
    trial = on_trial(stage)
    kill(trial.guard)
    stored = stage.paths.blob_file("objects", old.objects[0].digest)
    whole = stored.read_bytes()
    stored.write_bytes(b"damaged")
    expire(stage)
    for code in (4, 0):
        done = stage.run("recover", stage.name)
        assert done.code == code, done.err
    stored.write_bytes(whole)
    assert verdict(stage) == "XDP_DROP"


def test_after_lost_records_there_is_no_way_back(stage: Stage) -> None:
    """What was rebuilt from the kernel cannot be loaded again: no trial begins that could not end."""
    served(stage)
    shutil.rmtree(stage.paths.record_dir(stage.name))
    stage.call("recover", stage.name)
    refused = stage.run("apply", wished(stage))
    assert refused.code == 65
    assert refused.error["reason"] == "rebuilt-before"
    assert_no_guard(stage)
    served(stage)


def test_a_stopped_apply_does_not_stop_its_guard(stage: Stage) -> None:
    """Nobody reads what the guard says, and it says something at every look."""
    served(stage)
    with Beside(stage, "apply", wished(stage, tcp(stage, failures=8))) as apply:
        on_trial(stage)
        apply.kill(signal.SIGSTOP)
        assert_back(stage, "no answer within 0.2 s")
        apply.kill(signal.SIGCONT)
        assert apply.done().code == 3


def test_two_pipelines_on_trial_at_once(stage: Stage) -> None:
    """Each has a guard of its own; one goes home, the other stays."""
    tx = stage.sandbox.tx
    attach = {"program": "count_flows", "type": "xdp", "interface": tx.interface, "netns": tx.netns}
    served(stage)
    other = stage.folder / "other.yaml"
    spec = stage.spec(rodata=PASS, attach=[attach], health=health(HOLDS, **LONG))
    other.write_text(json.dumps(stage.document(spec, "other")))
    with Beside(stage, "apply", other) as good:
        on_trial(stage, "other")
        with Beside(stage, "apply", wished(stage, tcp(stage, failures=3))) as bad:
            on_trial(stage)
            assert len(guards(stage)) == 2
            done = bad.done()
        assert done.code == 3, done.err
        assert trial_of(stage, "other") is not None
        stage.call("confirm", "other")
        assert good.done().code == 0
    assert_back(stage, "no answer")
    assert generation_of(stage, "other") == 1
