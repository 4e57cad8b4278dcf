"""F14: entries that another process wrote to a config map are never deleted without a word of the user.

Whatever way the change takes, at whatever moment they were written, and whatever becomes of the map; and a way back is
never stopped by them, but keeps what it can. The control plane here writes by bpf(2), as others do.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from lab.stage import Done, Stage, wait_until
from reloader import fault_points
from reloader.store import records
from tests.kernel.test_watch import Watch

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct rule { __u32 action; __u32 %(field)s; };
struct {
    __uint(type, BPF_MAP_TYPE_%(kind)s); __uint(max_entries, %(max)d); __type(key, __u32); __type(value, struct rule);
} rules SEC(".maps");
const volatile __u32 version = 1;
__u64 packets;
SEC("xdp") int judge(struct xdp_md *ctx)
{
    __u32 key = 1;
    struct rule *rule = bpf_map_lookup_elem(&rules, &key);
    packets += version;
    return rule && rule->action == 1 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
FLIPS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reloader_config.h"
struct rule { __u32 action; __u32 level; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, struct rule);
} rules SEC(".maps");
RELOADER_CONFIG(rules);
const volatile __u32 version = 1;
__u64 packets;
SEC("xdp") int judge(struct xdp_md *ctx)
{
    __u32 key = 1;
    struct rule *rule = config_get(rules, config_side(), &key);
    packets += version;
    return rule && rule->action == 1 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
BARE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 version = 1;
__u64 packets;
SEC("xdp") int judge(struct xdp_md *ctx) { packets += version; return XDP_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""
MINE, THEIRS, OTHER = 1, 7, 8
FOREIGN = "foreign-entries"


class Rules:
    """One XDP program with a map of rules, and a control plane that writes to it, too."""

    def __init__(self, stage: Stage, compile_bpf: Callable[[str | Path], Path]) -> None:
        self.stage, self.compile = stage, compile_bpf
        self.object = self.build()

    def build(self, *, kind: str = "HASH", field: str = "level", size: int = 16, bare: bool = False) -> str:
        text = BARE if bare else SOURCE % {"kind": kind, "field": field, "max": size}
        self.object = self.stage.put(self.compile(text), "rules.bpf.o")
        return self.object

    def flipping(self) -> None:
        self.object = self.stage.put(self.compile(FLIPS), "rules.bpf.o")

    def spec(self, *keys: int, version: int = 1, **words: Any) -> dict[str, Any]:
        rules: dict[str, Any] = {"role": "config", "entries": [{"key": k, "value": {"action": 1}} for k in keys]}
        rules |= words
        maps = {".bss": {"role": "state"}, "rules": {n: w for n, w in rules.items() if w is not None}}
        return {
            "objects": [self.object],
            "rodata": {"version": version},
            "attach": [self.stage.attach("judge")],
            "maps": maps,
        }

    def apply(self, *keys: int, words: tuple[str, ...] = (), **more: Any) -> Any:
        return self.stage.apply(self.spec(*keys, **more), *words)

    def refused(self, *keys: int, words: tuple[str, ...] = (), **more: Any) -> Done:
        """THE check: exit 65 of plan and apply, with counts and keys; nothing changed."""
        path, before = self.stage.write(self.spec(*keys, **more)), (self.stage.standing(), self.keys())
        planned, done = (self.stage.run(command, path, *words) for command in ("plan", "apply"))
        assert (planned.code, done.code) == (65, 65), done.err
        assert planned.error["reason"] == done.error["reason"] == FOREIGN
        assert planned.error["values"] == done.error["values"]
        assert (self.stage.standing(), self.keys()) == before
        return done

    def write(self, *keys: int, action: int = 2) -> None:
        value = action.to_bytes(4, "little").ljust(8, b"\0")
        self.stage.put_entries("rules", {k.to_bytes(4, "little"): value for k in keys})

    def keys(self) -> set[int]:
        """What the published map holds; of an array, the slots that are not zero."""
        return {int.from_bytes(k, "little") for k, v in self.stage.items("rules").items() if any(v)}


@pytest.fixture
def rules(stage: Stage, compile_bpf: Callable[[str | Path], Path]) -> Rules:
    return Rules(stage, compile_bpf)


# asked


@pytest.mark.parametrize("kind", ["HASH", "ARRAY", "PERCPU_HASH", "LRU_HASH"])
def test_f14_an_apply_that_deletes_what_another_process_wrote_is_refused(rules: Rules, kind: str) -> None:
    rules.build(kind=kind)
    rules.apply(MINE)
    rules.write(THEIRS, OTHER, 9, 10)
    done = rules.refused(MINE, 2)
    assert done.error["values"]["count"] == 4
    assert sorted(done.error["values"]["keys"]) == [7, 8, 9][: len(done.error["values"]["keys"])]
    assert len(done.error["values"]["keys"]) == 3
    assert done.error["values"]["maps"] == [{"map": "rules", "count": 4, "keys": done.error["values"]["keys"]}]
    pruned = rules.apply(MINE, 2, words=("--prune",))
    assert pruned["changed"]
    assert rules.keys() == {MINE, 2}


def test_f14_the_same_yaml_again_is_refused_too(rules: Rules) -> None:
    """Drift of this kind is not repaired unasked: the entries are somebody's."""
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.refused(MINE)


