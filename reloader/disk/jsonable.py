"""Frozen dataclasses to and from plain JSON values, driven by their annotations.

bytes travel as hex, enums as their value, tuples as lists, unions of dataclasses by an `is` key that
holds the class's TAG: a constant, so that a class may be renamed without a word changing on disk. A class with REST
has one field of that name, a mapping, whose members stand beside its other fields. Used for
wishes, generations, ops and the journal. A leaf: imports nothing of the package.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

IS = "is"  # the key that tells which of a union's classes a mapping is
VERSION = 2  # of records and of the journal: raised when a reader of another number would take them otherwise


def to_json(value: Any) -> Any:
    """A JSON-able copy of `value`: dataclass, mapping, sequence, enum, bytes or scalar."""
    return _encoder(_kind_of(value))(value)


def from_json(kind: type[T] | Any, data: Any) -> T:
    """Rebuild a value of annotation `kind` from what `to_json` made; ValueError or TypeError if it does not fit."""
    wanted: Any = kind
    return _decoder(wanted)(data)  # type: ignore[no-any-return]


Step = Callable[[Any], Any]

_kind_of: Callable[[Any], Any] = type


@functools.cache
def _encoder(kind: type) -> Step:
    """How values of one type become JSON, worked out once: records hold thousands of the same few types."""
    if dataclasses.is_dataclass(kind):
        return _fields_encoder(kind)
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    if issubclass(kind, bytes):
        return bytes.hex
    if issubclass(kind, dict):
        return lambda value: {str(k): to_json(v) for k, v in value.items()}
    if issubclass(kind, (list, tuple)):
        return lambda value: [_encoder(_kind_of(v))(v) for v in value]
    if issubclass(kind, str) and kind is not str:
        return str  # a Message is recorded as its words
    return lambda value: value


def _fields_encoder(kind: Any) -> Step:
    names = [f.name for f in dataclasses.fields(kind)]
    head = {IS: kind.TAG} if hasattr(kind, "TAG") else {}
    rest = getattr(kind, "REST", "")

    def encode(value: Any) -> dict[str, Any]:
        out: dict[str, Any] = dict(head)
        for name in names:
            item = getattr(value, name)
            out[name] = _encoder(_kind_of(item))(item)
        return out | out.pop(rest) if rest else out

    return encode


@functools.cache
def _decoder(kind: Any) -> Step:
    """How JSON becomes a value of one annotation, worked out once."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _union_decoder(typing.get_args(kind))
    if origin is tuple:
        return _tuple_decoder(typing.get_args(kind))
    if origin is dict:
        return _mapping_decoder(_decoder(typing.get_args(kind)[1]))
    if origin is typing.Literal or kind is Any:
        return lambda data: data
    if dataclasses.is_dataclass(kind):
        return _fields_decoder(kind)
    if kind is bytes:
        return bytes.fromhex
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    return _scalar_decoder(kind)


def _tuple_decoder(args: tuple[Any, ...]) -> Step:
    if args[-1] is Ellipsis:
        one = _decoder(args[0])
        return lambda data: tuple([one(item) for item in data])
    each = [_decoder(k) for k in args]
    return lambda data: tuple(step(item) for step, item in zip(each, data, strict=True))


def _mapping_decoder(inner: Step) -> Step:
    def decode(data: Any) -> Any:
        if not isinstance(data, dict):
            raise TypeError(f"{data!r} is not a mapping")
        return {k: inner(v) for k, v in data.items()}

    return decode


def _fields_decoder(kind: Any) -> Step:
    steps: dict[str, Step] = {}
    rest = getattr(kind, "REST", "")

    def decode(data: Any) -> Any:
        if not steps:  # late: a type may hold itself
            hints = typing.get_type_hints(kind)
            steps.update((f.name, _decoder(hints[f.name])) for f in dataclasses.fields(kind))
        if rest:
            data = {rest: {k: v for k, v in data.items() if k not in steps}} | data
        return kind(**{name: step(data[name]) for name, step in steps.items() if name in data})

    return decode


def _scalar_decoder(kind: Any) -> Step:
    if kind not in (str, int, bool, float):
        return lambda data: data

    def check(data: Any) -> Any:
        if type(data) is not kind and not (kind is float and type(data) is int):
            raise TypeError(f"{data!r} is not of type {kind.__name__}")
        return data

    return check


def _union_decoder(kinds: tuple[Any, ...]) -> Step:
    rest = [k for k in kinds if k is not type(None)]
    optional = len(rest) < len(kinds)
    tagged = {k.TAG: k for k in rest if hasattr(k, "TAG")}

    def decode(data: Any) -> Any:
        if data is None and optional:
            return None
        if isinstance(data, dict) and IS in data:
            if data[IS] not in tagged:
                raise ValueError(f"unknown kind {data[IS]!r}")
            return _decoder(tagged[data[IS]])({k: v for k, v in data.items() if k != IS})
        if len(rest) == 1:
            return _decoder(rest[0])(data)
        if type(data) in rest:
            return data
        raise TypeError(f"{data!r} is not of one of the types {rest}")

    return decode
