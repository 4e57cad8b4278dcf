"""How a trial ends, and what is remembered of that: what failed comes back by itself nowhere, a panic stays, and
nothing is called healthy that sees no packet.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import MOUNT, Sandbox, run
from lab.stage import ROOT, Done, Stage, on_stage, wait_until
from reloader.bpf.progs import LiveProgs
from reloader.errors import LoadRejected
from reloader.kernel import Loaded, LoadRequest
from tests.kernel.test_neighbours import DROP_ALL
from tests.support import faults
from tests.support.processes import running
from tests.support.trials import (
    DROP,
    PASS,
    Beside,
    assert_no_guard,
    expire,
    generation_of,
    health,
    on_trial,
    outcomes,
    settled,
    trial_of,
    verdict,
)

pytestmark = pytest.mark.kernel

HOLDS = {"map": "counters", "field": "packets", "above": -1}
NEVER = {"map": "counters", "field": "packets", "below": 0}
SCRATCH = {"flows": {"role": "scratch"}, "counters": {"role": "scratch"}}


def wished(stage: Stage, check: dict[str, Any], window: str = "60s", **changes: Any) -> Path:
    return stage.write(stage.spec(**{"rodata": DROP, **changes}, health=health(check, window=window)))


def fails(stage: Stage, **changes: Any) -> Done:
    """A version that does not prove itself."""
    done = stage.run("apply", wished(stage, NEVER, "300ms", **changes))
    assert done.code == 3, done.err
    return done


def forgotten(stage: Stage, path: Path) -> None:
    """On trial, its time up, and nobody there: its command and its guard are dead."""
    with Beside(stage, "apply", path) as apply:
        trial = on_trial(stage)
        apply.kill()
        apply.done()
        os.kill(trial.guard, signal.SIGKILL)
    assert_no_guard(stage)
    expire(stage)


# the way back


@pytest.mark.parametrize("how", ["failed", "removed on trial"])
def test_regress_rollback_puts_back_what_failed(stage: Stage, how: str) -> None:
    """The newest generation of a removed pipeline may be the one that failed; only its number brings it back."""
    if how == "failed":
        fails(stage)
    else:
        with Beside(stage, "apply", wished(stage, HOLDS)) as apply:
            on_trial(stage)
            stage.call("remove", stage.name)
            assert apply.done().code == 3
        assert outcomes(stage)[1] == "removed before its trial ended"
    refused = stage.run("rollback", stage.name)
    assert refused.code == 65, refused.out
    assert refused.error["reason"] == "only-failed-generations"
    assert stage.attached() == 0
    assert "--to 1" in refused.error["hint"]
    stage.call("rollback", stage.name, "--to", "1")
    assert verdict(stage) == "XDP_DROP"


def test_regress_rollback_passes_over_what_failed(stage: Stage) -> None:
    stage.apply(stage.spec(rodata=PASS))
    fails(stage)  # 2; 3 is 1 again
    stage.apply(stage.spec(rodata={**PASS, "sample_rate": 7}))  # 4
    stage.call("remove", stage.name)
    stage.apply(stage.spec(rodata={**PASS, "sample_rate": 9}))  # 5
    for _ in range(2):  # to 4, and on to 3: past 2, then there is nothing
        stage.call("rollback", stage.name)
        assert verdict(stage) == "XDP_PASS"
    assert stage.run("rollback", stage.name).code == 65


def test_regress_a_boot_loads_what_failed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """This kernel refuses what served last. The one before that failed its trial; the one before it did not."""
    stage.apply(stage.spec(rodata=PASS))
    fails(stage)
    stage.apply(stage.spec(rodata={**PASS, "sample_rate": 77}))
    mount = str(stage.sandbox.dir / MOUNT)
    run("umount", mount)
    run("mount", "-t", "bpf", "-o", "mode=0700", "none", mount)
    wait_until(lambda: not stage.attached())
    faults.restarted(monkeypatch)
    stage.kernel = faults.Restarted()
    load = LiveProgs.load

    def strict(self: LiveProgs, request: LoadRequest) -> Loaded:
        if request.rodata.get("sample_rate") == (77).to_bytes(4, "little"):
            raise LoadRejected("count_flows", 13, "processed 1 insns")
        return load(self, request)

    faults.inject(monkeypatch, "load", strict)
    stage.call("recover", "--boot")
    assert verdict(stage) == "XDP_PASS"
    stage.assert_counts()


# what is remembered


@pytest.mark.parametrize("maps", [{}, SCRATCH], ids=["state", "no state"])
def test_regress_a_first_version_fails_and_nobody_knows(stage: Stage, maps: dict[str, Any]) -> None:
    """Without state maps its records went with it, and the reason that `status` and `history` were to keep."""
    done = fails(stage, maps=maps)
    assert "reloader history edge" in done.error["hint"]
    assert outcomes(stage)[1].startswith("rolled back: counters.packets: ")
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert status["state"] == "removed"
    assert "generation 1 failed: counters.packets: " in status["problems"][0]
    assert stage.run("remove", stage.name).code == 65
    stage.call("remove", stage.name, "--state")
    assert stage.call("status")["pipelines"] == []


@pytest.mark.parametrize("maps", [{}, SCRATCH], ids=["state", "no state"])
def test_regress_watch_tries_a_failed_first_version_again(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, maps: dict[str, Any]
) -> None:
    """At every restart, for good."""
    with on_stage(sandbox, objects, tmp_path) as stage:
        path = stage.folder / "etc" / "edge.yaml"
        path.parent.mkdir()
        text = wished(stage, NEVER, "300ms", maps=maps).read_text().replace("- v1", f"- {stage.folder}/v1")
        path.write_text(text)
        said = ""
        for said in (
            _watched(stage, path, "generation 1: rolled back"),
            _watched(stage, path, "is not applied until it changes"),
        ):
            assert "generation 2" not in said
        assert "generation 1 failed its trial and is detached" in said
        assert stage.attached() == 0
        path.write_text(text.replace("XDP_DROP", "XDP_PASS"))
        assert "generation 2: rolled back" in _watched(stage, path, "generation 2: rolled back")
        assert_no_guard(stage)


def _watched(stage: Stage, path: Path, until: str) -> str:
    """What a watch of the folder says until it says that."""
    log = stage.folder / "said"
    words = [sys.executable, "-m", "reloader", "watch", str(path.parent), *stage.where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with running(words, log, environment):
        wait_until(lambda: until in log.read_text(), 20)
    assert until in log.read_text(), log.read_text()
    return log.read_text()


def test_regress_what_is_overdue_is_not_offered_for_confirmation(stage: Stage) -> None:
    stage.apply(stage.spec(rodata=PASS))
    forgotten(stage, wished(stage, HOLDS))
    (status,) = stage.call("status", stage.name)["pipelines"]
    (note,) = (note for note in status["notes"] if note.startswith("unconfirmed"))
    assert "confirmation deadline passed" in note
    assert "restores generation 1" in note
    assert "keeps it" not in note
    assert stage.run("confirm", stage.name).code == 65
    assert verdict(stage) == "XDP_PASS"


# what is looked at


def unpin(stage: Stage) -> str:
    (pin,) = (Path(stage.sandbox.bpffs) / stage.name / "links").iterdir()
    pin.unlink()
    return "its link's pin is missing"


def recreate(stage: Stage) -> str:
    """The interface goes and comes again under its name."""
    rx, tx = stage.sandbox.rx, stage.sandbox.tx
    run("ip", "-n", rx.name, "link", "del", rx.interface)
    run("ip", "link", "add", rx.interface, "netns", rx.name, "type", "veth", "peer", tx.interface, "netns", tx.name)
    run("ip", "-n", rx.name, "link", "set", rx.interface, "up")
    run("ip", "-n", tx.name, "link", "set", tx.interface, "up")
    return f"attachment xdp:{rx.interface}"  # gone, or already another one: the kernel takes its time with the old


@pytest.mark.parametrize("lose", [unpin, recreate])
def test_regress_healthy_without_an_attachment(stage: Stage, lose: Callable[[Stage], str]) -> None:
    """What sees no packet does nothing wrong: every counter was fine."""
    stage.apply(stage.spec(rodata=PASS))
    with Beside(stage, "apply", wished(stage, HOLDS)) as apply:
        on_trial(stage)
        reason = lose(stage)
        done = apply.done()
    assert done.code == 3, done.out
    assert reason in done.err
    settled(stage)
    assert (verdict(stage), generation_of(stage)) == ("XDP_PASS", 3)
    assert reason in outcomes(stage)[2]
    assert stage.attached()


def test_regress_healthy_while_another_program_runs(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    """Somebody updated our link. Theirs is not ours to replace, so a person has to decide."""
    stage.apply(stage.spec(rodata=PASS))
    theirs = LoadRequest(objects=(compile_bpf(DROP_ALL).read_bytes(),), name="theirs", programs=("drop_all",))
    loaded = stage.kernel.progs.load(theirs)
    with Beside(stage, "apply", wished(stage, HOLDS)) as apply:
        on_trial(stage)
        (pin,) = (Path(stage.sandbox.bpffs) / stage.name / "links").iterdir()
        with stage.kernel.pins.get(str(pin)) as link, stage.kernel.progs.by_id(stage.attached()) as old:
            stage.kernel.links.update(link, new=loaded.progs["drop_all"], old=old)
        loaded.close()
        done = apply.done()
    assert done.code == 4, done.out
    assert "another program runs there" in done.err
    assert outcomes(stage)[2].startswith("failed, and stays")


def test_sabotage_without_that_look_it_is_healthy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above must notice it."""

    def blind(*_: object) -> str:
        for pin in (Path(stage.sandbox.bpffs) / stage.name / "links").iterdir():
            pin.unlink()
        return ""

    faults.inject(monkeypatch, "astray", blind)
    stage.apply(stage.spec(rodata=PASS))
    assert stage.run("apply", wished(stage, HOLDS, "300ms")).code == 0
    assert stage.attached() == 0


