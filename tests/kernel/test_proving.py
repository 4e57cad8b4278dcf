"""Tests in the YAML on the real kernel: what holds passes, what does not is told and never swapped in, and no live
map, interface or pin is touched. Each headline check is turned red by a sabotage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lab.stage import ROOT, Stage, wait_until
from lab.traffic import Generator, settle
from reloader.bpf import netns
from reloader.frozen import frozen
from reloader.packet_tests import run, shadow
from reloader.packet_tests.outcome import Outcome
from reloader.pipeline.tests.dissect import checksum_state, dissect
from reloader.pipeline.tests.packets import build
from tests.support import faults
from tests.unit.test_packets import classic, next_generation

pytestmark = pytest.mark.kernel

SOURCE = Path(__file__).parent / "bpf" / "proved.bpf.c"
FROM_ONE = {"udp": {"src": "192.0.2.1", "dport": 53}}
MAPS: dict[str, Any] = {
    "tallies": {"role": "state"},
    "totals": {"role": "state"},
    "recent": {"role": "state"},
    "events": {"role": "stream"},
    "policies": {"role": "config", "entries": [{"key": "203.0.113.0/24", "value": "XDP_DROP"}]},
    ".bss": {"role": "state"},
}


@pytest.fixture
def stage(stage: Stage, compile_bpf: Callable[[str | Path], Path], tmp_path: Path) -> Stage:
    shutil.copyfile(compile_bpf(SOURCE), tmp_path / "proved.bpf.o")
    return stage


def spec(stage: Stage, *tests: dict[str, Any], policies: list[Any] | None = None, **rodata: Any) -> dict[str, Any]:
    listed = MAPS["policies"]["entries"] if policies is None else policies
    return {
        "objects": ["proved.bpf.o"],
        "attach": [stage.attach("judge")],
        "rodata": rodata,
        "maps": {**MAPS, "policies": {"role": "config", "entries": listed}},
        "test": list(tests),
    }


def passes(**more: Any) -> dict[str, Any]:
    return {"name": "passes", "packet": FROM_ONE, "expect": {"verdict": "XDP_PASS"}, **more}


def tried(stage: Stage, *tests: dict[str, Any], code: int = 0, **rodata: Any) -> list[dict[str, Any]]:
    """The rows of `reloader test`."""
    done = stage.run("test", stage.write(spec(stage, *tests, **rodata)))
    assert done.code == code, done.out + done.err
    rows: list[dict[str, Any]] = done.document["pipelines"][0]["tests"]
    return rows


def refused(stage: Stage, wish: dict[str, Any]) -> Any:
    """The error of an apply whose tests fail; nothing may have moved."""
    before = stage.standing()
    done = stage.run("apply", stage.write(wish))
    assert done.code == 1, done.out + done.err
    assert done.error["code"] == "tests-failed"
    assert stage.standing() == before
    return done.error


# every kind of expectation, where it holds and where not


@frozen
class Expected:
    """An expectation for FROM_ONE, and what is said where it does not hold (empty: it holds)."""

    expect: dict[str, Any]
    says: str = ""
    packet: Any = None
    rodata: dict[str, Any] | None = None


def tally(key: str = "192.0.2.1", **value: Any) -> dict[str, Any]:
    return {"maps": {"tallies": [{"key": key, "value": value}]}}


HOP: dict[str, Any] = {"forward": 1}
HELD = [
    Expected(expect={"verdict": "XDP_PASS"}),
    Expected(expect={"verdict": 2}),
    Expected(expect={"verdict": "XDP_DROP"}, says="verdict XDP_PASS (2), expected XDP_DROP (1)"),
    Expected(expect={"verdict": 77}, says="verdict XDP_PASS (2), expected 77"),
    Expected(expect={"verdict": "XDP_DROP"}, packet={"udp": {"src": "203.0.113.7"}}),
    Expected(expect={"output": "same"}),
    Expected(expect={"output": "same"}, says="the packet was changed", rodata=HOP),
    Expected(expect={"output": {"ipv4": {"ttl": 63, "checksum": "right"}, "udp": {"dport": 53}}}, rodata=HOP),
    Expected(expect={"output": {"ipv4": {"ttl": 62}}}, says="output ipv4.ttl is 63, expected 62", rodata=HOP),
    Expected(expect={"output": {"tcp": {"dport": 53}}}, says="output tcp.dport is missing, expected 53"),
    Expected(expect={"output": {"udp": {"src": "192.0.2.1", "checksum": "right"}, "length": 42}}),
    Expected(expect={"output": {"eth": {"src": "02:00:00:00:00:02"}}}, says="is 02:00:00:00:00:01, expected 02:00"),
    Expected(expect={"output": {"hex": "0800 45", "at": 12}}),
    Expected(expect={"output": {"hex": "0800 4?", "at": 12}}),
    Expected(expect={"output": {"hex": "0801 45", "at": 12}}, says="- 000c  08 01 45\n    + 000c  08 00 45"),
    Expected(expect={"output": {"hex": "ff" * 42}}, says="output differs"),
    Expected(expect={"output": {"payload": "x"}}, says="payload differs (0 bytes, expected 1)"),
    Expected(expect=tally(packets=1, length=42, hops=64, mood="MOOD_CALM", last=42, mac="02:00:00:00:00:01")),
    Expected(expect=tally(packets="1..5", hops="..64", length="40..")),
    Expected(expect=tally(packets=2), says="map tallies, key 192.0.2.1: packets is 1, expected 2"),
    Expected(expect=tally(hops=63), says="hops is 64, expected 63"),
    Expected(expect=tally(hops="1..3"), says="hops is 64, expected 1..3"),
    Expected(expect=tally(mood="MOOD_BUSY"), says="mood is MOOD_CALM, expected MOOD_BUSY"),
    Expected(expect=tally(last="1..9"), says="last is 42, expected 1..9"),
    Expected(expect=tally(key="192.0.2.9", packets=1), says="map tallies, key 192.0.2.9: the entry is missing"),
    Expected(expect={"maps": {"tallies": [{"key": "192.0.2.9", "absent": True}]}}),
    Expected(expect={"maps": {"tallies": [{"key": "192.0.2.1", "absent": True}]}}, says="the entry exists"),
    Expected(expect={"maps": {"tallies": {"count": 1}, "recent": {"count": "..1"}, "policies": {"count": 1}}}),
    Expected(expect={"maps": {"tallies": {"count": "2.."}}}, says="map tallies: 1 entry, expected 2.."),
    Expected(expect={"maps": {"totals": [{"key": 0, "value": 1}, {"key": 1, "value": 0}]}}),
    Expected(expect={"maps": {"totals": [{"key": 0, "value": 2}]}}, says="the value is 1, expected 2"),
    Expected(expect={"maps": {".bss": [{"key": 0, "value": {"unsent": 0}}]}}),
    Expected(expect={"verdict": "XDP_PASS"}, packet={"hex": "02:00:00:00:00:02 020000000001 86dd 60"}),
    Expected(expect={"maps": {"totals": [{"key": 1, "value": 1}]}}, packet={"icmp": {"src": "2001:db8::1"}}),
    Expected(expect={"maps": {"totals": [{"key": 1, "value": 1}]}}, packet={"vlan": 7, "tcp": {}}),
    Expected(expect=tally(length=1400), packet={"tcp": {"src": "192.0.2.1", "flags": "ACK"}, "size": 1400}),
]


def test_every_kind_of_expectation(stage: Stage) -> None:
    """All of them in one file, with the constants each needs; those that hold pass, the others say what came."""
    rounds: tuple[dict[str, Any], ...] = ({}, HOP)
    for rodata in rounds:
        chosen = [e for e in HELD if (e.rodata or {}) == rodata]
        tests = [{"name": str(i), "packet": e.packet or FROM_ONE, "expect": e.expect} for i, e in enumerate(chosen)]
        done = stage.run("test", stage.write(spec(stage, *tests, **rodata)), json_too=False)
        document = stage.run("test", stage.file).document
        assert done.code == 1
        wrong = []
        for row, one in zip(document["pipelines"][0]["tests"], chosen, strict=True):
            told = "\n    ".join(row["said"])
            if (row["outcome"] == "failed") != bool(one.says) or one.says not in told:
                wrong.append(f"{one.expect}: {row['outcome']}: {told}")
            assert one.says in done.out
        assert not wrong, "\n".join(wrong)


def test_a_scenario_over_seeded_maps(stage: Stage) -> None:
    """Seeds lie under the first packet, steps build on each other, and the next test starts afresh."""
    tests = [
        {
            "name": "busy",
            "seed": {
                "tallies": [{"key": "192.0.2.1", "value": {"packets": 40, "mood": "MOOD_CALM"}}],
                "totals": [{"key": 0, "value": 100}],
                "policies": [{"key": "192.0.2.8/32", "value": "XDP_TX"}],
            },
            "steps": [
                {"expect": tally(packets=40)},
                {"packet": FROM_ONE, "repeat": 2, "expect": tally(packets=42, mood="MOOD_BUSY")},
                {"packet": {"udp": {"src": "192.0.2.8"}}, "expect": {"verdict": "XDP_TX"}},
                {
                    "seed": {"policies": [{"key": "192.0.2.8/32", "value": "XDP_DROP"}]},
                    "packet": {"udp": {"src": "192.0.2.8"}},
                    "expect": {"verdict": "XDP_DROP", "maps": {"totals": [{"key": 0, "value": 104}]}},
                },
            ],
        },
        passes(expect={**tally(packets=1), "verdict": "XDP_PASS"}),
        {"name": "the seed is gone", "packet": {"udp": {"src": "192.0.2.8"}}, "expect": {"verdict": "XDP_PASS"}},
    ]
    assert [row["outcome"] for row in tried(stage, *tests)] == ["passed"] * 3
    tests[0]["steps"][1]["expect"] = tally(packets=43)
    failed = tried(stage, *tests, code=1)[0]
    assert failed["said"] == ["step 2: map tallies, key 192.0.2.1: packets is 42, expected 43"]
    line = next(i for i, text in enumerate(stage.file.read_text().splitlines(), 1) if "packets: 43" in text)
    place = int(failed["place"].split(":")[1])
    assert line - 6 <= place <= line, "the place is that of the step's expectation"


def test_frames_of_a_capture(stage: Stage) -> None:
    captured = [build({"udp": {"src": f"192.0.2.{n}"}}) for n in (1, 2, 203)]
    dropped = build({"udp": {"src": "203.0.113.5"}})
    (stage.folder / "some.pcap").write_bytes(classic(*captured, dropped))
    (stage.folder / "some.pcapng").write_bytes(next_generation(*captured, dropped))
    for name in ("some.pcap", "some.pcapng"):
        good = {"packet": {"pcap": name, "frames": "1-3"}, "expect": {"verdict": "XDP_PASS"}}
        last = {"packet": {"pcap": name, "frames": [4]}, "expect": {"verdict": "XDP_DROP"}}
        every = {"packet": {"pcap": name}, "expect": {"verdict": "XDP_PASS"}}
        rows = tried(stage, good, last, every, code=1)
        assert [row["outcome"] for row in rows] == ["passed", "passed", "failed"]
        assert rows[2]["said"] == ["packet 4 of 4: verdict XDP_DROP (1), expected XDP_PASS (2)"]


def full_ring() -> list[dict[str, Any]]:
    """Two tests, each of which nearly fills the ring buffer: 4096 bytes, 16 an event."""
    held = {"maps": {".bss": [{"key": 0, "value": {"unsent": 0}}]}}
    return [passes(name=n, repeat=200, expect={"verdict": "XDP_PASS", **held}) for n in ("one", "another")]


def test_ring_buffers_start_empty_in_each_test(stage: Stage) -> None:
    assert [row["outcome"] for row in tried(stage, *full_ring())] == ["passed", "passed"]


def test_sabotage_without_emptying_the_ring_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "discard maps", lambda *_: None)
    assert [row["outcome"] for row in tried(stage, *full_ring(), code=1)] == ["passed", "failed"]


# the command alone


def test_the_command_touches_nothing(stage: Stage) -> None:
    """No bpffs, no records, no interface: an attachment to one that does not exist is no hindrance."""
    wish = spec(stage, passes())
    wish["attach"] = [{"program": "judge", "type": "xdp", "interface": "nosuch0"}]
    stage.write(wish)
    nowhere = stage.folder / "nowhere"
    done = stage.run("test", stage.file, "--bpffs", str(nowhere), "--records", str(nowhere), where=False)
    assert done.code == 0, done.err
    assert not nowhere.exists()
    assert stage.sandbox.pins() == []
    assert done.document["pipelines"][0]["against"] == 0


def test_the_table_and_junit(stage: Stage) -> None:
    report = stage.folder / "report.xml"
    tests = [passes(), passes(name="drops & <more>", expect={"verdict": "XDP_DROP"}), passes(name="cheap")]
    tests[2] |= {"budget": {"ns_max_vs_active": 1.1}}
    del tests[2]["expect"]
    done = stage.run("test", stage.write(spec(stage, *tests)), "--junit", report, json_too=False)
    assert done.code == 1
    rows = [line.split("  ")[0] for line in done.out.splitlines()]
    assert rows[:4] == ["TEST", "edge: passes", "edge: drops & <more>", "edge: cheap"]
    assert "budget skipped: the pipeline does not have a running version" in done.out
    suite = ElementTree.parse(report).getroot()[0]
    assert {k: suite.attrib[k] for k in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "edge", "tests": "3", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    cases = [(c.attrib["name"], [child.tag for child in c]) for c in suite]
    assert cases == [("passes", []), ("drops & <more>", ["failure"]), ("cheap", ["skipped"])]
    failure = suite[1][0]
    assert failure.attrib["message"] == "verdict XDP_PASS (2), expected XDP_DROP (1)"
    assert str(stage.file) in (failure.text or "")


def test_what_others_could_change_is_not_even_loaded(stage: Stage) -> None:
    stage.write(spec(stage, passes()))
    (stage.folder / "proved.bpf.o").chmod(0o666)
    done = stage.run("test", stage.file)
    assert done.code == 77
    assert "proved.bpf.o" in done.error["detail"]


QUEUE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2);
	__type(value, __u32);
} waiting SEC(".maps");
SEC("xdp") int judge(struct xdp_md *ctx)
{
	__u32 one = 1;

	return bpf_map_push_elem(&waiting, &one, 0) ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_maps_that_cannot_be_emptied_are_made_anew(stage: Stage, compile_bpf: Callable[[str | Path], Path]) -> None:
    """A queue of two: each test may push twice, and the third time is refused."""
    shutil.copyfile(compile_bpf(QUEUE), stage.folder / "proved.bpf.o")
    third = {
        "name": "third",
        "steps": [
            {"packet": FROM_ONE, "repeat": 2, "expect": {"verdict": "XDP_PASS"}},
            {"packet": FROM_ONE, "expect": {"verdict": "XDP_DROP"}},
        ],
    }
    wish = spec(stage, passes(repeat=2), third, passes(repeat=2))
    wish["maps"] = {"waiting": {"role": "scratch"}}
    assert stage.run("test", stage.write(wish), json_too=False).code == 0


def test_a_version_the_verifier_refuses(stage: Stage) -> None:
    wish = {**stage.spec("broken"), "test": [passes()]}
    done = stage.run("test", stage.write(wish))
    assert done.code == 1
    assert done.error["code"] == "verifier-rejected"


# before the swap


def test_a_wrong_version_is_caught_before_any_packet_sees_it(stage: Stage) -> None:
    """Under traffic: a version that drops all never reaches the hook, and the message says what it did."""
    expectation = passes(name="DNS passes")
    stage.apply(spec(stage, expectation))
    serving = stage.attached()
    with served_by(stage, serving) as shares:
        error = refused(stage, spec(stage, expectation, otherwise="XDP_DROP"))
    assert shares == [0], "packets met another program"
    assert error["tests"][0]["outcome"] == "failed"
    assert stage.attached() == serving
    assert "1 of 1 test failed; nothing was swapped; generation 1 is live" in error["message"]
    line = next(i for i, text in enumerate(stage.file.read_text().splitlines(), 1) if "verdict: XDP_PASS" in text)
    assert f"{stage.file}:{line}:" in error["detail"]
    assert "test DNS passes: verdict XDP_DROP (1), expected XDP_PASS (2)" in error["detail"]
    assert "nosuch" not in error["hint"]


def test_sabotage_without_the_test_phase_the_wrong_version_serves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply(spec(stage, passes()))
    serving = stage.attached()
    faults.inject(monkeypatch, "prove", lambda *_: None)
    with served_by(stage, serving) as shares:
        assert stage.run("apply", stage.write(spec(stage, passes(), otherwise="XDP_DROP"))).code == 0
        wait_until(lambda: False, 0.2)
    assert stage.attached() != serving
    assert shares[0] > 0, "the check cannot tell"


@contextlib.contextmanager
def served_by(stage: Stage, program: int) -> Iterator[list[int]]:
    """Traffic for the time of the block; then one number: packets that this program did not run on."""
    shares: list[int] = []
    with stage.kernel.progs.count_runs(), stage.kernel.progs.by_id(program) as fd:
        ran = stage.kernel.progs.info(fd).run_cnt
        with Generator(stage.sandbox.tx, flows=100) as generator:
            generator.start()
            yield shares
            generator.stop()
            shares.append(settle(generator, lambda: stage.kernel.progs.info(fd).run_cnt - ran).lost)


WRITES = passes(
    seed={"tallies": [{"key": "192.0.2.1", "value": {"packets": 1000}}], "totals": [{"key": 0, "value": 9}]},
    repeat=50,
    expect={"maps": {"tallies": [{"key": "192.0.2.1", "value": {"packets": 1050}}]}},
)


def contents(stage: Stage) -> dict[str, dict[bytes, bytes]]:
    return {name: stage.items(name) for name in ("tallies", "totals", "recent", "policies", ".bss")}


def serving_with_state(stage: Stage) -> dict[str, dict[bytes, bytes]]:
    stage.apply(spec(stage))
    stage.send(20)
    before = contents(stage)
    assert any(before["tallies"])
    return before


@pytest.mark.parametrize("change", [{"spin": 1}, {"policies": []}], ids=["new load", "entries only"])
def test_live_state_is_untouched_by_a_test_that_writes(stage: Stage, change: dict[str, Any]) -> None:
    before = serving_with_state(stage)
    wrong = {**WRITES, "expect": {"verdict": "XDP_TX"}}
    refused(stage, spec(stage, wrong, **change))
    assert contents(stage) == before
    stage.apply(spec(stage, WRITES, **change))
    after = contents(stage)
    assert {**after, "policies": {}} == {**before, "policies": {}}


def test_sabotage_a_shadow_on_live_maps_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = serving_with_state(stage)
    plain = shadow.request_of

    def shared(*given: Any) -> Any:
        return replace(plain(*given), reuse={"tallies": live})

    faults.inject(monkeypatch, "shadow request", shared)
    with stage.pub("tallies") as live:
        stage.apply(spec(stage, WRITES, spin=1))
    assert contents(stage) != before


def test_entries_alone_are_tested_before_they_are_written(stage: Stage) -> None:
    stage.apply(spec(stage, passes()))
    program, load = stage.attached(), stage.map_id("policies")
    blocked = [{"key": "192.0.2.0/24", "value": "XDP_DROP"}]
    before = stage.items("policies")
    refused(stage, spec(stage, passes(), policies=blocked))
    assert stage.items("policies") == before
    result = stage.apply(spec(stage, passes(), policies=[{"key": "198.51.100.0/24", "value": "XDP_DROP"}]))
    assert [row["outcome"] for row in result["tests"]] == ["passed"]
    assert (stage.attached(), stage.map_id("policies")) == (program, load)
    assert stage.items("policies") != before


def test_a_changed_test_alone_is_recorded_without_a_load(stage: Stage) -> None:
    stage.apply(spec(stage, passes()))
    program = stage.attached()
    plan = stage.call("plan", stage.write(spec(stage, passes(name="renamed"))))["pipelines"][0]
    assert plan["changes"]
    assert plan["load"] == 1
    assert plan["why"] == "tests changed"
    assert [line["kind"] for line in plan["lines"] if line["sign"]] == []
    assert stage.apply(spec(stage, passes(name="renamed")))["generation"] == 2
    assert stage.attached() == program
    assert stage.apply(spec(stage, passes(name="renamed")))["changed"] is False
    text = stage.file.read_text()
    stage.file.write_text(f"# a line more moves every place\n{text}")
    assert stage.call("apply", stage.file)["pipelines"][0]["changed"] is False
    refused(stage, spec(stage, passes(name="wrong", expect={"verdict": "XDP_TX"})))


# budgets


def costs(**budget: float) -> dict[str, Any]:
    return {"name": "cheap", "packet": FROM_ONE, "budget": budget}


def test_ten_times_slower_is_caught(stage: Stage) -> None:
    budget = costs(ns_max_vs_active=2)
    first = stage.apply(spec(stage, budget))
    assert first["tests"][0]["outcome"] == "skipped"
    assert first["tests"][0]["said"] == ["budget skipped: no version is active"]
    error = refused(stage, spec(stage, budget, spin=500))
    assert "in the active version: " in error["detail"]
    assert "at most 2 allowed" in error["detail"]
    assert stage.apply(spec(stage, budget, spin=1))["tests"][0]["outcome"] == "passed"


def test_more_instructions_are_caught(stage: Stage) -> None:
    stage.apply(spec(stage, costs(insns_max_vs_active=1.2)))
    error = refused(stage, spec(stage, costs(insns_max_vs_active=1.2), spin=500))
    assert "verified instructions, " in error["detail"]
    done = stage.run("test", stage.write(spec(stage, costs(insns_max_vs_active=1.2))))
    assert done.document["pipelines"][0]["against"] == 1
    assert done.code == 0, done.out


# ways back


def test_a_rollback_runs_its_own_tests_but_no_budget(stage: Stage) -> None:
    slow = spec(stage, passes(), costs(ns_max_vs_active=1.5), spin=500)
    stage.apply(slow)
    stage.apply(spec(stage, passes(), costs(ns_max_vs_active=1.5)))
    for path in (stage.file, stage.folder / "proved.bpf.o"):
        path.unlink()
    result = stage.call("rollback", "edge")["pipelines"][0]
    assert [row["outcome"] for row in result["tests"]] == ["passed", "skipped"]
    assert "an earlier version is not measured" in result["tests"][1]["said"][0]


def test_a_rollback_that_fails_its_tests_is_refused_unless_they_are_skipped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel where the old version does something else: here a shadow with another constant."""
    stage.apply(spec(stage, passes()))
    stage.apply(spec(stage, passes(), spin=1))
    plain = shadow.request_of

    def otherwise(*given: Any) -> Any:
        return replace(plain(*given), rodata={"otherwise": (1).to_bytes(4, "little")})

    faults.inject(monkeypatch, "shadow request", otherwise)
    before = stage.standing()
    done = stage.run("rollback", "edge")
    assert (done.code, done.error["code"]) == (1, "tests-failed")
    assert done.error["tests"][0]["outcome"] == "failed"
    assert stage.standing() == before
    assert stage.call("rollback", "edge", "--skip-tests")["pipelines"][0]["generation"] == 3