def test_f14_what_reloader_wrote_itself_goes_without_a_word(rules: Rules) -> None:
    rules.apply(MINE, 2, 3)
    rules.write(2, action=9)  # by hand: a listed key is ours
    rules.apply(MINE)
    assert rules.keys() == {MINE}


def test_f14_a_listed_key_is_no_loss(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.apply(MINE, THEIRS)
    assert rules.keys() == {MINE, THEIRS}
    rules.apply(MINE)
    assert rules.keys() == {MINE}, "once listed, an entry is reloader's"


@pytest.mark.parametrize(
    ("words", "left"), [({"prune": True}, {MINE, 2}), ({"prune": False}, {MINE, 2, THEIRS})], ids=["true", "false"]
)
def test_f14_the_yaml_can_say_it(rules: Rules, words: dict[str, Any], left: set[int]) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.apply(MINE, 2, **words)
    assert rules.keys() == left


def test_f14_the_plan_shows_what_prune_deletes(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    path = rules.stage.write(rules.spec(MINE, 2))
    (planned,) = rules.stage.call("plan", path, "--prune")["pipelines"]
    (line,) = [line for line in planned["lines"] if line["name"] == "rules"]
    assert any(str(THEIRS) in note for note in line["notes"])
    assert rules.stage.run("plan", path, "--prune", "--detailed-exitcode").code == 2
    assert rules.stage.run("plan", path, "--detailed-exitcode").code == 65


# listed entries that another process wrote otherwise: the listing says what they get, and the plan says so


@pytest.mark.parametrize(
    "change", [{}, {"version": 2}, {"apply": "map"}, {"prune": False}], ids=["in place", "new load", "flip", "prune"]
)
def test_f14_the_plan_names_listed_entries_that_another_process_wrote(rules: Rules, change: dict[str, Any]) -> None:
    rules.flipping()
    how = {"apply": "entries", **change}
    rules.apply(MINE, 2, 3, **how)
    rules.write(MINE, 2, THEIRS, action=9)
    path = rules.stage.write(rules.spec(2, 3, THEIRS, **{**how, "version": 3 if "version" in how else 1}))
    (planned,) = rules.stage.call("plan", path)["pipelines"]
    told = [2, THEIRS] if how.get("prune") is False else [MINE, 2, THEIRS]  # without prune, MINE stays as it is
    assert planned["overwritten"] == [{"map": "rules", "count": len(told), "keys": told}]
    rules.stage.call("apply", path)
    (planned,) = rules.stage.call("plan", path)["pipelines"]
    assert planned["overwritten"] == []


def test_f14_what_the_listing_changes_is_not_said_to_be_another_processs(rules: Rules) -> None:
    rules.apply(MINE, 2)
    spec = rules.spec(MINE, 3)
    spec["maps"]["rules"]["entries"][0]["value"]["action"] = 2
    (planned,) = rules.stage.call("plan", rules.stage.write(spec))["pipelines"]
    assert planned["overwritten"] == []


def test_f14_keys_with_fields_named_as_those_of_handles(rules: Rules) -> None:
    text = SOURCE % {"kind": "HASH", "field": "level", "max": 16}
    text = text.replace("struct rule {", "struct id { __u32 key; __u32 id; __u32 map; };\nstruct rule {")
    text = text.replace("__type(key, __u32)", "__type(key, struct id)").replace("__u32 key = 1", "struct id key = {}")
    rules.object = rules.stage.put(rules.compile(text), "rules.bpf.o")
    first = {"key": 1, "id": 2, "map": 3}
    rules.apply(entries=[{"key": first, "value": {"action": 1}}])
    rules.stage.put_entries("rules", {struct.pack("<III", 1, 2, 3): bytes(8), struct.pack("<III", 4, 5, 6): bytes(8)})
    path = rules.stage.write(rules.spec(entries=[{"key": first, "value": {"action": 2}}]))
    assert rules.stage.run("plan", path).error["values"]["keys"] == [{"key": 4, "id": 5, "map": 6}]
    (planned,) = rules.stage.call("plan", path, "--prune")["pipelines"]
    assert planned["overwritten"] == [{"map": "rules", "count": 1, "keys": [first]}]


def test_f14_a_map_that_stays_is_not_said_to_be_unloaded(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.apply(entries=None)
    rules.stage.call("rollback", "edge")
    assert rules.keys() == {MINE, THEIRS}
    changes = rules.stage.call("show", "edge")["changes"]
    assert not [text for text in changes if text.startswith("- map")]


# the ways of a change


@pytest.mark.parametrize(
    "change",
    [
        {"apply": "program"},
        {"version": 2},
        {"role": "scratch", "entries": None},
        {"role": "external", "entries": None},
    ],
    ids=["program", "new load", "to scratch", "to external"],
)
def test_f14_a_fresh_map_would_lose_them_as_well(rules: Rules, change: dict[str, Any]) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    if change.get("role") == "external":
        change = {**change, "pin": f"{rules.stage.sandbox.bpffs}/theirs"}
        with rules.stage.pub("rules") as fd:
            made = rules.stage.kernel.maps.create(rules.stage.kernel.maps.info(fd))
        with made:
            rules.stage.kernel.pins.pin(made, change["pin"])
    done = rules.refused(MINE, 2, **change)
    assert done.error["values"]["keys"] == [THEIRS]
    rules.apply(MINE, 2, words=("--prune",), **change)


def test_f14_a_map_that_is_exchanged_as_a_whole(rules: Rules) -> None:
    rules.flipping()
    rules.apply(MINE, 2, apply="map")
    rules.write(THEIRS)
    rules.refused(MINE, 3, apply="map")
    rules.apply(MINE, 3, apply="map", words=("--prune",))
    assert rules.keys() == {MINE, 3}
    path = rules.stage.write(rules.spec(MINE, 4, apply="map"))
    with during("map.update rl_slots", lambda: rules.write(THEIRS)) as done:
        result = rules.stage.run("apply", path)
    assert (done, result.code, result.error["values"]["keys"]) == (["map.update rl_slots_rules"], 65, [THEIRS])
    assert rules.keys() == {MINE, 3, THEIRS}
    rules.apply(MINE, 3, apply="map", words=("--prune",))
    with during("record.reserve", lambda: rules.write(OTHER)):
        rules.apply(MINE, 5, apply="map")
    assert rules.keys() == {MINE, 5, OTHER}
    rules.stage.call("rollback", "edge", "--to", "1")
    assert rules.keys() == {MINE, 2, OTHER}


def test_f14_a_map_that_the_new_version_does_not_have(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.build(bare=True)
    spec = rules.spec()
    del spec["maps"]["rules"]
    path = rules.stage.write(spec)
    done = rules.stage.run("apply", path)
    assert (done.code, done.error["reason"], done.error["values"]["keys"]) == (65, FOREIGN, [THEIRS])
    assert rules.keys() == {MINE, THEIRS}
    rules.stage.call("apply", path, "--prune")


def test_f14_a_map_without_entries_is_somebody_elses_whole(rules: Rules) -> None:
    """Role config and no entries: a control plane fills it. Another layout, or a listing, would empty it."""
    rules.apply(entries=None)
    rules.write(THEIRS, OTHER)
    assert rules.refused(MINE).error["values"]["count"] == 2
    rules.build(field="weight")
    assert rules.refused(entries=None).error["values"]["count"] == 2
    assert rules.refused(MINE).error["values"]["count"] == 2
    rules.apply(MINE, words=("--reset", "rules"))
    assert rules.keys() == {MINE}


def test_f14_another_layout_of_the_values(rules: Rules) -> None:
    rules.apply(MINE)
    rules.build(field="weight")
    rules.apply(MINE, 2)
    rules.write(THEIRS)
    rules.build(field="level")
    rules.refused(MINE, 2)


def test_f14_config_that_becomes_state_keeps_them(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    number = rules.stage.map_id("rules")
    rules.apply(role="state", entries=None, version=2)
    assert (rules.keys(), rules.stage.map_id("rules")) == ({MINE, THEIRS}, number)


def test_f14_state_that_becomes_config_is_parked_and_comes_back(rules: Rules) -> None:
    rules.apply(role="state", entries=None)
    rules.write(THEIRS)
    rules.apply(MINE, version=2)
    assert rules.keys() == {MINE}
    rules.write(OTHER)
    assert rules.refused(role="state", entries=None, version=3).error["values"]["keys"] == [OTHER]
    rules.apply(role="state", entries=None, version=3, words=("--prune",))
    assert rules.keys() == {THEIRS}


def test_f14_a_damaged_listing_explains_nothing(rules: Rules) -> None:
    """What reloader cannot prove to have written it does not delete."""
    rules.apply(MINE, 2)
    current = records.read_current(rules.stage.paths, "edge")
    assert current is not None
    for blob in (rules.stage.records / "entries").iterdir():
        blob.write_bytes(b"x")
    assert rules.refused(MINE).error["values"]["keys"] == [2]
    rules.apply(MINE, words=("--prune",))
    assert rules.keys() == {MINE}


# at whatever moment


@contextlib.contextmanager
def during(word: str, act: Callable[[], None]) -> Iterator[list[str]]:
    """Do something once, right before the first lasting effect of that name; which one it was."""
    done: list[str] = []

    def gate(when: str, name: str) -> None:
        if when == "before" and name.startswith(word) and not done:
            done.append(name)
            act()

    fault_points.install(gate)
    try:
        yield done
    finally:
        fault_points.install(None)


def test_f14_written_between_plan_and_swap(rules: Rules) -> None:
    """A load and its tests take seconds; what comes then is judged before anything is swapped."""
    rules.apply(MINE)
    path = rules.stage.write(rules.spec(MINE, version=2))
    before = rules.stage.standing()
    with during("pin", lambda: rules.write(THEIRS)) as done:
        result = rules.stage.run("apply", path)
    assert done
    assert (result.code, result.error["reason"], result.error["values"]["keys"]) == (65, FOREIGN, [THEIRS])
    assert rules.stage.standing() == before
    assert rules.keys() == {MINE, THEIRS}


def test_f14_written_between_plan_and_an_entry_in_place(rules: Rules) -> None:
    rules.apply(MINE, 2)
    path = rules.stage.write(rules.spec(MINE, 3))
    with during("map.update", lambda: rules.write(THEIRS)) as done:
        rules.stage.call("apply", path)
    assert done
    assert rules.keys() == {MINE, 3, THEIRS}


@pytest.mark.parametrize("kind", ["HASH", "ARRAY"])
def test_f14_written_after_the_swap_is_carried_over(rules: Rules, kind: str) -> None:
    """Between the swap and the commit a control plane still opens the map that was."""
    rules.build(kind=kind)
    rules.apply(MINE, 2)
    path = rules.stage.write(rules.spec(MINE, version=2))
    with during("record.reserve", lambda: rules.write(THEIRS)) as done:
        rules.stage.call("apply", path)
    assert done
    assert rules.keys() == {MINE, THEIRS}, "and what reloader deleted stays deleted"


# ways back


def test_f14_a_rollback_keeps_them(rules: Rules) -> None:
    rules.apply(MINE)
    rules.apply(MINE, 2, version=2)
    rules.write(THEIRS)
    number = rules.stage.map_id("rules")
    result = rules.stage.call("rollback", "edge")["pipelines"][0]
    assert rules.keys() == {MINE, THEIRS}
    assert rules.stage.map_id("rules") == number, "the very map, so that the control plane's descriptor stays good"
    assert result["left_out"] == {}
    assert rules.refused(MINE).error["values"]["keys"] == [THEIRS]


def test_f14_a_rollback_of_entries_keeps_them(rules: Rules) -> None:
    rules.apply(MINE)
    rules.apply(2)
    rules.write(THEIRS)
    rules.stage.call("rollback", "edge")
    assert rules.keys() == {MINE, THEIRS}


def test_f14_a_rollback_drops_what_has_no_place_and_says_so(rules: Rules) -> None:
    """Another layout, or no room: a way back is not stopped by it."""
    rules.apply(MINE)
    rules.build(field="weight")
    rules.apply(MINE, 2)
    rules.write(THEIRS, OTHER)
    result = rules.stage.call("rollback", "edge")["pipelines"][0]
    assert rules.keys() == {MINE}
    assert result["left_out"] == {"rules": 2}


def test_f14_a_rollback_into_a_full_map(rules: Rules) -> None:
    rules.build(size=4)
    rules.apply(1, 2, 3)
    rules.apply(1)
    rules.write(10, 11, 12)
    result = rules.stage.call("rollback", "edge")["pipelines"][0]
    assert rules.keys() == {1, 2, 3, 10}
    assert result["left_out"] == {"rules": 2}


def test_f14_a_failed_trial_goes_back_and_keeps_them(rules: Rules) -> None:
    rules.apply(MINE)
    done = rules.stage.spawn("apply", rules.stage.write(rules.spec(MINE, 2, version=2)), "--confirm-timeout", "2s")
    assert done.code == 0, done.err
    rules.write(THEIRS)

    def back() -> bool:
        current = records.read_current(rules.stage.paths, "edge")
        return current is not None and current.generation == 3 and current.trial is None

    wait_until(back, seconds=15)
    assert back()
    wait_until(lambda: not list(rules.stage.paths.journal_file("edge", "").parent.glob("*.jsonl")), seconds=10)
    assert rules.keys() == {MINE, THEIRS}


def test_f14_recover_at_boot_is_not_stopped(rules: Rules) -> None:
    rules.apply(MINE)
    rules.write(THEIRS)
    rules.stage.call("recover", "--boot")
    assert rules.keys() == {MINE, THEIRS}


def test_f14_watch_never_prunes(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> None:
    watch = Watch(sandbox, objects, tmp_path)
    try:
        watch.file.write_text(watch.text())
        watch.start()
        assert watch.status()["generation"] == 1
        pub = Stage(sandbox, tmp_path, objects)
        value = next(iter(pub.items("blocklist").values()))
        pub.put_entries("blocklist", {socket.inet_aton("203.0.113.9"): value})
        watch.file.write_text(watch.text("10.0.0.2"))
        watch.hears("refused")
        assert socket.inet_aton("203.0.113.9") in pub.items("blocklist")
        assert socket.inet_aton("10.0.0.1") in pub.items("blocklist")
    finally:
        watch.close()
