"""Constants that are set in part keep the rest, byte for byte, as the program sees them; byte orders that the YAML says
hold for every display. Each test bears the name of the trap that it keeps shut.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.stage import Stage, wait_until
from reloader.disk import jsonable
from reloader.store import records
from reloader.structs.elf import read_object

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).parent / "bpf" / "set_in_part.bpf.c"
INDEX = {"conf": 0, "list": 1, "grid": 2, "label": 3, "one": 4}
BYTEORDER = {"key": "network", "value": "network"}
WIDE = {"key.addr": "network", "key.port": "network", "value.gw": "network", "value.ports": "network"}
ROUTE: dict[str, Any] = {
    "key": {"addr": "192.0.2.9", "port": 443, "pad": 0},
    "value": {"gw": "10.0.0.1", "ports": [80, 8080]},
}


@pytest.fixture
def stage(stage: Stage, compile_bpf: Callable[[str | Path], Path], tmp_path: Path) -> Stage:
    shutil.copyfile(compile_bpf(SOURCE), tmp_path / "set_in_part.bpf.o")
    return stage


def spec(stage: Stage, rodata: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    maps = {
        "seen": {"role": "scratch"},
        "byport": {"role": "config", "byteorder": BYTEORDER, "entries": [{"key": 443, "value": "10.0.0.7"}]},
        "routes": {"role": "config", "byteorder": WIDE, "entries": [ROUTE]},
    }
    return {
        "objects": ["set_in_part.bpf.o"],
        "attach": [stage.attach("look")],
        "maps": {**maps, **more.pop("maps", {})},
        **({"rodata": rodata} if rodata else {}),
        **more,
    }


def compiled(stage: Stage) -> dict[str, bytes]:
    return {n: v.value for n, v in read_object((stage.folder / "set_in_part.bpf.o").read_bytes()).rodata.items()}


def seen(stage: Stage) -> dict[str, bytes]:
    """What the program that runs now has in its constants, by a packet."""
    rows = stage.items("seen")
    stage.send(1)
    wait_until(lambda: all(any(v) for v in stage.items("seen").values()))
    rows = stage.items("seen")
    sizes = {n: len(v) for n, v in compiled(stage).items()}
    return {n: rows[i.to_bytes(4, "little")][: sizes[n]] for n, i in INDEX.items()}


def patched(data: bytes, *patches: tuple[int, bytes]) -> bytes:
    out = bytearray(data)
    for at, piece in patches:
        out[at : at + len(piece)] = piece
    return bytes(out)


CASES: dict[str, tuple[dict[str, Any], str, tuple[tuple[int, bytes], ...], dict[str, str]]] = {
    "a_field": ({"conf": {"limit": 5}}, "conf", ((0, b"\5\0\0\0"),), {"conf.limit": "1000 → 5"}),
    "a_nested_field": ({"conf": {"in": {"b": 9}}}, "conf", ((6, b"\x09\0"),), {"conf.in.b": "22 → 9"}),
    "a_unions_member": (
        {"conf": {"parts": [9]}},
        "conf",
        ((8, b"\x09"),),
        {"conf.whole": "67305985 → 67305993", "conf.parts": "hex:01020304 → hex:09020304"},
    ),
    "a_bit_field": ({"conf": {"mode": 2}}, "conf", ((12, bytes([1 | 2 << 1 | 9 << 4])),), {"conf.mode": "5 → 2"}),
    "an_enum": ({"conf": {"mood": "calm"}}, "conf", ((40, bytes(4)),), {"conf.mood": "MOOD_WILD → MOOD_CALM"}),
    "a_string": ({"conf": {"name": "x"}}, "conf", ((16, b"x".ljust(8, b"\0")),), {"conf.name": "orig → x"}),
    "a_shorter_list": ({"conf": {"arr": [8]}}, "conf", ((24, b"\x08"),), {"conf.arr[0]": "1 → 8"}),
    "an_array_of_structs": ({"list": [{"b": 7}]}, "list", ((2, b"\7\0"),), {"list[0].b": "2 → 7"}),
    "an_element_by_its_index": ({"list": {"2": {"a": 8}}}, "list", ((8, b"\x08\0"),), {"list[2].a": "5 → 8"}),
    "arrays_of_arrays_in_another_section": (
        {"grid": [[7], [8, 9]]},
        "grid",
        ((0, b"\7"), (6, b"\x08"), (8, b"\x09")),
        {"grid[0][0]": "1 → 7", "grid[1][0]": "4 → 8", "grid[1][1]": "5 → 9"},
    ),
    "an_array_of_one": ({"one": {"b": 7}}, "one", ((2, b"\7\0"),), {"one[0].b": "2 → 7"}),
    "a_whole_string": ({"label": "x"}, "label", ((0, b"x".ljust(16, b"\0")),), {"label": "default-label → x"}),
}


@pytest.mark.parametrize("case", CASES)
def test_f1_a_constant_set_in_part_keeps_the_rest(stage: Stage, case: str) -> None:
    rodata, name, patches, lines = CASES[case]
    plan = stage.call("plan", stage.write(spec(stage, rodata)))["pipelines"][0]
    assert {x["name"]: x["action"] for x in plan["lines"] if x["kind"] == "rodata"} == lines
    stage.apply(spec(stage, rodata))
    want = {**compiled(stage), name: patched(compiled(stage)[name], *patches)}
    assert seen(stage) == {n: want[n] for n in INDEX}


def test_f1_plan_diff_and_show_name_each_field_of_a_constant(stage: Stage) -> None:
    stage.apply(spec(stage, {"conf": {"limit": 5, "in": {"a": 1}}}))
    plan = stage.call("plan", stage.write(spec(stage, {"conf": {"limit": 6}})))["pipelines"][0]
    told = {x["name"]: x["action"] for x in plan["lines"] if x["kind"] == "rodata"}
    assert told == {"conf.limit": "5 → 6", "conf.in.a": "1 → 11"}  # what is no longer set is as compiled
    stage.apply(spec(stage, {"conf": {"limit": 6}}))
    assert stage.call("diff", "edge", "1", "2")["lines"] == ["~ rodata conf.limit: 5 → 6", "~ rodata conf.in.a: 1 → 11"]
    shown = stage.call("show", "edge")["rodata"]
    assert (shown["conf"]["limit"], shown["conf"]["in"], shown["conf"]["port"]) == (6, {"a": 11, "b": 22}, 443)
    stage.apply(spec(stage))
    assert stage.call("diff", "edge", "2", "3")["lines"] == ["~ rodata conf.limit: 6 → 1000"]
    stage.call("rollback", "edge", "--to", "1")
    assert seen(stage)["conf"] == patched(compiled(stage)["conf"], (0, b"\5\0\0\0"), (4, b"\1\0"))


def test_f1_a_generation_stored_before_constants_were_described_still_works(stage: Stage) -> None:
    stage.apply(spec(stage, {"conf": {"limit": 5}}))
    path = stage.paths.generation_file("edge", 1)
    body = json.loads(path.read_bytes())
    del body["wish"]["constants"], body["sum"]
    for one in body["wish"]["maps"]:
        del one["byteorder"]
    path.write_text(json.dumps(body))
    assert stage.call("show", "edge")["rodata"] == {"conf": f"hex:{body['wish']['rodata']['conf']}"}
    stage.apply(spec(stage, {"conf": {"limit": 6}}))
    assert stage.call("diff", "edge", "1", "2")["lines"] == ["~ rodata conf.limit: 5 → 6"]
    stage.call("rollback", "edge", "--to", "1")
    assert seen(stage)["conf"] == patched(compiled(stage)["conf"], (0, b"\5\0\0\0"))


def test_f1_init_prints_constants_in_full_and_they_read_back(stage: Stage) -> None:
    text = stage.run("init", stage.folder / "set_in_part.bpf.o", json_too=False, where=False).out
    lines = iter(text.splitlines())
    head = next(line for line in lines if line.startswith("  # rodata:"))
    block = [head.replace("# ", "", 1)]
    for line in lines:
        if not line.startswith("  #   "):
            break
        block.append(line.replace("#", " ", 1))
    rodata = yaml.load("\n".join(block), yaml.BaseLoader)["rodata"]
    assert set(rodata) == set(compiled(stage))
    stage.apply(spec(stage, rodata))
    wish = records.read_generation(stage.paths, "edge", 1).wish
    assert wish.rodata == compiled(stage)
    assert seen(stage) == {n: compiled(stage)[n] for n in INDEX}


@pytest.mark.parametrize(
    ("rodata", "path"),
    [
        ({"conf": {"whole": 1, "parts": [9]}}, "spec.rodata.conf"),
        ({"list": {"3": {"a": 1}}}, "spec.rodata.list"),
        ({"list": [{}, {}, {}, {}]}, "spec.rodata.list"),
        ({"conf": {"limt": 1}}, "spec.rodata.conf"),
        ({"grid": {"x": [1]}}, "spec.rodata.grid"),
        ({"list": {"1": {"a": 1}, "0x1": {"b": 2}}}, "spec.rodata.list"),
    ],
)
def test_f1_what_fits_no_constant_is_refused(stage: Stage, rodata: dict[str, Any], path: str) -> None:
    done = stage.run("validate", stage.write(spec(stage, rodata)), where=False)
    assert done.code == 65
    assert [p["path"] for p in done.error["problems"]] == [path]


# --- byte order


def test_f9_every_display_decodes_as_the_yaml_encodes(stage: Stage) -> None:
    stage.apply(spec(stage))
    raw = {443: socket.inet_aton("10.0.0.7")}
    assert stage.items("byport") == {struct.pack("!H", k): v for k, v in raw.items()}
    for more in ([], ["--live"]):
        rows = stage.call("show", "edge", "--map", "byport", *more)["entries"]
        assert [(r["key"], r["value"]) for r in rows] == [(443, "10.0.0.7")]
        rows = stage.call("show", "edge", "--map", "routes", *more)["entries"]
        assert [r["key"] for r in rows] == [ROUTE["key"]]
        assert rows[0]["value"] == {"gw": "10.0.0.1", "ports": [80, 8080], "hits": 0}
    stage.put_entries("byport", {struct.pack("!H", 80): socket.inet_aton("10.0.0.9")})
    stage.put_entries("byport", {struct.pack("!H", 443): socket.inet_aton("10.0.0.8")})
    rows = {r["key"]: r for r in stage.call("show", "edge", "--map", "byport", "--live")["entries"]}
    assert (rows[443]["value"], rows[443]["listed"], rows[80]["value"]) == ("10.0.0.8", "10.0.0.7", "10.0.0.9")
    drift = stage.call("diff", "edge", "--live")["lines"]
    assert any("443: 10.0.0.8" in line and "10.0.0.7" in line for line in drift)
    (stage.folder / "set_in_part.bpf.o").unlink()  # no source tree is asked
    stage.file.unlink()
    assert stage.call("show", "edge", "--map", "byport")["entries"][0]["value"] == "10.0.0.7"


def test_f9_a_byte_order_alone_is_a_new_generation_and_no_new_load(stage: Stage) -> None:
    number = int.from_bytes(socket.inet_aton("10.0.0.7"), "little")
    key = int.from_bytes(struct.pack("!H", 443), "little")
    plain = {"byport": {"role": "config", "entries": [{"key": key, "value": number}]}}
    stage.apply(spec(stage, maps=plain))
    before = stage.attached()
    assert stage.call("show", "edge", "--map", "byport")["entries"][0]["value"] == number
    stage.apply(spec(stage))
    assert stage.attached() == before
    assert stage.call("show", "edge", "--map", "byport")["entries"][0]["value"] == "10.0.0.7"


def test_f9_a_failing_test_says_what_a_field_holds_in_its_byte_order(stage: Stage) -> None:
    expected = [{"key": ROUTE["key"], "value": {"gw": "10.0.0.2", "ports": [80, 81]}}]
    test = {"packet": {"udp": {"dport": 9}}, "expect": {"maps": {"routes": expected}}}
    done = stage.run("apply", stage.write(spec(stage, test=[test])))
    assert done.code == 1
    said = "\n".join(line for row in done.error["tests"] for line in row["said"])
    assert "10.0.0.1" in said
    assert "8080" in said
    assert "16777226" not in said


def test_f9_a_health_check_reads_a_counter_in_its_byte_order(stage: Stage) -> None:
    """5 in network order is 83886080 in the machine's own, which is above the bound."""
    route = {**ROUTE, "value": {**ROUTE["value"], "hits": 5}}
    maps = {"routes": {"role": "config", "byteorder": {**WIDE, "value.hits": "network"}, "entries": [route]}}
    check = {"map": "routes", "field": "hits", "key": ROUTE["key"], "below": 100}
    health = {"window": "300ms", "interval": "100ms", "checks": [check]}
    stage.apply(spec(stage))
    result = stage.apply(spec(stage, {"conf": {"limit": 5}}, maps=maps, health=health))
    assert result["generation"] == 2
    assert records.read_current(stage.paths, "edge").trial is None  # type: ignore[union-attr]


