"""Configuration that changes as a whole: by a new map and one store, under packets that count every mixture.

The subject is lab/bpf/config_pair.bpf.c: it reads two entries of one map and one of another, which all carry the
same stamp. Hit counters in the entries are the programs' own and must survive whichever way a change goes.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Stage, wait_until
from lab.traffic import Generator, settle
from reloader.bpf import syscall
from reloader.bpf.live import LiveKernel
from reloader.engine import config_ops as written
from reloader.plan import ops
from reloader.plan.config import map_exchange
from reloader.plan.ops import Op
from tests.support import faults

pytestmark = pytest.mark.kernel

RULES = 64
SEEN = struct.Struct("=6Q")  # struct seen
RULE = struct.Struct("=2IQ")  # struct rule
CLASS = struct.Struct("=2Q")  # struct class


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """struct seen, without the times."""

    packets: int
    mixed: int
    mismatch: int
    missing: int


@pytest.fixture
def stage(stage: Stage, objects: Callable[[str], Path]) -> Stage:
    stage.put(objects("lab/bpf/config_pair"), "pair.bpf.o")
    return stage


def address(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}"


def key(number: int) -> bytes:
    return bytes([10, 0, number >> 8, number & 255])


def spec(stage: Stage, stamp: int, *, rules: int = RULES, tied: bool = True, **how: Any) -> dict[str, Any]:
    """All entries with one stamp. `how`: more of the rules' declaration, and of `rodata`."""
    entries = [{"key": address(n), "value": {"stamp": stamp}} for n in range(rules)]
    rodata = {"first_key": address(0), "last_key": address(rules - 1), **how.pop("rodata", {})}
    classes = {"role": "config", "keep": ["hits"], "entries": [{"key": 1, "value": {"stamp": stamp}}]}
    if tied:
        classes["together_with"] = ["rules"]
    return {
        "objects": ["pair.bpf.o"],
        "rodata": rodata,
        "attach": [stage.attach("watch")],
        "maps": {
            "rules": {"role": "config", "keep": ["hits"], "entries": entries, "max_entries": 4096, **how},
            "classes": classes,
            "seen": {"role": "state"},
        },
    }  # fmt: skip


def sight(stage: Stage) -> Sight:
    packets, mixed, mismatch, missing, _, _ = SEEN.unpack(stage.items("seen")[bytes(4)])
    return Sight(packets=packets, mixed=mixed, mismatch=mismatch, missing=missing)


def hits(stage: Stage, number: int = 0) -> int:
    return int(RULE.unpack(stage.items("rules")[key(number)])[2])


def class_hits(stage: Stage) -> int:
    return int(CLASS.unpack(stage.items("classes")[(1).to_bytes(4, "little")])[0])


def stamps(stage: Stage) -> set[int]:
    return {RULE.unpack(value)[0] for value in stage.items("rules").values()}


def plan_line(stage: Stage, wanted: dict[str, Any], name: str) -> dict[str, Any]:
    made = stage.call("plan", stage.write(wanted))["pipelines"][0]
    found: dict[str, Any] = next(line for line in made["lines"] if line["kind"] == "map" and line["name"] == name)
    return {**found, "why": made["why"]}


def change_under_traffic(stage: Stage, wishes: list[dict[str, Any]]) -> Sight:
    """Apply each wish while packets come as fast as they can; what they saw, once all have been counted."""
    with Generator(stage.sandbox.tx, flows=4) as generator:
        before = sight(stage).packets
        generator.start()
        for wish in wishes:
            stage.apply(wish)
        generator.stop()
        balance = settle(generator, lambda: sight(stage).packets - before)
    assert balance.seen > 1000, "hardly any packet came by"
    assert balance.lost == 0
    return sight(stage)


def test_a_flip_changes_two_maps_at_one_packet_and_loses_no_count(stage: Stage) -> None:
    load = stage.apply(spec(stage, 1))["generation"]
    program, inner = stage.attached(), stage.map_id("rules")
    after = change_under_traffic(stage, [spec(stage, n) for n in range(2, 12)])
    assert stage.attached() == program, "no program was loaded"
    assert stage.map_id("rules") != inner
    assert stamps(stage) == {11}
    assert (after.mixed, after.mismatch, after.missing) == (0, 0, 0)
    assert hits(stage) == after.packets, "each packet was counted in an entry once"
    assert class_hits(stage) == after.packets
    assert stage.call("status", "edge")["pipelines"][0]["generation"] == load + 10
    assert not stage.apply(spec(stage, 11))["changed"]


