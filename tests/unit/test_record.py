"""disk/jsonable.py: what is remembered comes back as it was; what does not fit is a ValueError or TypeError."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reloader.disk import jsonable
from reloader.frozen import frozen
from reloader.pipeline.wish import Wish
from reloader.plan.ops import Op
from reloader.store.records import Current, Generation
from reloader.structs.tree import TypeTree
from tests.plans.build import FOLDER, VALUES, read_case


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Number(IntEnum):
    ONE = 1
    TWO = 2


@frozen
class Left:
    TAG: ClassVar[str] = "Left"
    path: str


@frozen
class Right:
    TAG: ClassVar[str] = "Right"
    path: str
    count: int = 0


@frozen
class Whole:
    """Every kind of field that records have."""

    text: str
    number: int
    yes: bool
    ratio: float
    data: bytes
    colour: Colour
    rank: Number
    maybe: str | None
    pair: tuple[int, str]
    many: tuple[Left | Right, ...]
    table: dict[str, bytes]
    inner: Whole | None = None


def wholes() -> st.SearchStrategy[Whole]:
    branch = st.one_of(st.builds(Left, path=st.text()), st.builds(Right, path=st.text(), count=st.integers()))
    words: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(),
        "number": st.integers(),
        "yes": st.booleans(),
        "ratio": st.floats(allow_nan=False),
        "data": st.binary(max_size=9),
        "colour": st.sampled_from(Colour),
        "rank": st.sampled_from(Number),
        "maybe": st.none() | st.text(),
        "pair": st.tuples(st.integers(), st.text()),
        "many": st.lists(branch, max_size=3).map(tuple),
        "table": st.dictionaries(st.text(), st.binary(max_size=3), max_size=3),
    }
    flat = st.builds(Whole, **words)
    return st.one_of(flat, st.builds(Whole, **words, inner=flat))


@given(wholes())
def test_every_kind_of_field_comes_back(value: Whole) -> None:
    assert jsonable.from_json(Whole, json.loads(json.dumps(jsonable.to_json(value)))) == value


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_wishes_and_records_come_back(path: Path) -> None:
    case = read_case(path)
    things: list[tuple[Any, Any]] = [(Wish, case.wish), (Generation | None, case.seen.generation)]
    things.append((Current | None, case.seen.current))
    for kind, value in things:
        assert jsonable.from_json(kind, json.loads(json.dumps(jsonable.to_json(value)))) == value


def test_a_digest_does_not_depend_on_the_trip() -> None:
    wish = read_case(FOLDER / "first_apply.yaml").wish
    assert jsonable.from_json(Wish, jsonable.to_json(wish)).digest() == wish.digest()
    assert replace(wish, source_revision="git:1").digest() == wish.digest()


@pytest.mark.parametrize("name", sorted(VALUES))
def test_layouts_come_back(name: str) -> None:
    tree = VALUES[name]
    assert jsonable.from_json(TypeTree | None, json.loads(json.dumps(jsonable.to_json(tree)))) == tree


def test_what_is_left_out_takes_its_default() -> None:
    assert jsonable.from_json(Right, {"path": "a"}) == Right(path="a", count=0)


def test_a_later_release_may_add_fields() -> None:
    assert jsonable.from_json(Right, {"path": "a", "count": 1, "colour": "red"}) == Right(path="a", count=1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, value in items for p in paths_of(value, (*path, key)))]


def with_part(data: Any, path: tuple[Any, ...], part: Any) -> Any:
    if not path:
        return part
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = with_part(data[path[0]], path[1:], part)
    return copy


SOUND = jsonable.to_json(read_case(FOLDER / "object_changed.yaml").seen.generation)
PLACES = paths_of(SOUND)


@given(st.sampled_from(PLACES), JSON)
def test_a_damaged_record_is_a_value_or_type_error(path: tuple[Any, ...], part: Any) -> None:
    try:
        found: Generation = jsonable.from_json(Generation, with_part(SOUND, path, part))
    except (ValueError, TypeError):
        return
    assert isinstance(found, Generation)
    assert json.dumps(jsonable.to_json(found))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Left | Right, {"is": "Middle", "path": "a"}),
        (Left | Right, {"is": ["Left"], "path": "a"}),
        (Left | Right, "Left"),
        (Op, {"is": "Unpin"}),
        (Right, {"path": "a", "count": True}),
        (Right, {"path": "a", "count": "1"}),
        (Right, ["path"]),
        (Whole, {}),
        (Colour, "green"),
        (dict[str, int], [1]),
        (dict[str, int], {"a": "1"}),
        (tuple[int, ...], 1),
        (tuple[int, ...], "12"),
        (tuple[int, str], [1]),
        (bytes, "xyz"),
        (bytes, 5),
        (int | None, "1"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(kind: Any, data: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        jsonable.from_json(kind, data)
