"""`@frozen`: a frozen, slotted, keyword-only dataclass, made in a quarter of the usual time.

The standard decorator compiles six functions a class: 0.8 ms where a bare interpreter starts in 28, and one
command imports eighty classes. Here only __init__ is compiled and the rest is shared. What comes out is a
dataclass to all who ask: fields(), replace(), is_dataclass(). The lowest leaf: imports nothing of the package.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")

_slotted = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(kind: type[T]) -> type[T]:
    """The same as @dataclass(frozen=True, slots=True, kw_only=True), for a class that inherits no field."""
    kind.__doc__ = kind.__doc__ or kind.__name__  # the standard decorator would write out a signature
    for name, function in _SHARED.items():
        if kind.__dict__.get(name) is None:  # __hash__ is None beside an own __eq__
            setattr(kind, name, function)
    made: Any = _slotted(kind)
    made.__init__ = _initialiser(made)
    made._compared = staticmethod(_values_of([f.name for f in fields(made) if f.compare]))
    return made  # type: ignore[no-any-return]


def _initialiser(kind: Any) -> Any:
    """__init__, compiled in the class's own module, so that its annotations can be resolved there."""
    outer: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    words, body = ["self"], []
    for f in fields(kind):
        default = ""
        if f.default is not MISSING:
            outer[f"_default_{f.name}"], default = f.default, f"=_default_{f.name}"
        elif f.default_factory is not MISSING:
            outer[f"_make_{f.name}"], default = f.default_factory, "=_missing"
            body.append(f"if {f.name} is _missing: {f.name} = _make_{f.name}()")
        words += [] if len(words) > 1 else ["*"]
        words.append(f"{f.name}{default}")
        body.append(f"_set(self, {f.name!r}, {f.name})")
    if hasattr(kind, "__post_init__"):
        body.append("self.__post_init__()")
    lines = "\n  ".join(body or ["pass"])
    text = f"def make({', '.join(outer)}):\n def __init__({', '.join(words)}):\n  {lines}\n return __init__"
    made: dict[str, Any] = {}
    exec(text, vars(sys.modules[kind.__module__]), made)
    initialise = made["make"](**outer)
    initialise.__qualname__ = f"{kind.__qualname__}.__init__"
    initialise.__annotations__ = {f.name: f.type for f in fields(kind)} | {"return": None}
    return initialise


def _values_of(names: list[str]) -> Any:
    return attrgetter(*names) if names else lambda _: ()


def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self is other or self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse_to_set(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for f, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, f.name, value)


_SHARED = {
    "__repr__": _repr, "__eq__": _eq, "__hash__": _hash, "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete, "__getstate__": _state, "__setstate__": _restore,
}  # fmt: skip
