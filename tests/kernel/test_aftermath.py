"""What a command says of its end is true: failing steps behind the commit, signals, panics, limits."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.stage import ROOT, Done, Stage, checked, hear_signals, wait_until
from reloader.disk.lock import writer_of
from reloader.lifecycle.attempt_record import note_attempt, note_orphan
from reloader.store import records
from tests.kernel.test_bad_inputs import blocking
from tests.support import faults
from tests.support.trials import Beside, expire, guards

pytestmark = pytest.mark.kernel

FAILING = """
import errno, os, sys
from reloader import cli, fault_points as effects
when, effect, name = sys.argv[1:4]
seen = []
def gate(moment, what):
    if what == "journal.commit" and moment == "after":
        seen.append(what)
    if (seen or when == "early") and moment == "before" and what.startswith(effect):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)), what)
effects.install(gate)
sys.argv = ["reloader", *sys.argv[4:]]
cli.entry()
"""
STOPPED = """
import os, signal, sys
from reloader import cli, fault_points as effects
when, effect = sys.argv[1:3]
done = []
def gate(moment, what):
    if (moment, what) == (when, effect) and not done:
        done.append(what)
        os.kill(os.getpid(), signal.SIGSTOP)
effects.install(gate)
sys.argv = ["reloader", *sys.argv[3:]]
cli.entry()
"""


def error_of(done: Done) -> Any:
    assert "Traceback" not in done.err, done.err
    return checked(done.out)["error"]


# behind the commit

BEHIND = ["journal.end", "rename ", "write generations/", "write edge/current", "record.release", "unpin ", "rmdir "]


@pytest.mark.parametrize(
    ("effect", "name"),
    [*((effect, "EIO") for effect in BEHIND), *(("journal.end", n) for n in ("ENOSPC", "EROFS", "EINVAL", "EACCES"))],
)
def test_v5_a_step_behind_the_commit_that_fails_needs_a_human(stage: Stage, effect: str, name: str) -> None:
    stage.apply(stage.spec())
    stage.write(blocking(stage.spec("v2")))
    before = stage.attached()
    done = stage.spawn("late", effect, name, "apply", stage.file, "-o", "json", code=FAILING)
    error = error_of(done)
    assert (done.code, error["reason"]) == (4, "cleanup-failed"), done
    assert (error["values"]["live_generation"], error["values"]["committed"]) == (2, True)
    journals = list((stage.records / "pipelines/edge/journal").glob("*.jsonl"))
    assert error["values"]["journal_open"] is bool(journals)
    assert stage.attached() != before
    assert len(stage.call("recover")["recovered"]) == len(journals)
    assert stage.standing().generation == 2
    stage.assert_counts()


def test_v5_rollback_and_removal_too(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.apply(blocking_spec(stage))
    for words in (["rollback", "edge"], ["remove", "edge"], ["remove", "edge", "--state"]):
        done = stage.spawn("late", "journal.end", "EIO", *words, "-o", "json", code=FAILING)
        assert (done.code, error_of(done)["reason"]) == (4, "cleanup-failed"), done
        stage.call("recover")
    stage.apply(stage.spec())
    done = stage.spawn("late", "folder.remove", "EIO", "remove", "edge", "--state", "-o", "json", code=FAILING)
    error = error_of(done)
    assert (done.code, error["reason"]) == (4, "cleanup-failed")


def blocking_spec(stage: Stage) -> Any:
    return blocking(stage.spec("v2"))


def test_v5_an_undone_change_whose_journal_stays_needs_a_human(stage: Stage) -> None:
    """The way back is whole but for its last step."""
    stage.apply(stage.spec())
    before = stage.attached()
    failing = FAILING.replace("what.startswith(effect)", "what.startswith((effect, 'link.update'))")
    stage.write(blocking(stage.spec("v2")))
    done = stage.spawn("early", "journal.end", "EIO", "apply", stage.file, "-o", "json", code=failing)
    error = error_of(done)
    assert (done.code, error["reason"]) == (4, "undo-failed")
    assert error["values"] == {"journal_open": True, "committed": False}
    assert stage.attached() == before
    assert len(stage.call("recover")["recovered"]) == 1
    stage.assert_counts()


def test_v5_recover_says_4_too(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.write(blocking(stage.spec("v2")))
    for when, effect in (("late", "journal.end"), ("late", "rename ")):
        assert stage.spawn(when, effect, "EIO", "apply", stage.file, code=FAILING).code == 4
        for words in (["recover"], ["recover", "edge"], ["apply", str(stage.file)]):
            done = stage.spawn("early", effect, "EIO", *words, "-o", "json", code=FAILING)
            assert (done.code, error_of(done)["values"]["journal_open"]) == (4, True), done
        stage.call("recover")
        stage.write(stage.spec("v1"))


# panics


@pytest.mark.parametrize(
    ("when", "effect", "code"),
    [
        ("after", "journal.begin", (1, 3)),
        ("before", "link.update", (1, 3)),
        ("after", "link.update", (3,)),
        ("before", "journal.commit", (4,)),
        ("after", "journal.commit", (4,)),
        ("before", "journal.end", (4,)),
    ],
)
def test_v11_a_panic_during_a_stopped_apply_is_told(stage: Stage, when: str, effect: str, code: tuple[int]) -> None:
    stage.apply(stage.spec("v1", panic="open"))
    stage.write(blocking(stage.spec("v2", panic="open")))
    command = [sys.executable, "-c", STOPPED, when, effect, "apply", str(stage.file), "-o", "json", *stage.where]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_signals,
    ) as process:  # fmt: skip
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        stage.call("panic", "edge")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=30)
    error = error_of(Done(code=process.returncode, out=out, err=err))
    assert process.returncode in code, err
    assert error["reason"] == "panicked"
    assert error["values"]["live_generation"] == 0
    assert error["values"]["journal_open"] is False
    (shown,) = stage.call("status")["pipelines"]
    assert shown["state"] == "panicked"
    stage.call("apply", stage.file)
    stage.assert_counts()


# limits


@pytest.mark.parametrize("limit", range(8, 40, 3))
def test_v11_a_descriptor_limit_is_told_as_one(stage: Stage, limit: int) -> None:
    """Whichever call meets it: the parent's or the loader's, for maps, programs or a report."""

    def lowered() -> None:
        hear_signals()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    stage.apply(stage.spec())
    before = stage.standing()
    stage.write(blocking(stage.spec("v2")))
    done = stage.spawn("apply", stage.file, "-o", "json", preexec_fn=lowered)
    assert "Traceback" not in done.err, done.err
    if done.code == 0:
        assert stage.standing().generation == 2
        return
    assert done.code != 77
    assert error_of(done)["reason"] == "file-descriptor-limit", done
    assert "ulimit -n" in error_of(done)["hint"]
    if done.code in (1, 3):
        assert stage.standing() == before
    stage.call("recover")
    stage.assert_counts()


def test_v11_a_soft_limit_is_raised(stage: Stage) -> None:
    def lowered() -> None:
        hear_signals()
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    assert stage.spawn("apply", stage.write(stage.spec()), preexec_fn=lowered).code == 0


@pytest.mark.parametrize(("number", "reason"), [("EMFILE", "file-descriptor-limit"), ("ENFILE", "system-file-limit")])
@pytest.mark.parametrize("effect", ["journal.open", "journal.begin", "pin ", "link.update", "write objects/"])
def test_v11_each_errno_is_told_as_what_it_is(stage: Stage, effect: str, number: str, reason: str) -> None:
    stage.apply(stage.spec())
    before = stage.standing()
    stage.write(blocking(stage.spec("v2")))
    done = stage.spawn("early", effect, number, "apply", stage.file, "-o", "json", code=FAILING)
    assert (done.code in (1, 3), error_of(done)["reason"]) == (True, reason)
    assert stage.standing() == before


# signals at other times


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_v11_a_signal_during_start_up_leaves_no_traceback(stage: Stage, number: signal.Signals) -> None:
    """From the first import to the end of the command."""
    stage.write(blocking(stage.spec()))
    for wait in range(24):
        command = [sys.executable, "-m", "reloader", "plan", str(stage.file), *stage.where]
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_signals,
        ) as process:  # fmt: skip
            imported(process.pid)
            time.sleep(wait * 0.008)
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
        first = re.findall(rf'File "{ROOT}/reloader/(.+?)", line (\d+)', err)
        assert first in ([], [("__main__.py", "4")]), err  # its first line is still the interpreter's own start
        assert process.returncode in (0, 130, -number) or "Traceback" in err  # of the interpreter's own start


def imported(pid: int) -> None:
    """Return once the interpreter has begun with the package: before that, its own start-up answers signals."""
    wait_until(lambda: b"-m\0reloader" in Path(f"/proc/{pid}/cmdline").read_bytes())
    wait_until(lambda: caught(pid, signal.SIGTERM), 0.06)


def caught(pid: int, number: int) -> bool:
    rows = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(rows["SigCgt"], 16) >> (number - 1) & 1)


def test_v6_an_ignored_interrupt_stays_ignored(stage: Stage) -> None:
    """As in a background job or under nohup; SIGTERM is heard."""
    code = """