def test_f10_the_hint_about_a_constants_byte_order_can_be_followed(stage: Stage) -> None:
    done = stage.run("validate", stage.write(spec(stage, {"conf": {"addr": "192.0.2.1"}})), where=False)
    assert done.code == 65
    (problem,) = done.error["problems"]
    assert (problem["reason"], problem["values"]["constant"]) == ("byte-order-unknown", "conf.addr")
    assert "byteorder: {conf.addr: network}" in problem["hint"]
    rodata = {"conf": {"addr": "192.0.2.1"}, "byteorder": {problem["values"]["constant"]: "network"}}
    stage.apply(spec(stage, rodata))
    assert seen(stage)["conf"][48:52] == socket.inet_aton("192.0.2.1")
    assert stage.call("show", "edge")["rodata"]["conf"]["addr"] == "192.0.2.1"
    plan = stage.call("plan", stage.write(spec(stage, {**rodata, "conf": {"addr": "192.0.2.2"}})))["pipelines"][0]
    assert [x["action"] for x in plan["lines"] if x["kind"] == "rodata"] == ["192.0.2.1 → 192.0.2.2"]


@pytest.mark.parametrize(
    ("orders", "path"),
    [
        ({"conf.adr": "network"}, "conf.adr"),
        ({"nothing": "host"}, "nothing"),
        ({"conf.addr": "big"}, "conf.addr"),
        ({"conf": "network"}, "conf"),
        ({"conf.mode": "network"}, "conf.mode"),
    ],
)
def test_f10_a_byte_order_of_no_constant_is_refused(stage: Stage, orders: dict[str, str], path: str) -> None:
    done = stage.run("validate", stage.write(spec(stage, {"byteorder": orders})), where=False)
    assert done.code == 65
    assert [p["path"] for p in done.error["problems"]] == [f"spec.rodata.byteorder.{path}"]


