"""@frozen beside the standard decorator: what anybody can see of the classes is the same."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from typing import Any, ClassVar

import pytest

from reloader.frozen import frozen


@frozen
class Point:
    """With a default, a factory, a class variable, and something that is not compared."""

    TAG: ClassVar[str] = "Point"
    x: int
    y: int = 2
    marks: dict[str, int] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def moved(self, by: int) -> Point:
        return dataclasses.replace(self, x=self.x + by)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    TAG: ClassVar[str] = "Standard"
    x: int
    y: int = 2
    marks: dict[str, int] = dataclasses.field(default_factory=dict, compare=False, repr=False)


@frozen
class Single:
    only: tuple[int, ...]


@frozen
class Nothing:
    pass


@frozen
class Checked:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


def test_it_is_a_dataclass_to_all_who_ask() -> None:
    kind: Any = Point
    assert dataclasses.is_dataclass(kind)
    assert [f.name for f in dataclasses.fields(Point)] == [f.name for f in dataclasses.fields(Standard)]
    assert dataclasses.asdict(Point(x=1)) == dataclasses.asdict(Standard(x=1))
    assert Point(x=1).moved(3) == Point(x=4)
    assert Point.__doc__
    assert Point.__doc__.startswith("With a default")


def test_signature_and_hints_are_the_standard_ones() -> None:
    assert list(inspect.signature(Point).parameters) == list(inspect.signature(Standard).parameters)
    assert typing.get_type_hints(Point.__init__) == typing.get_type_hints(Standard.__init__)


def test_factories_make_a_value_each() -> None:
    first, second = Point(x=1), Point(x=1)
    first.marks["a"] = 1
    assert second.marks == {}


@pytest.mark.parametrize("other", [Point(x=1, y=3), Point(x=2), Standard(x=1), (1, 2), None])
def test_what_differs_is_unequal(other: object) -> None:
    assert Point(x=1) != other


def test_equal_values_are_equal_and_hash_alike() -> None:
    assert Point(x=1, marks={"a": 1}) == Point(x=1)
    assert len({Point(x=1), Point(x=1), Point(x=2)}) == 2
    assert Single(only=(1,)) == Single(only=(1,))
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_what_cannot_be_hashed_says_so() -> None:
    unhashable: Any = [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Single(only=unhashable))


def test_nothing_can_be_changed() -> None:
    point: Any = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.new = 2
    assert not hasattr(point, "__dict__")


def test_repr_is_the_standard_one() -> None:
    assert repr(Point(x=1)) == repr(Standard(x=1)).replace("Standard", "Point")


@pytest.mark.parametrize("words", [{}, {"y": 1}, {"x": 1, "z": 1}])
def test_wrong_words_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__"):
        Point(**words)


def test_places_are_no_words() -> None:
    make: Any = Point
    with pytest.raises(TypeError, match="positional"):
        make(1)


def test_post_init_runs() -> None:
    with pytest.raises(ValueError, match="negative"):
        Checked(x=-1)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_equal(again: Any) -> None:
    assert again(Point(x=1, y=5)) == Point(x=1, y=5)
