"""The registry: files to versions, every problem with its place, and which version a layout is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reloader.errors import InputError, NotFoundError, Problem
from reloader.layouts.rules import FieldRule
from reloader.paths import shipped_dir
from reloader.pipeline.check import _validator
from reloader.pipeline.fits import fits
from reloader.pipeline.registry import layout_schema
from reloader.pipeline.registry.layout_files import LayoutProblem, read_type, write_type
from reloader.pipeline.registry.registry import Registry, file_name, load_registry, search_path
from reloader.structs.elf import read_object
from reloader.structs.tree import Member, TypeTree, identity, map_of
from tests.support.layout_pairs import Var, laid_out

FIRST = """\
apiVersion: reloader/v1
kind: StateLayout
metadata: {schema: edge, map: flows, version: 1}
layout:
  key: {struct: key, size: 8, fields: [{name: addr, type: be32, at: 0}, {name: port, type: be16, at: 4}]}
  value:
    struct: flow
    size: 16
    fields:
      - {name: packets, type: u64, at: 0}
      - {name: state, type: {enum: state, size: 4, values: {NEW: 0, OPEN: 1}}, at: 8}
merge: {packets: sum}
"""
SECOND = """\
apiVersion: reloader/v1
kind: StateLayout
metadata: {schema: edge, map: flows, version: 2}
layout:
  key:
    struct: key
    size: 8
    fields:
      - {name: addr, type: be32, at: 0}
      - {name: port, type: be16, at: 4}
      - {name: proto, type: u8, at: 6}
  value:
    struct: flow
    size: 24
    fields:
      - {name: state, type: {enum: state, size: 4, values: {NEW: 0, OPEN: 1}}, at: 0}
      - {name: hops, type: "u8[4]", at: 4}
      - {name: count, type: u64, at: 8}
      - {name: peer, type: be32, at: 16}
merge: {count: sum}
rules:
  key:
    proto: {const: 17}
  value:
    count: {rename: packets}
    state: {const: OPEN}
    hops: {default: [1, 2, 3, 4]}
    peer: {default: 192.0.2.1}