# a panic


def panicked(stage: Stage) -> bool:
    (status,) = stage.call("status", stage.name)["pipelines"]
    return bool(status["attachments"][0]["seen"].startswith("panic open"))


def test_regress_a_panic_outlives_its_guard(stage: Stage) -> None:
    """Killed after a panic, its command took the version back over it: packets were dropped again."""
    stage.apply(stage.spec(rodata=PASS))
    with Beside(stage, "apply", wished(stage, HOLDS, panic="open")) as apply:
        trial = on_trial(stage)
        stage.call("panic", stage.name)
        os.kill(trial.guard, signal.SIGKILL)
        done = apply.done()
    assert done.code == 0, done.err
    assert panicked(stage)
    assert trial_of(stage) is None
    assert outcomes(stage)[2] == "a panic ended its trial (its guard process was killed)"
    stage.call("rollback", stage.name)


def test_a_panic_is_no_failure_of_the_version_below(stage: Stage) -> None:
    """Its program is not the one that runs, and on purpose."""
    stage.apply(stage.spec(rodata=PASS))
    with Beside(stage, "apply", wished(stage, HOLDS, "2s", panic="open")) as apply:
        on_trial(stage)
        stage.call("panic", stage.name)
        done = apply.done()
    assert done.code == 0, done.err
    assert panicked(stage)
    assert outcomes(stage)[2] == "a panic ended its trial"
    stage.call("rollback", stage.name)


def test_regress_an_import_leaves_what_is_overdue(stage: Stage) -> None:
    """A change as any other: what nobody vouches for goes first."""
    stage.apply(stage.spec(rodata=PASS))
    stage.send(20)
    words = [sys.executable, "-m", "reloader", "state", "export", stage.name, *stage.where]
    file = stage.folder / "state"
    file.write_bytes(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout)
    forgotten(stage, wished(stage, HOLDS))
    done = stage.run("state", "import", stage.name, file, "--merge", "sum")
    assert done.code == 0, done.err
    assert "rolled back: generation 3 restores generation 1" in done.err
    assert (verdict(stage), trial_of(stage)) == ("XDP_PASS", None)
    assert stage.counted() == 40
