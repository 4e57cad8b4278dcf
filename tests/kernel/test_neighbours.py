"""Neighbours on the hook and at the lock: named, not overwritten unasked, taken over on purpose, put back at once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from lab.stage import ROOT, Stage, wait_until
from reloader import fault_points
from reloader.errors import KernelError
from reloader.kernel import Fd, LoadRequest, XdpMode
from tests.kernel.test_state_transfer import KILLER

pytestmark = pytest.mark.kernel

DROP_ALL = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int drop_all(struct xdp_md *ctx) { return XDP_DROP; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def theirs(stage: Stage, compile_bpf: Callable[[str], Path]) -> Iterator[Fd]:
    """Somebody else's loaded program."""
    loaded = stage.kernel.progs.load(
        LoadRequest(objects=(compile_bpf(DROP_ALL).read_bytes(),), name="theirs", programs=("drop_all",))
    )
    yield loaded.progs["drop_all"]
    loaded.close()


@pytest.fixture
def gated() -> Iterator[Callable[[fault_points.Gate], None]]:
    yield fault_points.install
    fault_points.install(None)


def ifindex(stage: Stage) -> int:
    found = stage.kernel.net.interface(stage.sandbox.rx.interface, stage.sandbox.rx.netns)
    assert found
    return found.ifindex


def attach_by_netlink(stage: Stage, prog: Fd, mode: XdpMode = XdpMode.NATIVE) -> int:
    netns = stage.sandbox.rx.netns
    stage.kernel.links.give_back_xdp(prog, ifindex=ifindex(stage), mode=mode, netns=netns)
    assert stage.attached()
    return stage.attached()


def test_a_program_attached_by_netlink_gives_way_on_purpose_only(stage: Stage, theirs: Fd) -> None:
    mine = attach_by_netlink(stage, theirs)
    path = stage.write(stage.spec())
    for word in ("plan", "apply"):
        done = stage.run(word, path)
        assert done.code == 65
        assert f"program 'drop_all' (id {mine}) is attached there already, by netlink" in done.error["detail"]
        assert "--take-over" in done.error["detail"]
    assert stage.attached() == mine
    (planned,) = stage.call("plan", path, "--take-over")["pipelines"]
    (line,) = (one for one in planned["lines"] if one["kind"] == "attachment")
    assert (line["sign"], line["interruption"], line["cas"]) == ("-/+", "drops", True)
    assert f"instead of program 'drop_all' (id {mine})" in line["notes"]
    stage.call("apply", path, "--take-over")
    assert stage.attached() not in (0, mine)
    stage.assert_counts()
    assert not [pin for pin in stage.sandbox.pins() if "/taken/" in pin]
    assert stage.call("apply", path, "--take-over")["pipelines"][0]["changed"] is False
    assert stage.call("status")["pipelines"][0]["state"] == "serving"


@pytest.mark.parametrize("proof", ["health", "confirm"])
def test_regress_a_trial_takes_nothing_over(stage: Stage, theirs: Fd, proof: str) -> None:
    """A version that failed its trial left the hook bare: theirs was kept until the commit only."""
    mine, plain = attach_by_netlink(stage, theirs), stage.spec()
    never = {"window": "200ms", "interval": "100ms", "checks": [{"map": "counters", "field": "packets", "below": 0}]}
    path = stage.write(plain if proof == "confirm" else {**plain, "health": never})
    words = ("--confirm-timeout", "1s") if proof == "confirm" else ()
    done = stage.run("apply", path, "--take-over", *words)
    assert done.code == 65, done.err
    assert "could not give back what it replaced" in done.error["message"]
    assert "take over first" in done.error["hint"]
    assert stage.attached() == mine
    assert stage.standing().pins == ()
    stage.call("apply", stage.write(plain), "--take-over")
    after = stage.spec(rodata={"sample_rate": 7})
    assert stage.run("apply", stage.write({**after, "health": never}), "--take-over").code == 3, "a trial as any other"
    stage.assert_counts()


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.SKB])
@pytest.mark.parametrize("effect", ["link.take_over", "pin", "journal.commit"])
def test_what_was_taken_over_is_put_back(
    stage: Stage, theirs: Fd, gated: Callable[[fault_points.Gate], None], effect: str, mode: XdpMode
) -> None:
    """Failing before the gap, at the pin of our link, or at the commit."""
    mine = attach_by_netlink(stage, theirs, mode)
    seen = []

    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        links = name.startswith("pin ") and "/links/" in name
        moment = "before" if effect == "link.take_over" else "after"
        if when == moment and (links if effect == "pin" else name.startswith(effect)):
            seen.append(name)
            raise KernelError("test", errno.ENOMEM)

    gated(gate)
    done = stage.run("apply", stage.write(stage.spec()), "--take-over")
    assert seen
    assert done.code == 3, done.err
    wait_until(lambda: stage.attached() == mine)
    assert stage.attached() == mine
    there = stage.kernel.net.interface(stage.sandbox.rx.interface, stage.sandbox.rx.netns)
    assert there
    assert there.xdp_mode is mode
    assert stage.standing().pins == ()


