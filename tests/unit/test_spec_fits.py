"""pipeline/fits.py says yes exactly when jsonschema finds nothing; and so a good file never imports jsonschema."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.pipeline.check import _validator
from reloader.pipeline.fits import _RULES, _SILENT, fits
from reloader.pipeline.schema import pipeline_schema

GOOD: dict[str, Any] = {
    "apiVersion": "reloader/v1",
    "kind": "Pipeline",
    "metadata": {"name": "edge"},
    "spec": {
        "objects": ["edge.bpf.o", {"file": "b.o", "sha256": "ab" * 32}],
        "stateSchema": "edge",
        "rodata": {"sample_rate": 128, "cfg": {"a": [1]}},
        "attach": [{"program": "p", "type": "xdp", "interface": "eth0", "mode": "skb", "netns": "blue"}],
        "maps": {
            "m": {"role": "config", "entries": [{"key": 1, "value": [2]}], "together_with": ["n"], "prune": False},
            "n": {"role": "config", "from": {"csv": "x.csv"}, "apply": "program", "byteorder": {"key": "host"}},
            ".bss": {"role": "state", "max_entries": 7},
            "e": {"role": "external", "pin": "/sys/fs/bpf/e"},
        },
        "health": {
            "window": "10s",
            "interval": "500ms",
            "failures": 2,
            "checks": [
                {"map": "n", "field": "a.b[1]", "key": 1, "above": 0.5, "rate_below": "1/s", "failures": 3},
                {"interface": "eth0", "counter": "rx_dropped", "netns": "blue", "rate_below": 7},
                {"http": "http://192.0.2.1/x", "status": 204, "body": "ok", "timeout": "1s"},
            ],
        },
    },
}

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    2**40,
    "",
    "x",
    "xdp",
    "edge\n",
    "a b",
    "/",
    [],
    ["a"],
    ["a", "a"],
    [1, 1],
]
ODD += [[[1], [1]], {}, {"a": 1}, {"role": "state"}, {"program": "p", "type": "tc"}, {"file": "x"}, {"key": 1}]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in items:
        found += places(child, (*at, step))
    return found


def replaced(at: tuple[Any, ...], new: Any, *, drop: bool = False, more: str = "") -> Any:
    tree = copy.deepcopy(GOOD)
    if not at:
        return new
    parent: Any = tree
    for step in at[:-1]:
        parent = parent[step]
    if drop:
        del parent[at[-1]]
    elif more and isinstance(parent, dict):
        parent[more] = new
    else:
        parent[at[-1]] = new
    return tree


def agree(tree: Any) -> bool:
    quick = fits(tree, pipeline_schema(), pipeline_schema())
    return quick == _validator().is_valid(tree) or (not quick and _whole_floats_in(tree))


def _whole_floats_in(tree: Any) -> bool:
    """1.0 is an integer for draft-07; pipeline/fits.py leaves that to jsonschema."""
    return any(isinstance(_at(tree, p), float) for p in places(tree))


def _at(tree: Any, at: tuple[Any, ...]) -> Any:
    for step in at:
        tree = tree[step]
    return tree


def test_both_like_the_good_one() -> None:
    assert fits(GOOD, pipeline_schema(), pipeline_schema())
    assert _validator().is_valid(GOOD)


@pytest.mark.parametrize("at", places(GOOD), ids=str)
def test_every_place_with_every_odd_value(at: tuple[Any, ...]) -> None:
    for odd in ODD:
        tree = replaced(at, odd)
        assert agree(tree), odd
        if at:
            assert agree(replaced(at, odd, more="extra"))
    if at:
        assert agree(replaced(at, None, drop=True))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(st.sampled_from(places(GOOD)), trees, st.text())
def test_any_value_in_any_place(at: tuple[Any, ...], tree: Any, name: str) -> None:
    assert agree(replaced(at, tree))
    assert agree(replaced(at, tree, more=name))


def test_every_keyword_of_the_schema_is_known() -> None:
    """Otherwise every file would fall back to jsonschema, only slower."""
    unknown = {word for rule in _rules(pipeline_schema()) for word in rule} - _RULES.keys() - _SILENT - {"$ref"}
    assert unknown == set()


def _rules(schema: Any) -> list[dict[str, Any]]:
    found = [schema]
    for word in ("items", "additionalProperties", "not", "if", "then", "propertyNames"):
        if isinstance(schema.get(word), dict):
            found += _rules(schema[word])
    for word in ("properties", "definitions"):
        for child in schema.get(word, {}).values():
            found += _rules(child)
    for child in schema.get("allOf", []):
        found += _rules(child)
    return found


def test_a_good_file_does_not_import_jsonschema(tmp_path: Path) -> None:
    import json

    (tmp_path / "t.yaml").write_text(json.dumps(GOOD))
    program = (
        "import sys; from pathlib import Path; from reloader.pipeline.parse import read_pipelines; "
        "read_pipelines(Path(sys.argv[1])); print('jsonschema' in sys.modules)"
    )
    root = Path(__file__).resolve().parent.parent.parent
    command = [sys.executable, "-c", program, str(tmp_path / "t.yaml")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout == "False\n"