@pytest.mark.parametrize("role", ["config", "state", "scratch"])
@pytest.mark.parametrize("path", ["value", "value.gv", "gw", "key.addr.x"])
def test_f9_a_byte_order_that_would_do_nothing_is_refused(stage: Stage, role: str, path: str) -> None:
    routes = {"role": role, "byteorder": {path: "network"}}
    done = stage.run("validate", stage.write(spec(stage, maps={"routes": routes})), where=False)
    assert done.code == 65
    (problem,) = done.error["problems"]
    assert problem["path"].startswith("spec.maps.routes.byteorder")


@pytest.mark.parametrize("role", ["state", "scratch"])
def test_f10_the_hint_about_a_maps_byte_order_can_be_followed_whatever_its_role(stage: Stage, role: str) -> None:
    test = {"packet": {"udp": {"dport": 9}}, "expect": {"maps": {"byport": [{"key": 443, "value": "10.0.0.7"}]}}}
    seed = {"byport": [{"key": 443, "value": "10.0.0.7"}]}
    done = stage.run("validate", stage.write(spec(stage, maps={"byport": {"role": role}}, test=[test])), where=False)
    assert done.code == 65
    assert "byteorder" in done.error["problems"][0]["hint"]
    followed = {"byport": {"role": role, "byteorder": {"value": "network"}}}
    stage.apply(spec(stage, maps=followed, test=[{**test, "seed": seed}]))


