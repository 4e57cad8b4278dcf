"""Trap F22: every independent problem of a YAML is found in one run, and each once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.fuzz import inputs
from reloader.errors import InputError
from reloader.pipeline.compile import compile_file
from reloader.structs.encode import encode
from reloader.structs.numbers import ValueProblem
from reloader.structs.tree import TypeTree
from tests.support import faults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copyfile(inputs.OBJECT, tmp_path / "flow_count.bpf.o")
    return tmp_path


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "objects": ["flow_count.bpf.o"],
        "attach": [{"program": "count_flows", "type": "xdp", "interface": "eth0"}],
        "maps": {
            "flows": {"role": "state"},
            "counters": {"role": "state"},
            "events": {"role": "stream"},
            "blocklist": {"role": "config", "entries": []},
        },
        **changes,
    }


def found(folder: Path, wanted: dict[str, Any], **head: Any) -> list[tuple[str, str]]:
    """(path, reason) of every problem."""
    path = folder / "x.yaml"
    document = {"apiVersion": "reloader/v1", "kind": "Pipeline", "metadata": {"name": "edge"}, "spec": wanted, **head}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(InputError) as caught:
        compile_file(path)
    problems = caught.value.problems
    assert len({str(p) for p in problems}) == len(problems)
    assert all(p.line for p in problems)
    return [(p.path, p.reason) for p in problems]


@pytest.mark.parametrize(
    ("interface", "reason"),
    [("CHANGE-ME", "placeholder"), ("CHANGE-ME-2", "placeholder"), ("n*", "pattern"), ("eth?", "pattern"),
     ("eth[01]", "pattern")],
)  # fmt: skip
def test_f22_an_interface_that_is_no_name(folder: Path, interface: str, reason: str) -> None:
    attach = [{"program": "count_flows", "type": "xdp", "interface": interface}]
    assert found(folder, spec(attach=attach)) == [("spec.attach[0].interface", reason)]


def test_f22_placeholders_of_all_attachments(folder: Path) -> None:
    attach = [{"program": "count_flows", "type": "xdp", "interface": i} for i in ("CHANGE-ME", "CHANGE-ME-2", "v*")]
    attach[2]["netns"] = "CHANGE-ME"
    assert [reason for _, reason in found(folder, spec(attach=attach))] == ["placeholder"] * 2 + [
        "pattern",
        "placeholder",
    ]


def test_f22_several_findings_in_one_struct(folder: Path) -> None:
    """A key and a value with more than one field wrong each."""
    maps = spec()["maps"] | {
        "blocklist": {"role": "config", "entries": [{"key": "nonsense", "value": {"action": "XDP_NO", "a": 1, "b": 2}}]}
    }
    paths = [path for path, _ in found(folder, spec(maps=maps))]
    at = "spec.maps.blocklist.entries[0]"
    assert sorted(paths) == [f"{at}.key", f"{at}.value", f"{at}.value", f"{at}.value.action"]


def test_f22_the_schema_and_the_objects_in_one_run(folder: Path) -> None:
    """Unknown fields and wrong types beside a program, a map and constants that the object does not have."""
    wanted = spec(
        nonsense=1,
        gate="maybe",
        rodata={"no_such": 1, "sample_rate": "often"},
        attach=[{"program": "no_such", "type": "xdp", "interface": "CHANGE-ME", "speed": 9, "mode": "fast"}],
    )
    wanted["maps"]["flows"]["colour"] = "red"
    wanted["maps"]["events"]["role"] = "river"
    wanted["maps"]["no_such"] = {"role": "state"}
    wanted["maps"]["counters"]["role"] = "config"
    paths = [path for path, _ in found(folder, wanted)]
    assert set(paths) == {
        "spec.nonsense", "spec.gate", "spec.rodata.no_such", "spec.rodata.sample_rate", "spec.attach[0].speed",
        "spec.attach[0].mode", "spec.attach[0].interface", "spec.attach[0].program", "spec.maps.flows.colour",
        "spec.maps.events.role", "spec.maps.no_such",
    } | ({p for p in paths if p.startswith("spec.maps.counters")})  # fmt: skip


def test_f22_what_merely_follows_is_not_said(folder: Path) -> None:
    """A map that was refused is declared all the same, and a file that is missing hides no other finding."""
    wanted = spec()
    wanted["maps"]["flows"] = {"role": "river"}
    wanted["maps"]["blocklist"] = {"role": "external", "pin": "relative"}
    assert [path for path, _ in found(folder, wanted)] == ["spec.maps.flows.role", "spec.maps.blocklist.pin"]
    wanted = spec(objects=["missing.o"], attach=[{"program": "p", "type": "xdp", "interface": "n*"}], nonsense=1)
    assert {path for path, _ in found(folder, wanted)} == {
        "spec.objects[0]", "spec.attach[0].interface", "spec.nonsense",
    }  # fmt: skip


def test_f22_a_wrong_head_hides_nothing(folder: Path) -> None:
    wanted = spec(rodata={"no_such": 1})
    paths = {p for p, _ in found(folder, wanted, kind="Pipe", metadata={"name": "Not A Name"}, extra=1)}
    assert paths == {"kind", "metadata.name", "extra", "spec.rodata.no_such"}


@pytest.mark.parametrize("broken", [None, 5, [], "text", {"objects": 5}, {"maps": []}])
def test_f22_too_little_to_read_on(folder: Path, broken: Any) -> None:
    assert found(folder, broken)


def test_f22_interfaces_beside_one_that_the_schema_refuses(folder: Path) -> None:
    """The other attachments are looked at too, and the refused one for its other fields."""
    names = ("a/b", "CHANGE-ME", "n*", "", "eth0")
    attach = [{"program": "count_flows", "type": "xdp", "interface": name} for name in names]
    attach[0]["netns"] = "CHANGE-ME"
    attach[4]["program"] = "nope"
    assert [(path.removeprefix("spec.attach"), reason) for path, reason in found(folder, spec(attach=attach))] == [
        ("[0].interface", "invalid-text"), ("[0].netns", "placeholder"), ("[1].interface", "placeholder"),
        ("[2].interface", "pattern"), ("[3].interface", "invalid-text"), ("[4].program", "no-such-program"),
    ]  # fmt: skip


def test_f22_entries_beside_one_that_the_schema_refuses(folder: Path) -> None:
    entries = [3, {"key": "x", "value": {"action": "XDP_NOPE"}}, {"kee": 1}, {"key": "192.0.2.1", "value": {"act": 1}}]
    maps = {**spec()["maps"], "blocklist": {"role": "config", "entries": entries}}
    at = "spec.maps.blocklist.entries"
    assert [path for path, _ in found(folder, spec(maps=maps))] == [
        f"{at}[0]", f"{at}[1].key", f"{at}[1].value.action", f"{at}[2]", f"{at}[2]", f"{at}[2].kee", f"{at}[3].value",
    ]  # fmt: skip


def test_f22_several_elements_of_one_constant() -> None:
    """Indices that do not exist, and a wrong value beside them."""
    number = TypeTree(kind="int", name="int", size=4, signed=True)
    array = TypeTree(kind="array", element=number, count=3, size=12)
    with pytest.raises(ValueProblem) as caught:
        encode(array, {"9": 1, "q": 2, "1": "z", "2": 7}, path="value", base=bytes(12))
    assert len(list(caught.value.each())) == 3


def test_what_a_place_gives_no_meaning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stance in a panic, and tests with packets."""
    faults.inject(monkeypatch, "panic at a place", staticmethod(lambda stance: None))
    assert found(folder, spec(panic="closed")) == [("spec.panic", "panic-without-meaning")]
    faults.inject(monkeypatch, "packets of a place", None)
    cases = [{"program": "count_flows", "packet": {"hex": "00"}, "expect": {"verdict": 1}}]
    assert found(folder, spec(test=cases)) == [("spec.test[0].program", "program-type-untested")]
