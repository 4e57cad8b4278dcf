"""Every map type that can be converted, with the header's calls and without: what is there after a conversion, and
after the way back, is what plain Python makes of what was there before. Nothing runs meanwhile; see test_convert.py.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox import Sandbox
from reloader.bpf import syscall
from reloader.convert import migrate
from reloader.errors import NothingSwapped, RefusedChange, RolledBack
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES
from reloader.lifecycle.planning import plan as plan_change
from reloader.structs.tree import TypeTree
from tests.support import faults
from tests.support.conversions import Shifting, conversions, converted, cpu_values, decode, encode, fields_of, joined

pytestmark = pytest.mark.kernel

HASHES = ("hash", "sparse", "percpu_hash", "lru_hash", "lru_percpu_hash", "macs")
ARRAYS = ("array", "percpu_array")
OTHERS = ("wide", "locked", ".bss", ".data")
ALL = (*HASHES, *ARRAYS, *OTHERS)
SMALL = {"bytes": 32, "limit": 32, "drift": 8}  # bits that are left after narrowing
Contents = dict[bytes, bytes]


class Types(Shifting):
    """conv.h with some of its maps, or all, as state."""

    state: tuple[str, ...] = ()

    def start(self, *names: str) -> None:
        """Apply version 1 with these maps as state; the others start anew with each load."""
        self.attached, self.state = {"touch_all": self.sandbox.rx}, names
        roles = {name: "state" if name in names else "scratch" for name in ALL}
        self.maps = ", ".join(f"{name}: {{role: {role}}}" for name, role in roles.items())
        self.apply("v1")

    def resize(self, sizes: dict[str, int]) -> None:
        """Write other max_entries than the object's into the YAML."""
        more = {name: f", max_entries: {sizes[name]}" if name in sizes else "" for name in ALL}
        roles = {name: "state" if name in self.state else "scratch" for name in ALL}
        self.maps = ", ".join(f"{name}: {{role: {role}{more[name]}}}" for name, role in roles.items())

    def everything(self) -> dict[str, Contents]:
        return {name: self.contents(name) for name in self.state}


@pytest.fixture
def by_names(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "conversions", conversions)


@pytest.fixture(params=["header", "foreign"])
def stage(
    request: pytest.FixtureRequest, sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, by_names: None
) -> Types:
    plain = "" if request.param == "header" else "plain_"
    files = {f"v{v}": objects(f"lab/bpf/conv_{plain}v{v}") for v in (1, 2)}
    return Types(sandbox, tmp_path, files)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261121)


def trees(stage: Types, version: str) -> dict[str, tuple[TypeTree, TypeTree, Any]]:
    """Key, value and declaration of every map in a version."""
    maps = stage.intake(version).wish.maps
    return {m.name: (m.key, m.value, m) for m in maps if m.key and m.value and m.name in stage.state}


def fill(stage: Types, chance: random.Random, version: str = "v1") -> None:
    """Entries in all maps, by bpf(2), of numbers that fit the other version's fields too."""
    for name, (key, value, wanted) in trees(stage, version).items():
        count = 1 if name.startswith(".") else 10 if wanted.max_entries < 100 else 300
        entries = {_key(key, i): _value(wanted, value, chance) for i in range(count)}
        with stage.pub(name) as fd:
            stage.kernel.maps.update_many(fd, list(entries), list(entries.values()))


def _key(tree: TypeTree, i: int) -> bytes:
    if tree.kind == "int":
        return i.to_bytes(tree.size, "little")
    numbers = {f.name: [(i * 7919 + n) % 251 for n in range(f.count)] for f in fields_of(tree).values()}
    if "addr" in numbers:
        numbers["addr"] = [i * 104729]
    else:
        numbers["mac"][:2] = divmod(i, 256)
    return encode(tree, numbers | {"zone": [7]})


def _value(wanted: Any, tree: TypeTree, chance: random.Random) -> bytes:
    values = [_one_value(tree, chance) for _ in range(_slots(wanted))]
    return joined(wanted.type, values)


def _slots(wanted: Any) -> int:
    return syscall.possible_cpus() if wanted.type in PERCPU_TYPES else 1


def _one_value(tree: TypeTree, chance: random.Random) -> bytes:
    return encode(tree, {f.name: [_number(f, chance) for _ in range(f.count)] for f in fields_of(tree).values()})


def _number(field: Any, chance: random.Random) -> int:
    bits = min(SMALL.get(field.name, 64), field.size * 8)
    if field.name == "level":
        bits = 16
    if field.signed:
        return chance.randrange(-(1 << bits - 1), 1 << bits - 1)
    return chance.randrange(1, 1 << bits)