def test_f10_what_the_kernel_configures_is_no_constant_and_no_map(stage: Stage) -> None:
    done = stage.run("validate", stage.write(spec(stage, maps={".kconfig": {"role": "config"}})), where=False)
    assert done.code == 65
    assert all("rodata" not in p["hint"] for p in done.error["problems"])
    done = stage.run("validate", stage.write(spec(stage, {"LINUX_KERNEL_VERSION": 1})), where=False)
    assert done.code == 65
    assert [(p["path"], p["reason"]) for p in done.error["problems"]] == [
        ("spec.rodata.LINUX_KERNEL_VERSION", "constant-of-kernel")
    ]
    stage.apply(spec(stage))
    assert jsonable.to_json(records.read_generation(stage.paths, "edge", 1).wish.constants)


def test_f10_the_hint_of_a_table_names_the_side_that_a_byte_order_is_said_of(stage: Stage) -> None:
    (stage.folder / "routes.csv").write_text("key.addr,key.port,key.pad,value.gw\n192.0.2.9,443,0,10.0.0.1\n")
    routes: dict[str, Any] = {"role": "config", "from": {"csv": "routes.csv"}}
    done = stage.run("validate", stage.write(spec(stage, maps={"routes": routes})), where=False)
    assert done.code == 65
    hints = " ".join(p["hint"] for p in done.error["problems"])
    assert "{key.addr: network}" in hints
    orders = {"key.addr": "network", "value.gw": "network"}
    stage.apply(spec(stage, maps={"routes": {**routes, "byteorder": orders}}))
    (row,) = stage.call("show", "edge", "--map", "routes", "--live")["entries"]
    assert (row["key"]["addr"], row["value"]["gw"]) == ("192.0.2.9", "10.0.0.1")


