"""Health: a version that is wrong although the verifier likes it goes home, with its state exact.

Real traffic and a real server behind the interface. `default_verdict: XDP_DROP` is the wrong version: it loads, it
counts, and nobody behind it is reached any more. Every kind of check is seen to hold and to fail.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Done, Stage
from lab.traffic import Generator, settle
from reloader.trial.judge import judge
from tests.support import faults
from tests.support.trials import (
    DROP,
    PASS,
    generation_of,
    health,
    outcomes,
    server,
    tcp,
    trial_of,
    udp_counted,
    verdict,
    where,
)

pytestmark = pytest.mark.kernel


def apply(stage: Stage, *checks: dict[str, Any], version: str = "v1", rodata: Any = PASS, **more: Any) -> Done:
    changes = {"health": health(*checks, **more)} if checks else {}
    return stage.run("apply", stage.write(stage.spec(version, rodata=rodata, **changes)))


def first(stage: Stage, **changes: Any) -> None:
    """A version that serves, without a trial."""
    stage.apply(stage.spec(rodata=PASS, **changes))


def assert_home(stage: Stage, done: Done, reason: str, *, failed: int = 2, back: int = 1) -> None:
    """THE check: the version that failed is gone, the one before serves, and everybody is told why."""
    assert done.code == 3, f"exit {done.code}: {done.err}"
    assert reason in done.error["message"], done.error["message"]
    assert verdict(stage) == "XDP_PASS"
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert (status["state"], status["trial"]) == ("serving", None)
    assert status["generation"] == failed + 1
    assert f"rollback to {back}: generation {failed} failed: " in status["reason"]
    assert reason in status["reason"]
    assert reason in outcomes(stage)[failed]


def test_a_wrong_version_goes_home_with_its_counts(stage: Stage) -> None:
    """Packets sent before, during and after are the packets counted."""
    with server(stage), Generator(stage.sandbox.tx, flows=100) as generator:
        assert apply(stage, tcp(stage)).code == 0
        generator.start(rate=20_000)
        done = apply(stage, tcp(stage), rodata=DROP)
        assert_home(stage, done, "no answer within 0.2 s")
        generator.stop()
        assert settle(generator, lambda: udp_counted(stage)).lost == 0
        assert generator.traffic().sent > 1000
        with socket.socket(fileno=_stream(stage)) as channel:
            channel.connect((stage.sandbox.rx.address, 8080))  # served as before


def test_sabotage_scratch_state_turns_the_counts_red(stage: Stage) -> None:
    """With `flows` forgotten at every load, the counts above must not add up."""
    scratch: dict[str, Any] = {"maps": {"flows": {"role": "scratch"}}}
    with server(stage), Generator(stage.sandbox.tx, flows=100) as generator:
        first(stage, **scratch)
        generator.start(rate=20_000)
        done = stage.run("apply", stage.write(stage.spec(rodata=DROP, health=health(tcp(stage)), **scratch)))
        assert_home(stage, done, "no answer within 0.2 s")
        generator.stop()
        assert settle(generator, lambda: udp_counted(stage)).lost > 0


def _stream(stage: Stage) -> int:
    from reloader.bpf import netns

    return netns.inside(stage.sandbox.tx.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach())


def test_home_in_another_layout(stage: Stage) -> None:
    """The version that fails has other state: converted there under traffic, and back."""
    schema = {"stateSchema": "flow-count"}
    with server(stage), Generator(stage.sandbox.tx, flows=100) as generator:
        first(stage, **schema)
        generator.start(rate=20_000)
        spec = stage.spec("v3", rodata=DROP, health=health(tcp(stage)), **schema)
        done = stage.run("apply", stage.write(spec))
        assert_home(stage, done, "no answer within 0.2 s")
        generator.stop()
        assert settle(generator, lambda: udp_counted(stage, "v1")).lost == 0
        assert generator.traffic().sent > 1000


def test_sabotage_without_a_judge_the_wrong_version_stays(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checks' verdicts thrown away, assert_home must fail."""
    faults.inject(monkeypatch, "judge", lambda *about: replace(judge(*about), failed=None))
    with server(stage):
        first(stage)
        done = apply(stage, tcp(stage), rodata=DROP)
    assert verdict(stage) == "XDP_DROP"
    with pytest.raises(AssertionError):
        assert_home(stage, done, "no answer")


