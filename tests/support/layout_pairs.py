"""Random pairs of C structs with rules from one to the other, and the same conversion by names in plain Python.

What the tests of reloader.layouts share. A struct is a list of `Var`s; `laid_out` gives its TypeTree by C's own rules
of alignment, `c_text` its source. `Change` holds a new struct, the rules a person would write, and `expected`:
a function from the old fields' values to the new ones', or Misfit. It knows nothing of offsets or pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from reloader.layouts.rules import FieldRule, LayoutVersion
from reloader.structs.encode import encode
from reloader.structs.tree import Member, TypeTree

Values = dict[str, Any]
SIZES = (1, 2, 4, 8)
C_NAMES = {
    **{f"{sign}{8 * size}": f"__{sign}{8 * size}" for sign in "us" for size in SIZES},
    "be16": "__be16", "be32": "__be32", "be64": "__be64", "char": "char", "bool": "_Bool",
}  # fmt: skip


class Misfit(Exception):
    """A value that does not fit the narrowed field."""


@dataclass(frozen=True, kw_only=True)
class Var:
    """One field: a scalar, or `count` of them in a row."""

    name: str
    kind: str  # a key of C_NAMES
    count: int = 0  # 0: no array

    @property
    def scalar(self) -> TypeTree:
        if self.kind == "char":
            return TypeTree(kind="char", name="char", size=1, signed=True)
        if self.kind == "bool":
            return TypeTree(kind="bool", name="_Bool", size=1)
        order, bits = ("big", self.kind[2:]) if self.kind.startswith("be") else ("", self.kind[1:])
        return TypeTree(kind="int", size=int(bits) // 8, signed=self.kind.startswith("s"), order=order)

    @property
    def tree(self) -> TypeTree:
        one = self.scalar
        return TypeTree(kind="array", size=one.size * self.count, element=one, count=self.count) if self.count else one

    def c_text(self) -> str:
        return f"{C_NAMES[self.kind]} {self.name}" + (f"[{self.count}]" if self.count else "") + ";"

    def fits(self, value: int) -> bool:
        bits = 8 * self.scalar.size
        low = -(1 << bits - 1) if self.scalar.signed else 0
        return low <= value < low + (1 << bits)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step: what it makes of a struct, said in rules and in Python."""

    old: tuple[Var, ...]
    new: tuple[Var, ...]
    rules: dict[str, FieldRule]
    moves: tuple[Callable[[Values, Values], None], ...] = field(default=())

    def expected(self, values: Values) -> Values:
        out: Values = {}
        for move in self.moves:
            move(values, out)
        return out