def expected(stage: Types, before: dict[str, Contents], old: str, new: str) -> dict[str, Contents]:
    """The contents in plain Python: entry by entry, CPU by CPU, field by field."""
    was, out = trees(stage, old), {}
    for name, (key, value, wanted) in trees(stage, new).items():
        old_key, old_value, _ = was[name]
        entries = {
            k if old_key == key else converted(old_key, key, k): joined(
                wanted.type, [converted(old_value, value, v) for v in cpu_values(wanted.type, old_value.size, data)]
            )
            for k, data in before[name].items()
        }
        if wanted.type in ARRAY_TYPES:
            empty = joined(wanted.type, [bytes(value.size)] * _slots(wanted))
            entries |= {i.to_bytes(4, "little"): empty for i in range(len(entries), wanted.max_entries)}
        out[name] = entries
    return out


def assert_same(found: dict[str, Contents], wanted: dict[str, Contents], version: dict[str, Any]) -> None:
    for name in wanted:
        assert set(found[name]) == set(wanted[name]), name
        value = version[name][1]
        for key, data in wanted[name].items():
            if found[name][key] != data:
                kind = version[name][2].type
                pairs = zip(*(cpu_values(kind, value.size, d) for d in (found[name][key], data)), strict=True)
                told = [(decode(value, a), decode(value, b)) for a, b in pairs if a != b]
                pytest.fail(f"{name} {key.hex()}: {told}")


def test_contents_are_as_python_would_convert_them(stage: Types, chance: random.Random) -> None:
    stage.start(*ALL)
    fill(stage, chance)
    before = stage.everything()
    done = stage.apply("v2")
    assert done.plan is not None
    assert sum("state: convert" in line.text() for line in done.plan.lines) == len(ALL)
    after = expected(stage, before, "v1", "v2")
    assert_same(stage.everything(), after, trees(stage, "v2"))
    assert len(stage.pins_of("hash")) == 1
    back = expected(stage, after, "v2", "v1")
    stage.rollback()
    assert_same(stage.everything(), back, trees(stage, "v1"))


def overflow(stage: Types, name: str, field: str) -> None:
    """Let one entry hold a number that the narrowed field has no room for."""
    _, tree, wanted = trees(stage, "v1")[name]
    key, data = sorted(stage.contents(name).items())[3]
    values = cpu_values(wanted.type, tree.size, data)
    values[-1] = encode(tree, decode(tree, values[-1]) | {field: [(1 << SMALL[field]) + 5]})
    with stage.pub(name) as fd:
        stage.kernel.maps.update_many(fd, [key], [joined(wanted.type, values)])


@pytest.mark.parametrize(("name", "field"), [("hash", "bytes"), ("percpu_hash", "limit"), ("array", "drift")])
def test_what_does_not_fit_is_refused_before_the_swap(
    stage: Types, chance: random.Random, name: str, field: str
) -> None:
    stage.start(name)
    fill(stage, chance)
    overflow(stage, name, field)
    before = stage.everything()
    with pytest.raises(NothingSwapped, match="1 value cannot be converted"):
        stage.apply("v2")
    assert stage.everything() == before
    assert len(stage.pins_of(name)) == 1