def test_a_healthy_version_is_confirmed(stage: Stage) -> None:
    first(stage)
    with server(stage):
        done = apply(stage, tcp(stage), {"map": "counters", "field": "not_l4", "below": 1}, version="v2")
    assert done.code == 0, done.err
    (result,) = done.document["pipelines"]
    assert (result["outcome_kind"], result["outcome"], result["unconfirmed"]) == ("healthy", "healthy for 0.4 s", 0)
    assert "edge: generation 2 is live, on trial for 0.4 s (2 checks)" in done.err
    assert trial_of(stage) is None
    assert outcomes(stage) == {1: "", 2: "healthy for 0.4 s"}
    assert [row["outcome_kind"] for row in stage.call("history", "edge")["generations"]] == ["", "healthy"]
    again = apply(stage, tcp(stage), version="v2")
    assert again.document["pipelines"][0]["changed"] is False


def test_the_plan_says_what_will_be_proved(stage: Stage) -> None:
    first(stage)
    path = stage.write(stage.spec("v2", rodata=PASS, health=health(tcp(stage))))
    (plan,) = stage.call("plan", path)["pipelines"]
    (line,) = [line for line in plan["lines"] if line["kind"] == "health"]
    assert line["action"] == "unconfirmed for 0.4 s, checked every 0.1 s"
    assert line["notes"] == ["otherwise generation 1 is restored"]
    assert line["detail"] == [f"tcp {where(stage)}"]


def test_the_first_version_ever_is_taken_off(stage: Stage) -> None:
    done = apply(stage, tcp(stage))
    assert done.code == 3
    assert "detached, because it was the first version" in done.error["message"]
    assert stage.attached() == 0
    (status,) = stage.call("status", stage.name)["pipelines"]
    assert status["state"] == "removed"
    assert "generation 1 failed: tcp" in status["problems"][0]
    with server(stage):
        assert apply(stage, tcp(stage)).code == 0  # and may be tried again


def junk(stage: Stage, packets: int) -> None:
    """Frames that are no IPv4: the program counts them as such."""
    stage.send(1)
    assert stage._wire is not None
    for _ in range(packets):
        stage._wire.send(bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(50))


BOUNDS = [
    ({"below": 5}, "10, must be below 5"),
    ({"above": 10.5}, "must be above 10.5"),
    ({"rate_above": "1/s"}, "0/s, must be rate above 1/s"),
    ({"below": 11, "above": 9, "rate_below": "1/m", "ratio_below": 2}, ""),
]


@pytest.mark.parametrize(("bounds", "reason"), BOUNDS, ids=str)
def test_a_number_in_a_map(stage: Stage, bounds: dict[str, Any], reason: str) -> None:
    """Summed over CPUs; as it stands, and how fast it grows."""
    first(stage)
    junk(stage, 10)
    done = apply(stage, {"map": "counters", "field": "not_ip", **bounds}, version="v2", window="250ms")
    if reason:
        assert_home(stage, done, reason)
    else:
        assert done.code == 0, done.err


def test_a_counter_of_errors_that_grows(stage: Stage) -> None:
    """Over entries and CPUs, under traffic: new flows come all the time."""
    with Generator(stage.sandbox.tx, flows=50_000) as generator:
        first(stage)
        generator.start(rate=5000)
        done = apply(stage, {"map": "flows", "field": "packets", "rate_below": "1000/s"}, version="v2")
        assert_home(stage, done, "flows.packets: ")
        generator.stop()
        assert settle(generator, lambda: udp_counted(stage)).lost == 0


def test_one_entry_alone(stage: Stage) -> None:
    blocked = {"key": "192.0.2.66", "value": {"action": "XDP_DROP"}}
    check = {"map": "blocklist", "key": "192.0.2.66", "field": "action"}
    first(stage, maps={"blocklist": {"role": "config", "entries": [blocked]}})
    changes: dict[str, Any] = {
        "maps": {"blocklist": {"role": "config", "entries": [blocked, {**blocked, "key": "192.0.2.67"}]}}
    }
    for bound, code in (({"below": 1}, 3), ({"above": 0, "below": 2}, 0)):
        spec = stage.spec(rodata=PASS, health=health({**check, **bound}, window="100ms"), **changes)
        done = stage.run("apply", stage.write(spec))
        assert done.code == code, done.err
    assert generation_of(stage) == 4


def test_against_what_was_before_the_swap(stage: Stage) -> None:
    """The rate with the version before is measured first. Traffic that goes on holds, traffic that stops does not."""
    check = {"map": "counters", "field": "packets", "ratio_above": 0.2}
    with Generator(stage.sandbox.tx, flows=100) as generator:
        first(stage)
        generator.start(rate=5000)
        done = apply(stage, check, version="v2", window="600ms", interval="300ms")
        assert done.code == 0, done.err
        stopped = {"map": "counters", "field": "packets", "ratio_below": 0.2}
        done = apply(stage, stopped, window="600ms", interval="300ms")
        assert_home(stage, done, "times as much as before, must be ratio below 0.2", failed=3, back=2)