import os, signal, sys
from reloader import cli, fault_points as effects
def gate(moment, what):
    if what == "link.update" and moment == "before":
        for number in (signal.SIGINT, signal.SIGHUP):
            assert signal.getsignal(number) is signal.SIG_IGN
            os.kill(os.getpid(), number)
        if os.environ.get("TERM_TOO"):
            os.kill(os.getpid(), signal.SIGTERM)
effects.install(gate)
sys.argv[0] = "reloader"
cli.entry()
"""

    def deaf() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    stage.apply(stage.spec())
    path = stage.write(blocking(stage.spec("v2")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = stage.spawn("apply", path, "-o", "json", code=code, preexec_fn=deaf, env={**environment, "TERM_TOO": "1"})
    assert (done.code in (1, 3), error_of(done)["reason"]) == (True, "interrupted")
    assert stage.spawn("apply", path, code=code, preexec_fn=deaf, env=environment).code == 0
    assert stage.standing().generation == 2


def test_v6_a_signal_between_two_documents_says_what_is_live(stage: Stage) -> None:
    """The first is committed when the signal comes; the second is not started."""
    code = """
import os, signal, sys
from reloader import cli, fault_points as effects
def gate(moment, what):
    if what == "journal.commit" and moment == "after":
        os.kill(os.getpid(), signal.SIGINT)