def laid_out(variables: tuple[Var, ...], *, packed: bool = False) -> TypeTree:
    """As C does it: each field at a multiple of its alignment, the whole rounded up to the largest."""
    at, widest, members = 0, 1, []
    for v in variables:
        step = 1 if packed else v.scalar.size
        at = -(-at // step) * step
        members.append(Member(name=v.name, offset_bits=at * 8, type=v.tree))
        at, widest = at + v.tree.size, max(widest, step)
    return TypeTree(kind="struct", name="s", size=-(-at // widest) * widest, members=tuple(members))


def c_text(name: str, variables: tuple[Var, ...], *, packed: bool = False) -> str:
    body = " ".join(v.c_text() for v in variables)
    return f"struct {name} {{ {body} }}{' __attribute__((packed))' * packed};"


def version(number: int, value: TypeTree, rules: dict[str, FieldRule], **more: Any) -> LayoutVersion:
    key = TypeTree(kind="int", size=4)
    return LayoutVersion(schema="t", map="m", version=number, key=key, value=value, value_rules=rules, **more)


def encoded(tree: TypeTree, values: Values) -> bytes:
    return encode(tree, values, path="value", complete=False)


# --- strategies


def scalars_of(v: Var) -> st.SearchStrategy[Any]:
    if v.kind == "bool":
        return st.booleans()
    bits, signed = 8 * v.scalar.size, v.scalar.signed
    low = -(1 << bits - 1) if signed else 0
    return st.one_of(
        st.integers(low, low + (1 << bits) - 1), st.integers(0, 100), st.sampled_from([low, low + (1 << bits) - 1])
    )


def values_of(variables: tuple[Var, ...]) -> st.SearchStrategy[Values]:
    made: dict[str, st.SearchStrategy[Any]] = {}
    for v in variables:
        made[v.name] = st.lists(scalars_of(v), min_size=v.count, max_size=v.count) if v.count else scalars_of(v)
    return st.fixed_dictionaries(made)


def kinds() -> st.SearchStrategy[str]:
    return st.sampled_from([k for k in C_NAMES if k != "char"])


@st.composite
def structs(draw: st.DrawFn, prefix: str = "f", most: int = 7) -> tuple[Var, ...]:
    count = draw(st.integers(1, most))
    return tuple(
        Var(name=f"{prefix}{i}", kind=draw(kinds()), count=draw(st.sampled_from([0, 0, 0, 1, 2, 3, 5, 9])))
        for i in range(count)
    )


@st.composite
def changes(draw: st.DrawFn, old: tuple[Var, ...], prefix: str = "g") -> Change:
    """Keeps, renames, resizes, drops and overrides fields, adds others, and puts them in any order."""
    step = _Step(draw, prefix)
    for v in old:
        draw(st.sampled_from([step.keep, step.keep, step.rename, step.resize, step.drop, step.override]))(v)
    for i in range(draw(st.integers(0, 2)) or (not step.new)):
        step.add(i)
    order = draw(st.permutations(step.new))
    return Change(old=old, new=tuple(order), rules=step.rules, moves=tuple(step.moves))


class _Step:
    """A change while it is drawn."""

    def __init__(self, draw: st.DrawFn, prefix: str) -> None:
        self._draw, self._prefix = draw, prefix
        self.new: list[Var] = []
        self.rules: dict[str, FieldRule] = {}
        self.moves: list[Callable[[Values, Values], None]] = []

    def keep(self, v: Var) -> None:
        self.new.append(v)
        self._copy(v, v)

    def rename(self, v: Var) -> None:
        other = replace(v, name=f"{self._prefix}_{v.name}")
        self.new.append(other)
        self.rules[other.name] = FieldRule(rename=v.name)
        self._copy(v, other)

    def resize(self, v: Var) -> None:
        """Another size of the same sign; only numbers have one."""
        if v.kind[0] not in "us":
            self.keep(v)
            return
        other = replace(v, kind=f"{v.kind[0]}{8 * self._draw(st.sampled_from(SIZES))}")
        self.new.append(other)
        if other.scalar.size != v.scalar.size:
            wider = other.scalar.size > v.scalar.size
            self.rules[v.name] = FieldRule(widen=wider, narrow=not wider)
        self._copy(v, other)

    def drop(self, v: Var) -> None:
        self.rules[v.name] = FieldRule(drop=True, accept_loss=True)

    def override(self, v: Var) -> None:
        self._make_up(v, lambda data: FieldRule(const=data))

    def add(self, index: int) -> None:
        self._make_up(
            Var(name=f"{self._prefix}_new{index}", kind=self._draw(kinds())), lambda data: FieldRule(default=data)
        )

    def _make_up(self, v: Var, rule: Callable[[bytes], FieldRule]) -> None:
        made = self._draw(values_of((v,)))[v.name]
        data = encode(v.tree, made, path="value", complete=False)
        self.new.append(v)
        self.rules[v.name] = rule(data)
        self.moves.append(lambda _, out: out.update({v.name: made}))

    def _copy(self, v: Var, other: Var) -> None:
        def move(values: Values, out: Values) -> None:
            value = values[v.name]
            if not all(other.fits(int(n)) for n in (value if v.count else [value])):
                raise Misfit(v.name)
            out[other.name] = value

        self.moves.append(move)
