"""V9: state whose pin is missing is found by its id, whatever becomes of it. F21: which map `status` calls parked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Stage
from reloader.kernel import MapInfo, MapType

pytestmark = pytest.mark.kernel
SCHEMA = {"stateSchema": "flow-count"}

NESTED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct flow { %s };
const volatile struct flow flow_layout = {};
struct inner {
    __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, struct flow);
};
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 4); __type(key, __u32);
    __array(values, struct inner); } tenants SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx)
{
    __u32 k = 0;
    void *inner = bpf_map_lookup_elem(&tenants, &k);
    struct flow *flow = inner ? bpf_map_lookup_elem(inner, &k) : 0;
    if (flow)
        flow->packets += 1 + flow_layout.packets;
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def lose(stage: Stage, part: str = "/state/flows") -> None:
    pins = [p for p in stage.sandbox.pins() if part in p]
    assert pins
    for pin in pins:
        stage.kernel.pins.unpin(f"{stage.sandbox.bpffs}/{pin}")


def packets(stage: Stage, at: int = 0) -> int:
    return sum(int.from_bytes(v[at : at + 8], "little") for v in stage.items("flows").values())


def test_v9_a_layout_changes_while_the_pin_is_missing(stage: Stage) -> None:
    stage.apply(stage.spec("v1", **SCHEMA))
    stage.assert_counts(20)
    lose(stage)
    path = stage.write(stage.spec("v3", **SCHEMA))
    assert stage.run("plan", path).code == 0
    stage.call("apply", path)
    assert packets(stage, at=8) == 20
    lose(stage)
    stage.call("rollback", "edge")
    assert packets(stage) == 20


@pytest.mark.parametrize(
    ("words", "left"), [({"max_entries": 100}, 20), ({"max_entries": 100000}, 20)], ids=["smaller", "larger"]
)
def test_v9_a_size_changes_while_the_pin_is_missing(stage: Stage, words: dict[str, int], left: int) -> None:
    stage.apply(stage.spec("v1", **SCHEMA))
    stage.assert_counts(20)
    lose(stage)
    stage.apply(stage.spec("v1", maps={"flows": {"role": "state", **words}}, **SCHEMA))
    assert packets(stage) == left


def test_v9_a_reset_while_the_pin_is_missing(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.assert_counts(20)
    lose(stage)
    stage.apply(stage.spec(), "--reset", "flows")
    assert packets(stage) == 0


def test_v9_export_and_import_while_the_pin_is_missing(stage: Stage) -> None:
    stage.apply(stage.spec())
    stage.assert_counts(20)
    lose(stage)
    file = stage.folder / "flows.state"
    with file.open("wb") as out:
        command = [sys.executable, "-m", "reloader", "state", "export", "edge", "--map", "flows", *stage.where]
        assert subprocess.run(command, stdout=out, check=False).returncode == 0
    stage.call("state", "import", "edge", file, "--merge", "sum")
    assert packets(stage) == 40
    assert any("/state/flows" in pin for pin in stage.sandbox.pins()), "and its pin is back"


def test_v9_a_map_of_maps_while_the_pin_is_missing(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    def spec(fields: str) -> dict[str, Any]:
        stage.put(compile_bpf(NESTED % fields), "nested.bpf.o")
        maps = {"tenants": {"role": "state"}}
        return {"objects": ["nested.bpf.o"], "attach": [stage.attach("count")], "maps": maps, "stateSchema": "tenants"}

    def record() -> None:
        done = stage.run(
            "state", "new", stage.folder / "nested.bpf.o", "--schema", "tenants", "--dir", stage.folder / "state",
            json_too=False, where=False,
        )  # fmt: skip
        assert done.code == 0, done.err

    first = spec("__u64 packets; __u64 bytes;")
    record()
    stage.apply(first)
    shape = MapInfo(id=0, type=MapType.HASH, name="inner", key_size=4, value_size=16, max_entries=8, map_flags=0)
    with stage.kernel.maps.create(shape) as inner, stage.pub("tenants") as outer:
        stage.kernel.maps.update_many(inner, [bytes(4)], [(7).to_bytes(8, "little") + bytes(8)])
        stage.kernel.maps.update_many(outer, [bytes(4)], [inner.fileno().to_bytes(4, "little")])
    lose(stage, "/state/tenants")
    second = spec("__u64 bytes; __u64 packets;")
    record()
    stage.apply(second)
    (number,) = (int.from_bytes(v, "little") for v in stage.items("tenants").values())
    with stage.kernel.maps.by_id(number) as inner:
        assert stage.kernel.maps.items(inner) == {bytes(4): bytes(8) + (7).to_bytes(8, "little")}


# what is parked


def rows(stage: Stage, name: str) -> list[dict[str, Any]]:
    (one,) = stage.call("status", "edge")["pipelines"]
    return [row for row in one["maps"] if row["name"] == name]


def test_f21_state_that_became_config_is_parked_below_its_own_pin(stage: Stage) -> None:
    stage.apply(stage.spec(maps={"blocklist": {"role": "state"}}))
    state = stage.map_id("blocklist")
    stage.apply(stage.spec())
    serving, parked = sorted(rows(stage, "blocklist"), key=lambda row: bool(row["parked"]))
    assert (serving["role"], serving["parked"], serving["id"]) == ("config", False, stage.map_id("blocklist"))
    assert serving["pub"].endswith("/pub/blocklist")
    assert (parked["role"], parked["parked"], parked["id"], parked["pub"]) == ("state", True, state, "")
    assert "/state/blocklist-" in parked["pin"]
    text = stage.run("status", "edge", json_too=False).out.splitlines()
    (line,) = [line for line in text if "blocklist" in line and "parked" in line]
    assert parked["pin"] in line
    assert str(state) in line


def test_f21_the_other_ways(stage: Stage) -> None:
    """Back again nothing is parked; into scratch it is; and a pipeline that is removed parks all of it."""
    stage.apply(stage.spec(maps={"blocklist": {"role": "state"}}))
    state = stage.map_id("blocklist")
    stage.apply(stage.spec(maps={"blocklist": {"role": "scratch"}}))
    assert [row["id"] for row in rows(stage, "blocklist") if row["parked"]] == [state]
    stage.apply(stage.spec(maps={"blocklist": {"role": "state"}}))
    (only,) = rows(stage, "blocklist")
    assert (only["id"], only["parked"], only["role"]) == (state, False, "state")
    stage.call("remove", "edge")
    (only,) = rows(stage, "blocklist")
    assert (only["id"], only["parked"], only["pub"]) == (state, True, "")