effects.install(gate)
sys.argv[0] = "reloader"
cli.entry()
"""
    second = stage.document({**stage.spec(), "attach": []}, name="other")
    second["spec"] = {**stage.spec(), "attach": [stage.attach(interface="lo")]}
    stage.write(stage.spec(), second)
    done = stage.spawn("apply", stage.file, "-o", "json", code=code)
    error = error_of(done)
    assert (done.code, error["reason"]) == (130, "interrupted")
    assert error["values"]["committed"] == {"edge": 1}
    assert error["values"]["not_started"] == ["other"]
    assert error["values"]["live_generations"] == {"edge": 1, "other": 0}
    assert error["values"]["journal_open"] is False
    assert stage.standing().generation == 1
    stage.assert_counts()


def test_v6_an_earlier_open_transaction_is_named(stage: Stage) -> None:
    """Interrupted before it could recover: nothing was changed, and the journal of another is open still."""
    code = """
import os, signal, sys
from reloader import cli
from reloader.disk import lock
def impatient(layout):
    os.kill(os.getpid(), signal.SIGINT)
lock.writer_lock = impatient
sys.argv[0] = "reloader"
cli.entry()
"""
    stage.apply(stage.spec())
    stage.write(blocking(stage.spec("v2")))
    assert stage.spawn("late", "journal.end", "EIO", "apply", stage.file, code=FAILING).code == 4
    done = stage.spawn("rollback", "edge", "-o", "json", code=code)
    error = error_of(done)
    assert (done.code, error["values"]["journal_open"], error["values"]["live_generation"]) == (130, True, 2)
    assert error["values"]["open_transactions"] == ["edge"]
    stage.call("recover")


# status


def test_v11_status_tells_states_apart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that is overdue, a failed attempt, a restart, a panic and drift are five things."""

    def states() -> list[str]:
        (one,) = stage.call("status")["pipelines"]
        assert one["state"] == one["states"][0]
        return list(one["states"])

    stage.apply(stage.spec("v1", panic="open"))
    assert states() == ["serving"]
    with writer_of(stage.host) as writer:
        note_attempt(writer, "edge", "edge.yaml", "", "it does not compile")
    assert states() == ["failed-attempt"]
    with writer_of(stage.host) as writer:
        note_orphan(writer, "edge")
    assert states() == ["failed-attempt", "orphaned"]
    stage.call("panic", "edge")
    assert states() == ["panicked", "failed-attempt", "orphaned"]
    stage.call("apply", stage.file)
    assert states() == ["serving"]
    stage.apply(stage.spec("v1", panic="open", rodata={"default_verdict": "XDP_PASS"}), "--confirm-timeout", "60s")
    assert states() == ["unconfirmed"]
    (guard,) = guards(stage)
    os.kill(guard, signal.SIGKILL)
    expire(stage)
    assert states() == ["overdue"]
    link = stage.paths.link_pin("edge", next(iter(current(stage).links)))
    with stage.kernel.pins.get(link) as held:
        stage.kernel.pins.unpin(link)
        assert states() == ["drift", "overdue"]
        stage.kernel.pins.pin(held, link)
    stage.call("recover")
    assert states() == ["serving"]
    faults.restarted(monkeypatch)
    assert states() == ["rebooted"]