def test_a_misfit_met_in_the_drain_rolls_back(
    stage: Types, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters are all there again; what the new layout dropped is gone from entries that had moved, as planned."""
    stage.start("hash", "percpu_hash")
    fill(stage, chance)
    before = stage.everything()
    away = expected(stage, expected(stage, before, "v1", "v2"), "v2", "v1")
    pass_over = migrate.Moved()
    for check in ("check of a conversion", "copy over"):
        faults.inject(monkeypatch, check, lambda *_, **__: pass_over)
    for name in ("hash", "percpu_hash"):
        overflow(stage, name, "bytes")
    stuck = stage.everything()
    with pytest.raises(RolledBack, match="cannot be converted"):
        stage.apply("v2")
    for name, entries in stage.everything().items():
        assert set(entries) == set(before[name])
        assert all(v in (away[name][k], before[name][k], stuck[name][k]) for k, v in entries.items())
        assert len(stage.pins_of(name)) == 1


@pytest.mark.parametrize("away", ["bound", "offline"])
def test_values_of_every_cpu_move(
    stage: Types, chance: random.Random, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Of CPUs this process may not run on, and of those that nothing runs on."""
    stage.start("percpu_hash", "percpu_array", "lru_percpu_hash")
    fill(stage, chance)
    wanted = expected(stage, stage.everything(), "v1", "v2")
    allowed = os.sched_getaffinity(0)
    if away == "offline":
        faults.inject(monkeypatch, "migration CPUs", lambda: [min(allowed)])
    try:
        os.sched_setaffinity(0, {max(allowed)} if away == "bound" else allowed)
        stage.apply("v2")
    finally:
        os.sched_setaffinity(0, allowed)
    assert_same(stage.everything(), wanted, trees(stage, "v2"))


def test_more_and_fewer_entries(stage: Types, chance: random.Random) -> None:
    """The same layout in another size; an array's new slots are empty."""
    stage.start("hash", "array", "lru_hash", "percpu_array")
    fill(stage, chance)
    wanted = stage.everything()
    roomy = {"hash": 300, "array": 14, "lru_hash": 4000, "percpu_array": 11}
    stage.resize(roomy)
    stage.apply("v1")
    found = stage.everything()
    for name, size in roomy.items():
        with stage.pub(name) as fd:
            assert stage.kernel.maps.info(fd).max_entries == size
        assert {k: found[name][k] for k in wanted[name]} == wanted[name]
        assert all(not any(v) for k, v in found[name].items() if k not in wanted[name])
    stage.resize(roomy | {"hash": 299, "array": 13})
    with pytest.raises(RefusedChange) as refused:
        stage.apply("v1")
    for words in ("it holds 300 entries, 299 is too small", "it holds 14 entries, 13 is too small"):
        assert words in refused.value.detail


def test_the_plan_tells_what_memory_it_takes_as_the_kernel_will(stage: Types, chance: random.Random) -> None:
    """What it says of the live map is the kernel's figure, and what it foretells of the next one comes near it."""
    stage.start(*ALL)
    fill(stage, chance)
    facts = {line.name: line.state for line in stage.plan("v2").lines if line.state}
    assert set(facts) == set(ALL)
    for name, told in facts.items():
        with stage.pub(name) as fd:
            assert told.bytes_now == stage.kernel.maps.memory(fd) > 0
            assert told.entries == len(stage.contents(name))
    stage.apply("v2")
    for name, told in facts.items():
        with stage.pub(name) as fd:
            ratio = told.bytes_new / stage.kernel.maps.memory(fd)
        assert 0.6 < ratio < 1.6, f"{name}: {told.bytes_new} foretold, {ratio:.2f} of what it is"


def test_the_plan_names_the_cgroup_that_is_charged(stage: Types) -> None:
    stage.start("hash")
    told = next(line for line in stage.plan("v2").lines if line.name == "hash")
    assert told.state is not None
    assert told.state.cgroup in Path("/proc/self/cgroup").read_text()
    assert f"charged to cgroup {told.state.cgroup}" in "; ".join(told.notes)


def test_a_reset_says_how_many_entries_it_drops(stage: Types, chance: random.Random) -> None:
    stage.start("hash")
    fill(stage, chance)
    intake = replace(stage.intake("v2"), reset=["hash"])
    told = next(line for line in plan_change(stage.host, intake).lines if line.name == "hash")
    assert "300 entries dropped" in told.notes
    assert told.state is not None
    assert (told.state.method, told.state.entries) == ("reset", 300)


HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, %(value)s);
};
/* The map in question. */
struct {
	__uint(type, BPF_MAP_TYPE_%(kind)s);
	__uint(max_entries, 8);
	%(more)s
} subject SEC(".maps");
SEC("xdp") int touch(struct xdp_md *ctx)
{
	__u64 key[34] = {};

	return bpf_map_lookup_elem(&subject, key) ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
PLAIN = "__type(key, __u64); __type(value, %(value)s);"
REFUSED = {
    "type": ("HASH", "LRU_HASH", PLAIN, "a hash cannot become a lru_hash"),
    "key": ("HASH", "HASH", "__type(key, struct { __u64 words[33]; }); __type(value, %(value)s);", "more than 256"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_with_the_reason(
    case: str, sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path, by_names: None
) -> None:
    old, new, more, words = REFUSED[case]
    files = {
        f"v{n}": compile_bpf(HEAD % {"kind": kind, "value": value, "more": more % {"value": value}})
        for n, kind, value in ((1, old, "__u32"), (2, new, "__u64"))
    }
    stage = Shifting(sandbox, tmp_path, files, "subject: {role: state}")
    stage.attached = {"touch": sandbox.rx}
    stage.apply("v1")
    with pytest.raises(RefusedChange) as refused:
        stage.apply("v2")
    assert words in refused.value.detail
    assert len(stage.pins_of("subject")) == 1