def test_what_a_generation_had_to_pass_is_shown(stage: Stage) -> None:
    stage.apply(spec(stage, passes()))
    stage.apply(spec(stage, passes(), passes(name="more")))
    assert stage.call("show", "edge")["tests"] == 2
    assert stage.call("diff", "edge", "1", "2")["lines"] == ["~ tests: 1 → 2"]


def test_killed_in_the_middle_of_a_test_nothing_is_left(stage: Stage) -> None:
    """A test of millions of packets, cut short by SIGKILL; `recover` finds the old version as it was."""
    stage.apply(spec(stage, passes()))
    before = stage.standing()
    endless = [passes(name=str(i), repeat=100_000) for i in range(50)]
    words = [sys.executable, "-m", "reloader", "apply", str(stage.write(spec(stage, *endless, spin=2))), *stage.where]
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    journal = stage.paths.journal_file("edge", "").parent
    while not list(journal.glob("*.jsonl")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert stage.attached() == before.attached
    assert "rolled back" in stage.call("recover")["recovered"][0]
    assert stage.standing() == before


def test_results_are_told_apart() -> None:
    """Sabotage: a failure among many is never lost."""
    one = run.Result(name="a", program="p", outcome=Outcome.PASSED, place="f:1:1", seconds=0.0)
    other = run.Result(name="b", program="p", outcome=Outcome.FAILED, place="f:2:1", seconds=0.0, said=("no", "more"))
    assert run.failures([one]) is None
    failed = run.failures([one, other])
    assert failed is not None
    assert [row["name"] for row in failed.tests] == ["a", "b"]
    assert failed.message == "1 of 2 tests failed"
    assert failed.detail == "f:2:1: test b: no\n    more"


def test_configuration_by_a_new_map_is_tested_before_the_flip(stage: Stage, objects: Callable[[str], Path]) -> None:
    """Entries of two maps that agree on a stamp; a listing in which they do not never gets to the flip."""
    stage.put(objects("lab/bpf/config_pair"), "pair.bpf.o")

    def pair(stamp: int, other: int) -> dict[str, Any]:
        alike = {"maps": {"seen": [{"key": 0, "value": {"packets": 1, "mismatch": 0, "missing": 0}}]}}
        return {
            "objects": ["pair.bpf.o"],
            "rodata": {"first_key": "10.0.0.1", "last_key": "10.0.0.1"},
            "attach": [stage.attach("watch")],
            "maps": {
                "rules": {
                    "role": "config", "keep": ["hits"], "max_entries": 4096, "together_with": ["classes"],
                    "entries": [{"key": "10.0.0.1", "value": {"stamp": stamp}}],
                },
                "classes": {"role": "config", "keep": ["hits"], "entries": [{"key": 1, "value": {"stamp": other}}]},
                "seen": {"role": "state"},
            },
            "test": [{"name": "alike", "packet": FROM_ONE, "expect": alike}],
        }  # fmt: skip

    stage.apply(pair(1, 1))
    before = stage.items("rules"), stage.items("classes"), stage.map_id("rules")
    error = refused(stage, pair(2, 3))
    assert "mismatch is 1, expected 0" in error["detail"]
    assert (stage.items("rules"), stage.items("classes"), stage.map_id("rules")) == before
    result = stage.apply(pair(2, 2))
    assert "a new map" in result["why"]
    assert stage.map_id("rules") != before[2]


def test_programs_of_another_hook_have_its_verdicts(stage: Stage, objects: Callable[[str], Path]) -> None:
    """XDP and traffic control in one pipeline, the gate between them included."""
    stage.put(objects("lab/bpf/gate_pair"), "pair.bpf.o")
    rx = stage.sandbox.rx
    place = {"interface": rx.interface, "netns": rx.netns}
    pairs = {"pairs": [{"key": 0, "value": {"left": 2, "mixed": 2}}]}
    tests: list[dict[str, Any]] = [
        {
            "program": "enter", "packet": FROM_ONE,
            "expect": {"verdict": "XDP_PASS", "output": {"eth": {"src": "02:00:00:00:00:07"}}},
        },
        {
            "program": "leave", "packet": FROM_ONE, "repeat": 2,
            "expect": {"verdict": "TC_ACT_SHOT", "output": "same", "maps": pairs},
        },
        {"program": "leave", "packet": {"eth": {"src": "02:00:00:00:00:07"}, "tcp": {}}, "expect": {"verdict": 0}},
        {"program": "leave", "packet": FROM_ONE, "budget": {"ns_max_vs_active": 5}},
    ]  # fmt: skip
    wish = {
        "objects": ["pair.bpf.o"],
        "rodata": {"version": 7},
        "gate": True,
        "attach": [{"program": "enter", "type": "xdp", **place}, {"program": "leave", "type": "tcx", **place}],
        "maps": {"pairs": {"role": "state"}},
        "test": tests,
    }
    done = stage.run("test", stage.write(wish))
    rows = done.document["pipelines"][0]["tests"]
    assert [row["outcome"] for row in rows] == ["passed", "passed", "failed", "skipped"]
    assert rows[2]["said"] == ["verdict TCX_DROP (2), expected TCX_PASS (0)"]
    checks: list[dict[str, Any]] = [*tests[:2], tests[3]]
    stage.apply({**wish, "test": checks})
    again = stage.apply({**wish, "rodata": {"version": 8}, "test": checks[1:]})["tests"]
    assert [row["outcome"] for row in again] == ["passed", "passed"]


def test_an_external_map_is_left_alone(stage: Stage) -> None:
    """A test that counts in a map of somebody else's counts in a copy of its shape."""
    stage.apply(spec(stage))
    stage.send(5)
    theirs = stage.paths.pub_pin("edge", "tallies")
    before = stage.items("tallies")
    other = {**spec(stage, WRITES), "attach": [{"program": "judge", "type": "xdp", "interface": "nosuch0"}]}
    other["maps"] = {**MAPS, "tallies": {"role": "external", "pin": theirs}}
    assert stage.run("test", stage.write(other)).code == 0
    assert stage.items("tallies") == before


# the packets themselves


def test_a_real_stack_takes_our_packets(stage: Stage) -> None:
    """UDP, TCP and ICMP as tests describe them, sent for real: the kernel checks every checksum, and answers."""
    rx, tx = stage.sandbox.rx, stage.sandbox.tx
    ends = {"src": tx.address, "dst": rx.address}
    frame = {"eth": {"src": tx.mac, "dst": rx.mac}}

    def listening() -> int:
        heard = socket.socket(type=socket.SOCK_DGRAM)
        heard.bind((rx.address, 4242))
        return heard.detach()

    with socket.socket(fileno=netns.inside(rx.netns, listening)) as heard, raw(stage) as wire:
        heard.settimeout(5)
        for wrong in ({"checksum": 0x1234}, {"length": 7}):  # these must not arrive; the next one does
            wire.send(build({**frame, "udp": {**ends, "dport": 4242, "payload": "bad", **wrong}}))
        wire.send(build({**frame, "ipv4": {"checksum": 1}, "udp": {**ends, "dport": 4242, "payload": "bad"}}))
        wire.send(build({**frame, "udp": {**ends, "dport": 4242, "payload": "hello"}, "size": 100}))
        assert heard.recv(200).rstrip(b"\0") == b"hello"
        wire.send(build({**frame, "icmp": {**ends, "id": 77, "payload": "ping"}}))
        wire.send(build({**frame, "tcp": {**ends, "dport": 4243, "flags": "SYN", "seq": 7}}))
        answers = [heard_back(wire, "icmp.id", 77, rx.mac), heard_back(wire, "tcp.sport", 4243, rx.mac)]
    assert dissect(answers[0])["icmp.type"] == 0
    assert dissect(answers[0])["payload"] == b"ping"
    assert dissect(answers[1])["tcp.ack"] == 8
    assert [checksum_state(answers[0], layer) for layer in ("ipv4", "icmp")] == ["right", "right"]


@contextlib.contextmanager
def raw(stage: Stage) -> Iterator[socket.socket]:
    """All frames of the sending end; what it sends itself included."""
    tx = stage.sandbox.tx
    fd = netns.inside(tx.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).detach())
    with socket.socket(fileno=fd) as wire:
        wire.bind((tx.interface, 3))
        wire.settimeout(5)
        yield wire


def heard_back(wire: socket.socket, field: str, value: int, mac: str) -> bytes:
    """The next frame from the other end with that field."""
    while True:
        data = wire.recv(2000)
        found = dissect(data)
        if found.get(field) == value and found["eth.src"] == bytes.fromhex(mac.replace(":", "")):
            return data