def test_killed_while_taking_over(stage: Stage, theirs: Fd) -> None:
    """Theirs or ours after `recover`, at every point; never nothing."""
    path = stage.write(stage.spec())
    mine = attach_by_netlink(stage, theirs)
    ends = set()
    for at in range(20, 80, 6):
        done = stage.spawn(
            "apply", path, "--take-over", "-q", code=KILLER,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KILL_AT": str(at)},
        )  # fmt: skip
        stage.call("recover")
        wait_until(lambda: stage.attached() != 0)
        assert stage.attached(), f"killed at {at}"
        ends.add(stage.attached() == mine)
        assert not [pin for pin in stage.sandbox.pins() if "/taken/" in pin]
        if stage.attached() != mine:
            stage.call("remove", "edge", "--state")
            wait_until(lambda: not stage.attached())
            attach_by_netlink(stage, theirs)
        if done.code == 0:
            break
    assert ends == {True, False}, "both ways were to be taken"


def test_a_link_that_somebody_holds_is_not_taken_over(stage: Stage, theirs: Fd) -> None:
    """It says who holds it: a process, a pin."""
    netns, pin = stage.sandbox.rx.netns, f"{stage.sandbox.bpffs}/theirs"
    link = stage.kernel.links.create_xdp(theirs, ifindex=ifindex(stage), mode=XdpMode.NATIVE, netns=netns)
    mine, path = stage.attached(), stage.write(stage.spec())
    comm = Path("/proc/self/comm").read_text().strip()
    done = stage.spawn("apply", path, "--take-over")
    assert done.code == 65
    assert f"held by process {os.getpid()} ({comm})" in done.err
    stage.kernel.pins.pin(link, pin)
    link.close()
    done = stage.spawn("apply", path, "--take-over")
    assert f"held by pin {pin}" in done.err
    assert "only who holds a link can detach it" in done.err
    assert stage.attached() == mine
    stage.kernel.pins.unpin(pin)


def test_our_own_link_is_taken_back_without_a_gap(stage: Stage, theirs: Fd) -> None:
    """Somebody updated our link: their program goes as it came, by compare-and-swap."""
    stage.apply(stage.spec())
    (pin,) = (p for p in stage.standing().pins if "/links/" in p)
    with stage.kernel.pins.get(f"{stage.sandbox.bpffs}/{pin}") as link:
        with stage.kernel.pins.get(stage.paths.prog_pin("edge", 1, "count_flows")) as ours:
            stage.kernel.links.update(link, new=theirs, old=ours)
        number = stage.kernel.links.info(link).id
    mine = stage.attached()
    assert "drop_all" in stage.call("status")["pipelines"][0]["attachments"][0]["seen"]
    assert stage.run("apply", stage.file).code == 65
    (planned,) = stage.call("plan", stage.file, "--take-over")["pipelines"]
    (line,) = (one for one in planned["lines"] if one["kind"] == "attachment")
    assert (line["action"], line["interruption"]) == ("link update", "none")
    stage.call("apply", stage.file, "--take-over")
    assert stage.attached() != mine
    with stage.kernel.pins.get(f"{stage.sandbox.bpffs}/{pin}") as link:
        assert stage.kernel.links.info(link).id == number
    stage.assert_counts()


def test_sixteen_writers_at_once(stage: Stage) -> None:
    """One wins, the others leave with 75 and have touched nothing."""
    stage.apply(stage.spec("v1"))
    path = stage.write(stage.spec("v2"))
    hold = (
        "import sys, time\n"
        "from reloader import cli, fault_points as effects\n"
        "effects.install(lambda when, name: time.sleep(0.05 if when == 'before' else 0))\n"  # long enough for all
        "sys.stdin.read()\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", hold, "apply", str(path), *stage.where, "-o", "json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, cwd=ROOT, env=env, **pipe) for _ in range(16)]  # type: ignore[call-overload]
    for writer in writers:
        writer.stdin.close()
    codes = sorted(writer.wait(60) for writer in writers)
    said = [json.loads(writer.stdout.read()) for writer in writers]
    for writer in writers:
        writer.stdout.close()
        writer.stderr.close()
    assert codes == [0, *[75] * 15], said
    assert sum(one.get("error", {}).get("reason") == "locked-by" for one in said) == 15
    assert stage.standing().generation == 2
    stage.assert_counts()


def test_regress_a_link_with_that_ifindex_in_another_namespace_is_not_it(stage: Stage) -> None:
    """Our program, by netlink, at the other end of the wire; both ends may have the same index."""
    stage.apply(stage.spec())
    end, index = stage.sandbox.tx, ifindex(stage)
    there = stage.kernel.net.interface(end.interface, end.netns)
    name = end.interface if there and there.ifindex == index else "twin"
    if name == "twin":
        end.run("ip", "link", "add", "index", str(index), "name", name, "type", "dummy")
    end.run(
        "bpftool", "net", "attach", "xdpgeneric", "pinned", stage.paths.prog_pin("edge", 1, "count_flows"), "dev", name
    )
    attach = {"program": "count_flows", "type": "xdp", "interface": name, "netns": end.netns}
    other = stage.folder / "other.yaml"
    other.write_text(json.dumps(stage.document(stage.spec(attach=[attach]), "other")))
    refused = stage.run("plan", other)
    assert refused.code == 65
    assert "by netlink" in refused.error["detail"]


def test_regress_a_new_name_is_told_how(stage: Stage) -> None:
    """The same file under another name finds its own link in the way."""
    stage.apply(stage.spec())
    other = stage.folder / "other.yaml"
    other.write_text(json.dumps(stage.document(stage.spec(), "other")))
    assert "`reloader remove edge`, then apply" in stage.run("apply", other).error["hint"]