"""


def written(folder: Path, **files: str) -> Path:
    """Files of schema `edge` by name, as flows_1=…"""
    place = folder / "edge"
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        map_name, _, number = name.rpartition("_")
        (place / f"{map_name}.{number}.yaml").write_text(text)
    return folder


def load(folder: Path) -> Registry:
    return load_registry("edge", [folder])


def problems(folder: Path) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        load(folder)
    return caught.value.problems


def test_versions_with_their_rules(tmp_path: Path) -> None:
    registry = load(written(tmp_path, flows_1=FIRST, flows_2=SECOND))
    head = registry.head("flows")
    assert head
    assert (head.version, head.merge, head.collide) == (2, {"count": "sum"}, False)
    assert head.key_rules == {"proto": FieldRule(const=b"\x11")}
    assert head.value_rules == {
        "count": FieldRule(rename="packets"),
        "state": FieldRule(const=b"\1\0\0\0"),
        "hops": FieldRule(default=b"\1\2\3\4"),
        "peer": FieldRule(default=bytes([192, 0, 2, 1])),
    }
    assert [v.version for v in registry.history("flows")] == [1, 2]
    assert registry.head("unknown") is None
    assert sorted(Path(f).name for f in registry.files) == ["flows.1.yaml", "flows.2.yaml"]


def test_a_layout_finds_its_version(tmp_path: Path) -> None:
    registry = load(written(tmp_path, flows_1=FIRST, flows_2=SECOND))
    for version in registry.history("flows"):
        assert registry.match("flows", version.key, version.value) == version
    first, second = registry.history("flows")
    assert registry.match("flows", first.key, second.value) is None
    assert registry.match("flows", None, None) is None


def test_a_change_of_meaning_is_a_version_of_the_same_layout(tmp_path: Path) -> None:
    again = (
        FIRST.replace("version: 1", "version: 2")
        + "meaning: states were counted otherwise\nrules: {value: {state: {const: NEW}}}\n"
    )
    registry = load(written(tmp_path, flows_1=FIRST, flows_2=again))
    first, second = registry.history("flows")
    assert registry.alike("flows", first.key, first.value) == (first, second)
    assert registry.match("flows", first.key, first.value) == second


def test_the_first_folder_of_the_name_is_the_history(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
    written(far, flows_1=FIRST, flows_2=SECOND)
    assert len(load_registry("edge", [near, far]).history("flows")) == 2
    written(near, flows_1=FIRST)
    assert len(load_registry("edge", [near, far]).history("flows")) == 1
    with pytest.raises(NotFoundError, match="the state schema 'other'"):
        load_registry("other", [near, far])


def test_where_schemas_are_looked_for() -> None:
    assert search_path(Path("/x/edge.yaml"))[0] == Path("/x/state")
    assert search_path()[-1] == shipped_dir("state")


def edit(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


WRONG = {
    ("rename: packets", "rename: packet"): ["25:12 count: no-such-old-field", "25:5 packets: field-only-before"],
    ("    count: {rename: packets}\n", ""): ["25:5 count: field-is-new", "25:5 packets: field-only-before"],
    ("const: OPEN", "const: GONE"): ["26:20 state.const: not-in-enum (known"],
    ("[1, 2, 3, 4]", "[1, 2, 3, 4, 5]"): ["27:21 hops.default: "],
    ("const: OPEN", "drop: true, widen: true"): ["26:12 state: drop-not-alone"],
    ("const: OPEN", "was: 1"): ["26:12 state: was-without-drop"],
    ("rename: packets", "rename: packets, default: 1"): ["25:12 count: rules-exclude"],
    ("at: 8}", "at: 6}"): ["20:16 merge.count: merge-unaligned"],
    ("at: 4}\n      - {name: count", "at: 5}\n      - {name: count"): ["25:12 count: shares-bytes"],
    ("merge: {count: sum}", "merge: {cuont: sum}"): ["20:9 merge.cuont: merge-without-field"],
    ("merge: {count: sum}", "merge: {state: sum}"): ["20:16 merge.state: merge-needs-integer"],
    ("merge: {count: sum}", "merge: {count: add}"): ["20:16 merge.count: 'add' is not one of "],
    ("at: 16}", "at: 22}"): ["19:9 layout.value.fields[3]: field-beyond-end"],
    ("type: be32, at: 16", "type: be33, at: 16"): ["19:28 layout.value.fields[3].type: 'be33' is not allowed"],
    ("const: 17", "cosnt: 17"): ["23:13 rules.key.proto.cosnt: unknown field 'cosnt' (did you mean 'const'?)"],
    ("version: 2", "version: 3"): ["3:11 metadata: file-name"],
    ("version: 2", "version: x"): ["3:47 metadata.version: must be a whole number, not 'x'"],
    ("schema: edge", "schema: egde"): ["3:20 metadata.schema: schema-of-folder"],
    ("    state: {const", "    # QUESTION: which?\n    state: {const"): ["26:5 question-open (write"],
}  # fmt: skip
"""An edit of the second file → what is said: line:column, the path below rules.value (or whole), code or words."""


@pytest.mark.parametrize(("edited", "found"), WRONG.items())
def test_every_problem_has_its_place(tmp_path: Path, edited: tuple[str, str], found: list[str]) -> None:
    said = problems(written(tmp_path, flows_1=FIRST, flows_2=edit(SECOND, *edited)))
    lines = [str(p).rpartition("flows.2.yaml:")[2] for p in said]
    short = [line.replace(": ", " ", 1).replace(" rules.value.", " ", 1) for line in lines]
    assert len(short) == len(found), said
    for problem, line, start in zip(said, short, found, strict=True):
        coded = line.replace(problem.message, problem.reason)
        assert any(text.startswith(start) for text in (coded, line)), (coded, line)


def test_the_first_version_has_no_rules(tmp_path: Path) -> None:
    folder = written(tmp_path, flows_1=FIRST + "rules: {value: {packets: {widen: true}}}\n")
    (problem,) = problems(folder)
    assert (problem.line, problem.path, problem.reason) == (13, "rules", "first-without-rules")


def test_a_gap_in_the_versions_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path, flows_1=FIRST, flows_3=edit(SECOND, "version: 2", "version: 3"))
    (problem,) = problems(folder)
    assert (problem.line, problem.path, problem.reason) == (3, "metadata.version", "version-missing")
    assert problem.values == {"version": 2}


def test_broken_text_and_other_documents(tmp_path: Path) -> None:
    folder = written(tmp_path, flows_1=FIRST + "---\n" + FIRST, other_1="a: [", empty_1="")
    said = problems(folder)
    assert [Path(p.file).name.partition(".")[0] for p in said] == ["empty", "flows", "other"]


def test_old_versions_may_be_thrown_away(tmp_path: Path) -> None:
    """A long history can lose its beginning; what is left has to hang together."""
    third = edit(SECOND, "version: 2", "version: 3").partition("rules:")[0]
    registry = load(written(tmp_path, flows_2=SECOND, flows_3=third))
    assert [v.version for v in registry.history("flows")] == [2, 3]


def test_a_single_number_as_key_and_value(tmp_path: Path) -> None:
    one = FIRST.partition("layout:")[0] + "layout: {key: u32, value: u32}\nmerge: sum\n"
    two = (
        edit(one, "version: 1", "version: 2").replace("value: u32", "value: u64")
        + "rules: {value: {.: {widen: true}}}\n"
    )
    registry = load(written(tmp_path, flows_1=one, flows_2=two))
    head = registry.head("flows")
    assert head
    assert (head.merge, head.value_rules) == ({"": "sum"}, {"": FieldRule(widen=True)})


def test_data_sections_have_a_file_name_without_a_leading_dot() -> None:
    assert file_name(".bss", 3) == "sec-bss.3.yaml"
    assert file_name("flows", 1) == "flows.1.yaml"


# --- layouts as text


def told(tree: TypeTree) -> TypeTree:
    first, *rest = write_type(tree, 2)
    return read_type(yaml.safe_load("\n".join([f"t: {first}".rstrip(), *rest]))["t"])


def trees() -> st.SearchStrategy[TypeTree]:
    names = st.sampled_from(["a", "b_2", "null", "true", "y", "x.1", "1st", "a, b", ""])
    leaf = st.sampled_from(
        [Var(name="x", kind=k).tree for k in ("u8", "s16", "u32", "s64", "be16", "be32", "be64", "char", "bool")]
        + [
            TypeTree(kind="int", size=1),
            TypeTree(kind="char", size=1),
            TypeTree(kind="float", size=8, signed=True),
            TypeTree(kind="int", size=16, signed=True),
            TypeTree(kind="ptr", name="struct task_struct", size=8, tag="kptr"),
            TypeTree(kind="enum", name="e", size=4, signed=True, enumerators=(("A", -1), ("null", 2))),
            TypeTree(kind="enum", name="", size=1, enumerators=tuple((f"LONG_ENUMERATOR_{i}", i) for i in range(9))),
        ]
    )

    def larger(inner: st.SearchStrategy[TypeTree]) -> st.SearchStrategy[TypeTree]:
        arrays = st.builds(
            lambda e, n: TypeTree(kind="array", size=e.size * n, element=e, count=n), inner, st.integers(0, 4)
        )
        return st.one_of(
            arrays,
            st.builds(
                aggregate,
                st.sampled_from(["struct", "union", "datasec"]),
                names,
                st.lists(st.tuples(names, inner), max_size=4),
                st.booleans(),
            ),
        )

    return st.recursive(leaf, larger, max_leaves=8)


def aggregate(kind: str, name: str, inner: list[tuple[str, TypeTree]], with_bits: bool) -> TypeTree:
    members, at = [], 0
    for label, tree in inner:
        members.append(
            Member(
                name=label or ("" if tree.aggregate else "n"), offset_bits=0 if kind == "union" else at * 8, type=tree
            )
        )
        at += tree.size
    if with_bits:
        members.append(Member(name="bit", offset_bits=at * 8 + 3, bits=9, type=TypeTree(kind="int", size=4)))
    return TypeTree(kind=kind, name=name, size=at + 4, members=tuple(members))


@settings(max_examples=150, deadline=None)
@given(trees())
def test_what_is_written_is_read_back(tree: TypeTree) -> None:
    assert identity(told(tree)) == identity(tree)


@settings(max_examples=50, deadline=None)
@given(trees(), trees())
def test_what_maps_of_maps_hold_is_read_back(key: TypeTree, value: TypeTree) -> None:
    tree = map_of("lru_hash", key, value)
    assert identity(told(tree)) == identity(tree)
    assert identity(tree) != identity(map_of("hash", key, value))


def test_layouts_of_compiled_objects_are_read_back(objects: Callable[[str], Path]) -> None:
    objects("programs/flow_count/flow_count")
    built = sorted((Path(__file__).resolve().parents[2] / "build" / "bpf").rglob("*.bpf.o"))
    found = [t for p in built for m in read_object(p.read_bytes()).maps for t in (m.key, m.value) if t]
    assert len(found) > 20
    for tree in found:
        assert identity(told(tree)) == identity(tree)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"size": 4}, "type-not-clear"),
        ({"struct": "a", "union": "b", "size": 4}, "type-not-clear"),
        ({"struct": "a"}, "field-missing"),
        ({"map": "hash", "key": "u32"}, "field-missing"),
        ({"array": {"map": "hash", "key": "u32", "value": "u64"}, "count": 2}, "map-not-outermost"),
        ({"struct": "a", "size": 4, "key": "u32"}, "key-outside-map"),
        ({"enum": "a", "size": 3}, "enum-size"),
        ({"array": "u8"}, "field-missing"),
        ({"struct": "a", "size": 4, "fields": [{"name": "x", "type": "u32", "at": 0, "bit": 1}]}, "bits-missing"),
        ({"struct": "a", "size": 4, "fields": [{"name": "x", "type": {"union": "u"}, "at": 0}]}, "field-missing"),
    ],
)
def test_a_layout_that_contradicts_itself(data: Any, code: str) -> None:
    with pytest.raises(LayoutProblem) as caught:
        read_type(data)
    assert caught.value.message.code == code


# --- what is published and shipped


def test_published_schema_is_the_composed_one() -> None:
    published = (shipped_dir("schemas") / "state-layout.schema.json").read_text()
    assert published == layout_schema.published(), (
        "run: python -m reloader.pipeline.registry.layout_schema > schemas/state-layout.schema.json"
    )
    Draft7Validator.check_schema(layout_schema.layout_schema())


@pytest.mark.parametrize("text", [FIRST, SECOND])
def test_both_readings_of_the_schema_agree(text: str) -> None:
    whole = layout_schema.layout_schema()
    good = yaml.safe_load(text)
    assert fits(good, whole, whole)
    assert _validator(layout_schema.layout_schema).is_valid(good)
    for path in ("layout", "metadata"):
        bad = json.loads(json.dumps(good))
        bad[path]["odd"] = 1
        assert not fits(bad, whole, whole)
        assert not _validator(layout_schema.layout_schema).is_valid(bad)


def test_shipped_layouts_are_those_of_the_shipped_programs(objects: Callable[[str], Path]) -> None:
    registry = load_registry("flow-count", [shipped_dir("state")])
    for stem, version in (("programs/flow_count/flow_count", 1), ("lab/bpf/flow_count_v3", 2)):
        found = read_object(objects(stem).read_bytes()).map("flows")
        assert found
        matched = registry.match("flows", found.key, found.value)
        assert matched
        assert matched.version == version
    for name in registry.maps:
        assert registry.head(name)


def test_a_file_by_hand_needs_no_btf(tmp_path: Path) -> None:
    registry = load(written(tmp_path, flows_1=FIRST))
    head = registry.head("flows")
    assert head
    assert head.key.size == 8
    assert identity(head.value) != identity(laid_out((Var(name="packets", kind="u64"),)))


def test_the_readmes_example_is_one(tmp_path: Path) -> None:
    third = (shipped_dir("state") / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    second = """\
apiVersion: reloader/v1
kind: StateLayout
metadata: {schema: edge, map: flows, version: 2}
layout:
  key: u32
  value:
    struct: flow
    size: 16
    fields:
      - {name: bytes, type: u64, at: 0}
      - {name: packets, type: u32, at: 8}
      - {name: mark, type: u32, at: 12}
"""
    assert len(load(written(tmp_path, flows_2=second, flows_3=third)).history("flows")) == 2


def test_absurd_sizes_are_judged_at_once(tmp_path: Path) -> None:
    huge = "{array: {struct: s, size: 8, fields: [{name: n, type: u64, at: 0}]}, count: 200000000}"
    empty = "{array: {struct: s, size: 0}, count: 2000000000}"
    for value in (huge, empty):
        first = FIRST.partition("layout:")[0] + f"layout: {{key: u32, value: {value}}}\n"
        second = edit(first, "version: 1", "version: 2")
        folder = written(tmp_path, flows_1=first, flows_2=second)
        if value is empty:
            assert load(folder).head("flows")
        else:
            assert problems(folder)[0].reason == "side-too-large"
