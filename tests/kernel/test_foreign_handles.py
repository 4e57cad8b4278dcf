"""F2: program arrays and maps of maps that another process fills lose nothing at a reload unless the user says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Stage, wait_until
from reloader import fault_points
from reloader.kernel import Fd, LoadRequest, MapInfo, MapType

pytestmark = pytest.mark.kernel

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 version = 1;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    n SEC(".maps");
static __always_inline void hit(__u32 k)
{
    __u64 *c = bpf_map_lookup_elem(&n, &k);
    if (c)
        __sync_fetch_and_add(c, version);
}
char LICENSE[] SEC("license") = "GPL";
SEC("xdp") int tail_a(struct xdp_md *ctx) { hit(1); return XDP_PASS; }
"""
ENTRY = 'SEC("xdp") int entry(struct xdp_md *ctx) { %s hit(3); return XDP_PASS; }'
BARE = "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4);"
BARE += ' __uint(value_size, 4); } jumps SEC(".maps");'
STATIC = "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32);"
STATIC += ' __array(values, int (void *)); } jumps SEC(".maps") = { .values = { [0] = (void *)&tail_a } };'
CALLS = "hit(0); bpf_tail_call(ctx, &jumps, 1); bpf_tail_call(ctx, &jumps, 0);"
INNER = "struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);"
INNER += " __type(value, __u64); }"
NESTED = """
%s declared SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_%s); __uint(max_entries, 4); __type(key, __u32); __array(values, struct inner); }
    tenants SEC(".maps") = { .values = { [0] = &declared } };
"""
LOOKS = "hit(0); __u32 k = 0; void *m = bpf_map_lookup_elem(&tenants, &k); if (m) hit(2);"
WATCHED = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __uint(map_flags, BPF_F_RDONLY_PROG);
    __type(key, __u32); __type(value, __u64); } allowed SEC(".maps");