def test_sabotage_a_side_asked_for_twice_is_seen(stage: Stage) -> None:
    """An author who does not latch the side, and takes long: the same counters must show it."""
    loose = {"latched": 0, "pause": 2000}
    stage.apply(spec(stage, 1, rodata=loose))
    for n in range(2, 60, 5):
        after = change_under_traffic(stage, [spec(stage, s, rodata=loose) for s in range(n, n + 5)])
        if after.mismatch:
            return
    pytest.fail("60 flips below packets that ask for the side again, and no mixture was seen")


def test_sabotage_a_flip_before_the_maps_are_in_place_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ops exchanged: the side first, then what lies on it."""
    real = map_exchange.before_commit

    def exchanged(*words: Any) -> list[Op]:
        made = real(*words)
        flip = next(op for op in made if isinstance(op, ops.FlipSide))
        rest = [op for op in made if op is not flip]
        first = next(i for i, op in enumerate(rest) if isinstance(op, ops.PutSlot))
        return [*rest[:first], flip, *rest[first:]]

    stage.apply(spec(stage, 1))
    stage.apply(spec(stage, 2))
    faults.inject(monkeypatch, "flips before the commit", exchanged)
    for start in range(3, 30, 3):
        if change_under_traffic(stage, [spec(stage, n) for n in range(start, start + 3)]).mismatch:
            return
    pytest.fail("the side was flipped before its maps were there, and no mixture was seen")


@pytest.mark.parametrize("waits", [True, False])
def test_a_flip_waits_for_packets_on_the_old_side(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    """A packet that takes long is on its way when the side flips; the sabotage leaves the barrier out."""
    stage.apply(spec(stage, 1, rodata={"pause": 1 << 23}))
    real, after = written.flip_side, list[bool]()

    def flip(bench: Any, op: ops.FlipSide) -> None:
        with stage.kernel.pins.get(stage.paths.prog_pin("edge", 1, "watch")) as program:
            before = sight(stage).packets
            slow = threading.Thread(target=syscall.prog_test_run, args=(program.fileno(),), kwargs={"data": bytes(64)})
            slow.start()
            wait_until(lambda: sight(stage).packets > before, 5.0)
            real(bench, op)
            after.append(class_hits(stage) == sight(stage).packets)  # counted behind the pause
            slow.join()

    faults.inject(monkeypatch, "flip a side", flip)
    if not waits:
        faults.no_barrier(monkeypatch)
    for stamp in range(2, 5 if waits else 20):
        stage.apply(spec(stage, stamp, rodata={"pause": 1 << 23}))
        if not waits and not all(after):
            return
    assert waits, "nobody waited, and no packet was left behind"
    assert all(after), "a packet was still on the side that was left"


def test_entries_in_place_lose_no_count(stage: Stage) -> None:
    one: dict[str, Any] = {"tied": False, "apply": "entries"}
    stage.apply(spec(stage, 1, **one))
    inner = stage.map_id("rules")
    after = change_under_traffic(stage, [spec(stage, n, **one) for n in range(2, 12)])
    assert stage.map_id("rules") == inner
    assert stamps(stage) == {11}
    assert after.missing == 0
    assert hits(stage) == after.packets


def test_a_new_load_loses_no_count(stage: Stage) -> None:
    one: dict[str, Any] = {"tied": False, "apply": "program"}
    stage.apply(spec(stage, 1, **one))
    after = change_under_traffic(stage, [spec(stage, n, **one) for n in range(2, 8)])
    assert stamps(stage) == {7}
    assert (after.mixed, after.missing) == (0, 0)
    assert hits(stage) == after.packets


def test_sabotage_entries_written_whole_lose_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    one: dict[str, Any] = {"tied": False, "apply": "entries"}
    stage.apply(spec(stage, 1, **one))

    def whole(kernel: LiveKernel, fd: Any, _: Any, put: dict[bytes, bytes]) -> None:
        kernel.maps.update_many(fd, list(put), list(put.values()))

    faults.inject(monkeypatch, "put config", whole)
    for n in range(2, 20, 2):
        after = change_under_traffic(stage, [spec(stage, n, **one), spec(stage, n + 1, **one)])
        if hits(stage) < after.packets:
            return
    pytest.fail("counters were written over under traffic, and no count was lost")


def test_auto_goes_by_size_and_says_why(stage: Stage) -> None:
    stage.apply(spec(stage, 1, tied=False))
    few = spec(stage, 1, tied=False)
    few["maps"]["rules"]["entries"][3]["value"]["weight"] = 9
    line = plan_line(stage, few, "rules")
    assert line["action"] == "entries: 0 added, 1 changed, 0 deleted"
    assert line["why"] == "entries of rules changed; written in place, because only 1 of 64 entries change"
    line = plan_line(stage, spec(stage, 2, tied=False), "rules")
    assert line["action"] == "map: 0 added, 64 changed, 0 deleted"
    assert "entries of rules changed; a new map, because 64 of 64 entries change" in line["why"]
    tied = plan_line(stage, spec(stage, 2), "rules")
    assert "a new map, because it is tied to classes" in tied["why"]
    program = plan_line(stage, spec(stage, 2, tied=False, apply="program"), "rules")
    assert program["why"] == "entries of rules changed; a new load, because its YAML says apply: program"


def test_entries_that_go_take_their_counts_and_others_keep_them(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    stage.send(10)
    stage.apply(spec(stage, 2, rules=RULES))
    assert hits(stage) == 10
    wish = spec(stage, 3)
    del wish["maps"]["rules"]["entries"][5:40]
    stage.apply(wish)
    assert len(stage.items("rules")) == RULES - 35
    assert hits(stage) == 10
    with stage.pub("rules") as fd:
        assert not stage.kernel.maps.frozen(fd)


def test_a_rollback_flips_back_and_keeps_counting(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    stage.apply(spec(stage, 2))
    stage.send(7)
    program = stage.attached()
    stage.call("rollback", "edge")
    assert stamps(stage) == {1}
    assert hits(stage) == 7
    assert stage.attached() == program
    stage.apply(spec(stage, 9, rodata={"pause": 1}))  # a new load, and then flips in it
    stage.apply(spec(stage, 10, rodata={"pause": 1}))
    assert stamps(stage) == {10}
    assert hits(stage) == 7


def test_a_map_that_is_retired_refuses_writes(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    with stage.pub("rules") as old:
        stage.apply(spec(stage, 2))
        assert stage.kernel.maps.frozen(old)
    fresh = [p.rpartition("/")[2] for p in stage.sandbox.pins() if "@2" in p]
    assert fresh == ["classes@2", "rules@2"]


def test_lost_sides_make_a_new_load(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    stage.kernel.pins.unpin(stage.paths.map_pin("edge", 1, "rl_side"))
    done = stage.apply(spec(stage, 2))
    assert done["changed"]
    assert stage.apply(spec(stage, 3))["changed"]
    assert stamps(stage) == {3}


@pytest.mark.parametrize("failing", ["put a slot", "flip a side", "carry"])
def test_a_failure_takes_everything_back(stage: Stage, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    stage.apply(spec(stage, 1))
    stage.send(5)
    before = (stage.map_id("rules"), stage.sandbox.pins())
    real, struck = faults.real(failing), list[str]()

    def fails(*words: Any) -> None:
        real(*words)
        if not struck and (failing != "carry" or type(words[1]).__name__ == "Drain"):
            struck.append(failing)
            raise OSError(5, "injected")

    faults.inject(monkeypatch, failing, fails)
    done = stage.run("apply", stage.write(spec(stage, 2)))
    assert done.code == (1 if failing == "put a slot" else 3), done.err
    assert (stage.map_id("rules"), stage.sandbox.pins()) == before
    assert stamps(stage) == {1}
    stage.send(5)
    assert hits(stage) == 10
    stage.apply(spec(stage, 3))
    assert (stamps(stage), hits(stage)) == ({3}, 10)


PREFIXES = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct prefix { __u32 length; __be32 address; };
struct route { __u32 weight; __u32 hits; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 64);
__type(key, struct prefix); __type(value, struct route); } routes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8);
__type(key, __u32); __type(value, struct route); } slots SEC(".maps");
SEC("xdp") int match(struct xdp_md *ctx)
{
    struct prefix key = {.length = 32, .address = 0x0700000a}; /* 10.0.0.7 */
    struct route *route = bpf_map_lookup_elem(&routes, &key), *slot;
    __u32 third = 3;

    slot = bpf_map_lookup_elem(&slots, &third);
    if (route)
        __sync_fetch_and_add(&route->hits, 1);
    if (slot)
        __sync_fetch_and_add(&slot->hits, 1);
    return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("way", ["entries", "program"])
def test_counters_of_prefixes_and_slots_stay_with_them(
    stage: Stage, compile_bpf: Callable[[str], Path], way: str
) -> None:
    """A shorter prefix covers a longer one, and what one counted must never be added to the other."""
    stage.put(compile_bpf(PREFIXES), "prefixes.bpf.o")

    def as_key(prefix: str) -> dict[str, Any]:
        start, _, length = prefix.partition("/")
        return {"length": int(length), "address": start}

    def wish(weight: int, *prefixes: str) -> dict[str, Any]:
        routes = [{"key": as_key(p), "value": {"weight": weight}} for p in prefixes]
        slots = [{"key": n, "value": {"weight": weight}} for n in (1, 3)]
        role = {"role": "config", "apply": way, "keep": ["hits"]}
        return {
            "objects": ["prefixes.bpf.o"],
            "attach": [stage.attach("match")],
            "maps": {"routes": {**role, "entries": routes}, "slots": {**role, "entries": slots}},
        }

    def counted(name: str) -> dict[bytes, tuple[int, ...]]:
        return {k: struct.unpack("=2I", v) for k, v in stage.items(name).items() if any(v)}

    wide, narrow = (8).to_bytes(4, "little") + bytes([10, 0, 0, 0]), (24).to_bytes(4, "little") + bytes([10, 0, 0, 0])
    stage.apply(wish(1, "10.0.0.0/8", "10.0.0.0/24"))
    stage.send(5)
    stage.apply(wish(2, "10.0.0.0/8", "10.0.0.0/24"))
    assert counted("routes") == {wide: (2, 0), narrow: (2, 5)}
    assert counted("slots")[(3).to_bytes(4, "little")] == (2, 5)
    stage.apply(wish(3, "10.0.0.0/8"))  # the hits of the narrow one go with it
    assert counted("routes") == {wide: (3, 0)}
    stage.send(4)
    stage.apply(wish(4, "10.0.0.0/8", "10.0.0.0/24"))
    assert counted("routes") == {wide: (4, 4), narrow: (4, 0)}
    assert counted("slots")[(3).to_bytes(4, "little")] == (4, 9)
    assert not stage.apply(wish(4, "10.0.0.0/8", "10.0.0.0/24"))["changed"]


BAD = [
    ({"keep": ["weigth"]}, "keep-no-such-field"),
    ({"keep": ["hits"], "entries": [{"key": "10.0.0.1", "value": {"hits": 4}}]}, "kept-field-in-entries"),
    ({"apply": "map", "prune": False}, "apply-map-of-shared-map"),
]


@pytest.mark.parametrize(("how", "reason"), BAD)
def test_what_cannot_be_is_said(stage: Stage, how: dict[str, Any], reason: str) -> None:
    wish = spec(stage, 1)
    wish["maps"]["rules"].update(how)
    done = stage.run("validate", stage.write(wish), where=False)
    assert done.code == 65
    assert done.error["reason"] == reason


def test_a_map_without_sides_cannot_be_flipped(stage: Stage) -> None:
    wish = stage.spec("v1", maps={"blocklist": {"role": "config", "apply": "map", "entries": []}})
    done = stage.run("validate", stage.write(wish), where=False)
    assert done.code == 65
    assert (done.error["reason"], done.error["values"]) == ("map-not-exchangeable", {"map": "blocklist"})


def test_rebuilt_records_know_an_exchanged_map(stage: Stage) -> None:
    stage.apply(spec(stage, 1))
    stage.apply(spec(stage, 2))
    stage.send(6)
    shutil.rmtree(stage.records / "pipelines" / "edge")
    stage.call("recover", "edge")
    stage.apply(spec(stage, 3))
    assert (stamps(stage), hits(stage)) == ({3}, 6)
    stage.apply(spec(stage, 4))
    assert (stamps(stage), hits(stage)) == ({4}, 6)


@pytest.mark.parametrize("pin", ["rl_side", "rl_slots_rules"])
def test_regress_a_lost_pin_of_the_sides_is_seen_and_mended(stage: Stage, pin: str) -> None:
    """Packets go on; but no change could flip any more."""
    stage.apply(spec(stage, 1))
    Path(stage.paths.map_pin("edge", 1, pin)).unlink()
    said = stage.run("doctor", json_too=False)
    assert pin in said.out + said.err
    (planned,) = stage.call("plan", stage.file)["pipelines"]
    assert pin in planned["why"]
    stage.call("apply", stage.file)
    assert not stage.apply(spec(stage, 1))["changed"]
    stage.apply(spec(stage, 2))
    assert stage.call("status", "edge")["pipelines"][0]["load"] == 2, "by a flip again, of the load that mended it"