@pytest.mark.alone
def test_the_time_of_a_run(stage: Stage) -> None:
    """BPF_ENABLE_STATS while it is looked, against what the version before took."""
    with Generator(stage.sandbox.tx, flows=100) as generator:
        first(stage)
        generator.start(rate=5000)
        good = {"program": "count_flows", "below": 100_000, "rate_above": 10, "ratio_below": 1000}
        assert apply(stage, good, version="v2").code == 0
        done = apply(stage, {"program": "count_flows", "ratio_below": 0.001})
        assert_home(stage, done, "program count_flows: ", failed=3, back=2)


@pytest.mark.alone
def test_counters_of_the_interface(stage: Stage) -> None:
    rx = stage.sandbox.rx
    check = {"interface": rx.interface, "netns": rx.name, "counter": "xdp_drops", "rate_below": "100/s"}
    with Generator(stage.sandbox.tx, flows=100) as generator:
        first(stage)
        generator.start(rate=5000)
        packets = {"interface": rx.interface, "netns": rx.name, "counter": "rx_packets", "rate_above": "100/s"}
        assert apply(stage, check, packets, version="v2").code == 0
        done = apply(stage, check, rodata=DROP)
        assert_home(stage, done, f"{rx.interface}.xdp_drops: ", failed=3, back=2)


def test_a_counter_that_is_not_there_is_told_before_anything_is_touched(stage: Stage) -> None:
    first(stage)
    rx, serving = stage.sandbox.rx, stage.standing()
    done = apply(stage, {"interface": rx.interface, "netns": rx.name, "counter": "xdp_dropps", "below": 1}, rodata=DROP)
    assert done.code == 69
    assert "xdp_dropps" in done.error["message"]
    assert "xdp_drops" in done.error["hint"]
    assert stage.standing() == serving


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"body": "is fine"}, ""),
        ({"status": 204}, "status 200, not 204"),
        ({"body": "well"}, "contain 'well'"),
    ],
    ids=str,
)
def test_an_answer_by_http(stage: Stage, more: dict[str, Any], reason: str) -> None:
    first(stage)
    with server(stage):
        check = {"http": f"http://{where(stage)}/up", "netns": stage.sandbox.tx.name, **more}
        done = apply(stage, check, version="v2", window="100ms")
    if reason:
        assert_home(stage, done, reason)
    else:
        assert done.code == 0, done.err


def test_failures_in_a_row_until_it_counts(stage: Stage) -> None:
    """Nobody listens: each look fails at once. Three may be in a row, so that four looks are too many."""
    first(stage)
    done = apply(stage, tcp(stage), version="v2", window="200ms", failures=3)
    assert_home(stage, done, "connection refused")
    assert "fails, 2 of 3" in done.err
    with server(stage):
        assert apply(stage, tcp(stage), version="v2", failures=3).code == 0


HOST = """\
apiVersion: reloader/v1
kind: Host
commands:
  look: [/bin/sh, -c, 'test "$RELOADER_PIPELINE $RELOADER_GENERATION" = "edge 2"; echo "judged $?"; exit $?']
  refuse: [/bin/sh, -c, 'echo no such luck; exit 7']
  dawdle: [/bin/sleep, '60']
"""


@pytest.fixture
def host(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = stage.folder / "host.yaml"
    path.write_text(HOST)
    path.chmod(0o600)
    monkeypatch.setenv("RELOADER_HOST", str(path))
    return path


@pytest.mark.parametrize(
    ("command", "reason"),
    [("look", ""), ("refuse", "exit 7: no such luck"), ("dawdle", "no answer within 0.2 s")],
)
def test_commands_that_the_host_declares(stage: Stage, host: Path, command: str, reason: str) -> None:
    assert host.exists()
    first(stage)
    done = apply(stage, {"command": command, "timeout": "200ms" if reason else "5s"}, version="v2", window="100ms")
    if reason:
        assert_home(stage, done, reason)
    else:
        assert done.code == 0, done.err


def test_no_command_but_the_hosts_own(stage: Stage, host: Path) -> None:
    first(stage)
    serving = stage.standing()
    done = apply(stage, {"command": "reboot"}, version="v2")
    assert (done.code, stage.standing()) == (65, serving)
    assert stage.run("plan", stage.file).code == 65
    assert (done.error["reason"], done.error["values"]["name"]) == ("no-such-command", "reboot")
    host.chmod(0o602)
    done = apply(stage, {"command": "look"}, version="v2")
    assert (done.code, stage.standing()) == (77, serving)
    host.unlink()
    done = apply(stage, {"command": "look"}, version="v2")
    assert (done.code, stage.standing()) == (65, serving)