def current(stage: Stage) -> records.Current:
    found = records.read_current(stage.paths, "edge")
    assert found is not None
    return found


def test_v6_signals_at_any_moment_from_outside(stage: Stage) -> None:
    """To the whole process group, as a terminal sends them: one, or several in a row. The exit code is true."""
    stage.apply(stage.spec())
    for number in range(12):
        before = stage.standing().generation
        stage.write(blocking(stage.spec(rodata={"sample_rate": number + 2})))
        with Beside(stage, "apply", stage.file, start_new_session=True) as apply:
            time.sleep(0.15 + 0.06 * number)
            for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[: 1 + number % 3]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(apply.process.pid, sent)
            done = apply.done()
        changed = stage.standing().generation != before
        assert changed == (done.code == 0), done
        assert done.code in (0, 1, 3, 130, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP), done
        assert f'File "{ROOT}/reloader' not in done.err
        assert stage.call("recover")["recovered"] == []
    stage.assert_counts()


def test_v6_gc_that_has_begun_comes_to_its_end(stage: Stage) -> None:
    """Trap: interrupted after the first of two removals, it said that nothing was changed."""
    stage.apply(stage.spec())
    dead = [stage.records / "objects" / (digit * 64) for digit in "01"]
    for path in dead:
        path.write_bytes(b"dead")
    code = """
import sys
from reloader import cli, fault_points as effects
from lab.crash.gated import Striking
effects.install(Striking("SIGINT", "after", "1 gc blob"))
sys.argv[0] = "reloader"
cli.entry()
"""
    done = stage.spawn("gc", "-o", "json", code=code)
    assert (done.code, [path.exists() for path in dead]) == (0, [False, False]), done.err
    assert len(done.document["removed"]) == 2
