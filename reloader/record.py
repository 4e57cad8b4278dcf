"""Frozen dataclasses to and from plain JSON values, driven by their annotations.

bytes travel as hex, enums as their value, tuples as lists, unions of dataclasses by an `is` key that
holds the class name. Used for wishes, generations, ops and the journal. A leaf: imports nothing of
the package.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A JSON-able copy of `value`: dataclass, mapping, sequence, enum, bytes or scalar."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"is": type(value).__name__, **fields} if getattr(value, "TAGGED", False) else fields
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def from_json(kind: type[T] | Any, data: Any) -> T:
    """Rebuild a value of annotation `kind` from what `to_json` made; ValueError or TypeError if it does not fit."""
    return _decode(kind, data)  # type: ignore[no-any-return]


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(typing.get_args(kind), data)
    if origin is tuple:
        args = typing.get_args(kind)
        kinds = [args[0]] * len(data) if args[-1] is Ellipsis else args
        return tuple(_decode(k, item) for k, item in zip(kinds, data, strict=True))
    if origin is dict:
        return {k: _decode(typing.get_args(kind)[1], v) for k, v in data.items()}
    if origin is typing.Literal or kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, data)
    if kind is bytes:
        return bytes.fromhex(data)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    return _scalar(kind, data)


def _decode_fields(kind: Any, data: Any) -> Any:
    fields = {f.name for f in dataclasses.fields(kind)}
    return kind(
        **{name: _decode(hint, data[name]) for name, hint in _hints(kind).items() if name in data and name in fields}
    )


def _scalar(kind: Any, data: Any) -> Any:
    if kind in (str, int, bool, float) and type(data) is not kind and not (kind is float and type(data) is int):
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data


def _decode_union(kinds: tuple[Any, ...], data: Any) -> Any:
    if data is None and type(None) in kinds:
        return None
    rest = [k for k in kinds if k is not type(None)]
    if isinstance(data, dict) and "is" in data:
        for kind in rest:
            if kind.__name__ == data["is"]:
                return _decode(kind, {k: v for k, v in data.items() if k != "is"})
        raise ValueError(f"unknown kind {data['kind']!r}")
    if len(rest) == 1:
        return _decode(rest[0], data)
    for kind in rest:
        if type(data) is kind:
            return data
    raise TypeError(f"{data!r} fits none of {rest}")