"""
OTHER = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int other_tail(struct xdp_md *c)'
OTHER += ' { return XDP_DROP; }\nchar LICENSE[] SEC("license") = "GPL";\n'
HANDLES = "foreign-handles"


class Arrays:
    """A pipeline with a map of handles, and a process beside reloader that fills it."""

    def __init__(self, stage: Stage, compile_bpf: Callable[[str | Path], Path]) -> None:
        self.stage, self.compile = stage, compile_bpf
        request = LoadRequest(
            objects=(compile_bpf(OTHER).read_bytes(),), name="other", programs=("other_tail",), rodata={}
        )
        loaded = stage.kernel.progs.load(request)
        self.tail = loaded.progs["other_tail"]
        for fd in loaded.maps.values():
            fd.close()
        self.maps: dict[str, Any] = {}

    def build(self, maps: str, code: str, **roles: Any) -> None:
        self.stage.put(self.compile(HEAD + maps + ENTRY % code), "x.bpf.o")
        self.maps = {"n": {"role": "state"}, **roles}

    def spec(self, version: int = 1, **roles: Any) -> dict[str, Any]:
        attach = [self.stage.attach("entry")]
        maps = {n: {"role": r} if isinstance(r, str) else r for n, r in {**self.maps, **roles}.items()}
        return {"objects": ["x.bpf.o"], "rodata": {"version": version}, "attach": attach, "maps": maps}

    def apply(self, version: int = 1, words: tuple[str, ...] = (), **roles: Any) -> Any:
        return self.stage.apply(self.spec(version, **roles), *words)

    def fill(self, name: str, index: int, fd: Fd) -> None:
        with self.stage.pub(name) as there:
            key, value = index.to_bytes(4, "little"), fd.fileno().to_bytes(4, "little")
            self.stage.kernel.maps.update_many(there, [key], [value])

    def filled(self, name: str) -> dict[int, int]:
        """Index → kernel id."""
        with self.stage.pub(name) as there:
            rows = dict(self.stage.kernel.maps.filled(there))
        return {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in rows.items()}

    def tail_id(self) -> int:
        return self.stage.kernel.progs.info(self.tail).id

    def refused(self, version: int, words: tuple[str, ...] = (), **roles: Any) -> Any:
        """THE check: exit 65 of plan and apply, the entries by name; nothing changed."""
        path, before = self.stage.write(self.spec(version, **roles)), self.stage.standing()
        planned, done = (self.stage.run(command, path, *words) for command in ("plan", "apply"))
        assert (planned.code, done.code) == (65, 65), done.err
        assert planned.error["values"] == done.error["values"]
        assert self.stage.standing() == before
        return done.error


@pytest.fixture
def arrays(stage: Stage, compile_bpf: Callable[[str | Path], Path]) -> Iterator[Arrays]:
    made = Arrays(stage, compile_bpf)
    yield made
    made.tail.close()


@pytest.mark.parametrize("role", ["live", "scratch"])
@pytest.mark.parametrize("maps", [BARE, STATIC], ids=["bare", "static"])
def test_f2_a_prog_array_that_user_space_fills_is_not_emptied_unasked(arrays: Arrays, role: str, maps: str) -> None:
    arrays.build(maps, CALLS, jumps=role)
    arrays.apply()
    arrays.fill("jumps", 1, arrays.tail)
    held = arrays.filled("jumps")
    error = arrays.refused(2)
    assert (error["reason"], error["values"]["count"]) == (HANDLES, 1)
    assert error["values"]["keys"] == [{"key": 1, "program": "other_tail", "id": arrays.tail_id()}]
    assert arrays.filled("jumps") == held
    assert arrays.refused(2, words=("--prune",))["reason"] == HANDLES, "only the map's name says it"
    path = arrays.stage.write(arrays.spec(2))
    (planned,) = arrays.stage.call("plan", path, "--reset", "jumps")["pipelines"]
    (line,) = [one for one in planned["lines"] if one["name"] == "jumps"]
    assert line["interruption"] != "none"
    assert any("other_tail" in note for note in line["notes"])
    arrays.apply(2, words=("--reset", "jumps"))
    assert arrays.tail_id() not in arrays.filled("jumps").values()


def test_f2_what_the_object_declares_is_no_loss(arrays: Arrays) -> None:
    arrays.build(STATIC, CALLS, jumps="live")
    arrays.apply()
    first = arrays.filled("jumps")
    arrays.apply(2)
    assert first.keys() == arrays.filled("jumps").keys() == {0}


def test_f2_a_slot_put_elsewhere_or_replaced_is_somebodys(arrays: Arrays) -> None:
    """A program of the load itself at another index, and another program in the place of a declared one."""
    arrays.build(STATIC, CALLS, jumps="live")
    arrays.apply()
    own = arrays.filled("jumps")[0]
    with arrays.stage.kernel.progs.by_id(own) as fd:
        arrays.fill("jumps", 2, fd)
    assert [row["key"] for row in arrays.refused(2)["values"]["keys"]] == [2]
    arrays.fill("jumps", 0, arrays.tail)
    assert [row["key"] for row in arrays.refused(2)["values"]["keys"]] == [0, 2]


def test_f2_a_change_of_entries_alone_touches_no_program_array(arrays: Arrays) -> None:
    arrays.build(BARE, CALLS, jumps="live")
    arrays.apply()
    arrays.fill("jumps", 1, arrays.tail)
    assert not arrays.apply()["changed"]
    assert arrays.filled("jumps") == {1: arrays.tail_id()}


def test_f2_show_and_diff_see_the_entries(arrays: Arrays) -> None:
    arrays.build(STATIC, CALLS, jumps="live")
    arrays.apply()
    arrays.fill("jumps", 1, arrays.tail)
    shown = arrays.stage.call("show", "edge", "--map", "jumps", "--live")
    rows = {row["key"]: (row["state"], row["value"]["program"]) for row in shown["entries"]}
    assert rows == {0: ("same", "tail_a"), 1: ("extra", "other_tail")}
    assert shown["differing"] == 1
    assert len(arrays.stage.call("diff", "edge", "--live")["lines"]) == 1
    with arrays.stage.pub("jumps") as fd:
        arrays.stage.kernel.maps.delete_many(fd, [bytes(4)])
    shown = arrays.stage.call("show", "edge", "--map", "jumps", "--live")
    assert {row["key"]: row["state"] for row in shown["entries"]} == {0: "missing", 1: "extra"}
    assert len(arrays.stage.call("diff", "edge", "--live")["lines"]) == 2


def test_f2_filled_between_plan_and_swap(arrays: Arrays) -> None:
    arrays.build(BARE, CALLS, jumps="live")
    arrays.apply()
    path, done = arrays.stage.write(arrays.spec(2)), list[str]()

    def gate(when: str, name: str) -> None:
        if when == "before" and name.startswith("pin") and not done:
            done.append(name)
            arrays.fill("jumps", 1, arrays.tail)

    fault_points.install(gate)
    try:
        result = arrays.stage.run("apply", path)
    finally:
        fault_points.install(None)
    assert done
    assert (result.code, result.error["reason"]) == (65, HANDLES)
    assert arrays.filled("jumps") == {1: arrays.tail_id()}


def test_f2_a_way_back_is_not_stopped_and_says_what_it_lost(arrays: Arrays) -> None:
    arrays.build(BARE, CALLS, jumps="live")
    arrays.apply()
    arrays.apply(2)
    arrays.fill("jumps", 1, arrays.tail)
    result = arrays.stage.call("rollback", "edge")["pipelines"][0]
    assert result["left_out"] == {"jumps": 1}
    (line,) = [one for one in result["lines"] if one["name"] == "jumps"]
    assert line["interruption"] != "none"


def test_f2_a_map_that_the_new_version_does_not_have(arrays: Arrays) -> None:
    arrays.build(BARE, CALLS, jumps="live")
    arrays.apply()
    arrays.fill("jumps", 1, arrays.tail)
    arrays.build("", "hit(0);")
    assert arrays.refused(2)["reason"] == HANDLES
    arrays.apply(2, words=("--prune",))


@pytest.mark.parametrize("kind", ["ARRAY_OF_MAPS", "HASH_OF_MAPS"])
def test_f2_maps_of_maps_in_scratch(arrays: Arrays, kind: str) -> None:
    arrays.build(NESTED % (INNER, kind), LOOKS, tenants="scratch", declared="scratch")
    arrays.apply()
    arrays.apply(2)
    assert arrays.filled("tenants").keys() == {0}
    shape = MapInfo(id=0, type=MapType.ARRAY, name="theirs", key_size=4, value_size=8, max_entries=1, map_flags=0)
    with arrays.stage.kernel.maps.create(shape) as inner:
        number = arrays.stage.kernel.maps.info(inner).id
        arrays.fill("tenants", 2, inner)
        error = arrays.refused(3)
        assert error["values"]["keys"] == [{"key": 2, "map": "theirs", "id": number}]
        shown = arrays.stage.call("show", "edge", "--map", "tenants", "--live")
        assert {row["key"]: row["state"] for row in shown["entries"]} == {0: "same", 2: "extra"}
        arrays.apply(3, words=("--reset", "tenants"))
    assert arrays.filled("tenants").keys() == {0}


def test_f2_scratch_that_programs_cannot_write(arrays: Arrays) -> None:
    """Only user space fills it, so it is not what a program may start empty with."""
    arrays.build(WATCHED, "hit(0); __u32 k = 1; if (bpf_map_lookup_elem(&allowed, &k)) hit(2);", allowed="scratch")
    arrays.apply()
    arrays.stage.put_entries("allowed", {(1).to_bytes(4, "little"): bytes(8)})
    error = arrays.refused(2)
    assert (error["reason"], error["values"]["count"]) == ("foreign-entries", 1)
    arrays.apply(2, words=("--reset", "allowed"))


@pytest.mark.parametrize(("kind", "value"), [("DEVMAP", 8), ("CPUMAP", 4), ("XSKMAP", 4), ("SOCKMAP", 8)])
def test_f2_live_handles_stay_in_the_very_same_map(arrays: Arrays, kind: str, value: int) -> None:
    maps = f"struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __uint(max_entries, %d); __uint(key_size, 4);"
    maps += f' __uint(value_size, {value}); }} ports SEC(".maps");'
    code = "hit(0); if (version > 9) return bpf_redirect_map(&ports, 0, 0);" if kind != "SOCKMAP" else "hit(0);"
    arrays.build(maps % 4, code, ports="live")
    arrays.apply()
    number = arrays.stage.map_id("ports")
    arrays.apply(2)
    assert arrays.stage.map_id("ports") == number
    arrays.build(maps % 8, code, ports="live")
    refused = arrays.stage.run("apply", arrays.stage.write(arrays.spec(3)))
    assert refused.code == 65, "another size is another map"
    assert arrays.stage.map_id("ports") == number


def test_f2_packets_keep_their_tail_calls(arrays: Arrays) -> None:
    """With traffic: what the tail program drops it drops after the refused change, too."""
    arrays.build(BARE, CALLS, jumps="live")
    arrays.apply()
    arrays.fill("jumps", 1, arrays.tail)

    def passed() -> int:
        return int.from_bytes(arrays.stage.items("n")[(3).to_bytes(4, "little")], "little")

    def met() -> int:
        return int.from_bytes(arrays.stage.items("n")[bytes(4)], "little")

    arrays.refused(2)
    before = met()
    arrays.stage.send(10)
    wait_until(lambda: met() >= before + 10)
    assert (met() >= before + 10, passed()) == (True, 0)