PAIR = """
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
struct pair { __u32 a, b; };
%(bind)s const volatile struct pair pair = { %(a)d, %(b)d };
SEC("xdp") int %(name)s(struct xdp_md *ctx) { return pair.a == 5 && pair.b == 20 ? XDP_DROP : XDP_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("order", [("strong", "weak"), ("weak", "weaker"), ("weak", "strong")])
def test_f1_of_a_constant_in_two_objects_the_one_that_the_linker_takes_is_kept(
    stage: Stage, compile_bpf: Callable[[str], Path], order: tuple[str, str]
) -> None:
    first = order[0] if order[1] != "strong" else "strong"
    for name in order:
        a, b = (10, 20) if name == first else (1, 2)
        words = {"bind": "" if name == "strong" else "__weak", "a": a, "b": b, "name": name}
        shutil.copyfile(compile_bpf(PAIR % words), stage.folder / f"{name}.o")
    found: dict[str, Any] = {
        "objects": [f"{name}.o" for name in order],
        "attach": [stage.attach(order[0])],
        "rodata": {"pair": {"a": 5}},
    }
    if order[1] == "strong":  # libbpf's linker leaves the weak one's place in the BTF, so that nothing could be set
        done = stage.run("validate", stage.write(found), where=False)
        assert done.code == 65
        assert [p["reason"] for p in done.error["problems"]] == ["constant-misplaced"]
        found["objects"].reverse()  # as the hint says
    test = {"program": order[0], "packet": {"udp": {"dport": 9}}, "expect": {"verdict": "XDP_DROP"}}
    stage.apply({**found, "test": [test]})
