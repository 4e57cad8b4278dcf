"""Random pairs of C structs of every shape, with rules, and the same conversion by field names in plain Python.

What layout_pairs.py does for flat structs, this does for structs in structs, arrays of them, unions, enums, typedefs,
bit-fields and packed ones, for values and for keys. A struct is a list of parts; `laid_out` gives its TypeTree by C's
rules, `c_text` its source. `expected` of a `Turn` knows nothing of offsets or rules: it moves values by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from reloader.layouts.rules import FieldRule
from reloader.structs.encode import encode
from reloader.structs.tree import Member, TypeTree
from tests.support.layout_pairs import SIZES, Misfit, Values, Var, scalars_of

Draw = Callable[[st.SearchStrategy[Any]], Any]
Move = Callable[[Values, Values], None]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A struct or union inside, or `count` structs in a row."""

    name: str
    parts: tuple[Part, ...]
    count: int = 0  # 0: no array
    union: bool = False
    packed: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An enum of 4 bytes."""

    name: str
    numbers: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Bit-fields in units of one type; each run of them starts with a new unit."""

    name: str
    size: int  # bytes of a unit
    widths: tuple[tuple[str, int], ...]


Part = Var | Group | Choice | Bits


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One step: what it makes of a struct, said in rules and in Python."""

    old: tuple[Part, ...]
    new: tuple[Part, ...]
    rules: dict[str, FieldRule]
    moves: tuple[Move, ...]

    def expected(self, values: Values) -> Values:
        out: Values = {}
        for move in self.moves:
            move(values, out)
        return out


# --- layouts


def laid_out(parts: tuple[Part, ...], *, packed: bool = False, union: bool = False) -> TypeTree:
    """As C does it on this machine."""
    bit, widest, end, members = 0, 1, 0, list[Member]()
    for part in parts:
        bit = 0 if union else bit
        step = 1 if packed else alignment(part)
        widest = max(widest, step)
        if isinstance(part, Bits):
            bit = -(-bit // (8 * part.size)) * 8 * part.size  # the unnamed field of no width in front
            for name, width in part.widths:
                unit = 8 * part.size
                if not packed and bit % unit + width > unit:
                    bit = -(-bit // unit) * unit
                number = TypeTree(kind="int", size=part.size)
                members.append(Member(name=name, offset_bits=bit, bits=width, type=number))
                bit += width
        else:
            bit = -(-bit // (8 * step)) * 8 * step
            tree = tree_of(part)
            members.append(Member(name=part.name, offset_bits=bit, type=tree))
            bit += 8 * tree.size
        end = max(end, -(-bit // 8))
    size = -(-end // widest) * widest
    return TypeTree(kind="union" if union else "struct", name="s", size=size, members=tuple(members))


def tree_of(part: Part) -> TypeTree:
    if isinstance(part, Var):
        return part.tree
    if isinstance(part, Choice):
        signed = any(n < 0 for _, n in part.numbers)
        return TypeTree(kind="enum", name=part.name, size=4, signed=signed, enumerators=part.numbers)
    assert isinstance(part, Group)
    one = laid_out(part.parts, packed=part.packed, union=part.union)
    if not part.count:
        return one
    return TypeTree(kind="array", size=one.size * part.count, element=one, count=part.count)


def alignment(part: Part) -> int:
    if isinstance(part, Var):
        return part.scalar.size
    if isinstance(part, Choice):
        return 4
    if isinstance(part, Bits):
        return part.size
    return 1 if part.packed else max((alignment(p) for p in part.parts), default=1)


def c_text(name: str, parts: tuple[Part, ...], *, packed: bool = False) -> str:
    """The struct's source, with every enum and typedef it needs in front."""
    lead = "".join(_declared(name, p) for p in parts)
    return f"{lead}struct {name} {{ {_body(name, parts)} }}{' __attribute__((packed))' * packed};"


def _declared(top: str, part: Part) -> str:
    """With every group's name in front: two groups may have a field of the same name."""
    if isinstance(part, Group):
        return "".join(_declared(f"{top}{part.name}", p) for p in part.parts)
    if isinstance(part, Choice):
        return f"enum {top}_{part.name} {{ {', '.join(f'{top}_{n} = {v}' for n, v in part.numbers)} }};\n"
    if isinstance(part, Var) and part.count == 2:  # arrays of two go by a typedef of a typedef
        plain = replace(part, name=f"{top}_{part.name}_one_t", count=0).c_text()
        return f"typedef {plain} typedef {top}_{part.name}_one_t {top}_{part.name}_t[2];\n"
    return ""


def _body(top: str, parts: tuple[Part, ...]) -> str:
    return " ".join(_line(top, p) for p in parts)


def _line(top: str, part: Part) -> str:
    if isinstance(part, Bits):
        unit = f"__u{8 * part.size}"
        return f"{unit} : 0; " + " ".join(f"{unit} {name} : {width};" for name, width in part.widths)
    if isinstance(part, Choice):
        return f"enum {top}_{part.name} {part.name};"
    if isinstance(part, Var):
        return f"{top}_{part.name}_t {part.name};" if part.count == 2 else part.c_text()
    rows = f"[{part.count}]" if part.count else ""
    word = "union" if part.union else "struct"
    body, packed = _body(f"{top}{part.name}", part.parts), " __attribute__((packed))" * part.packed
    return f"{word} {{ {body} }}{packed} {part.name}{rows};"


def plain_names(tree: TypeTree) -> TypeTree:
    """The same layout with enumerators as the parts have them: in C they need the struct's name in front."""
    members = tuple(replace(m, type=plain_names(m.type)) for m in tree.members)
    element = plain_names(tree.element) if tree.element else None
    numbers = tuple((name.split("_", 1)[1], number) for name, number in tree.enumerators)
    return replace(tree, members=members, element=element, enumerators=numbers)


def encoded(tree: TypeTree, values: Values) -> bytes:
    return encode(tree, values, path="value", complete=False)


# --- what is drawn


def parts_of(draw: Draw, prefix: str, *, depth: int = 2, most: int = 5) -> tuple[Part, ...]:
    return tuple(_part(draw, f"{prefix}{i}", depth) for i in range(draw(st.integers(1, most))))


def _part(draw: Draw, name: str, depth: int) -> Part:
    kind = draw(st.sampled_from(["num", "num", "num", "bits", "enum", *(["struct", "row", "union"] if depth else [])]))
    if kind == "bits":
        size = draw(st.sampled_from((1, 2, 4, 8)))
        count = draw(st.integers(1, 3))
        widths = tuple((f"{name}b{i}", draw(st.integers(1, 8 * size))) for i in range(count))
        return Bits(name=name, size=size, widths=widths)
    if kind == "enum":
        low = draw(st.sampled_from([0, 0, -1]))
        return Choice(name=name, numbers=tuple((f"{name}e{i}", low + i) for i in range(draw(st.integers(1, 4)))))
    if kind == "num":
        return _number(draw, name)
    if kind == "union":
        return Group(name=name, parts=tuple(_number(draw, f"{name}u{i}") for i in range(2)), union=True)
    return Group(
        name=name, parts=parts_of(draw, f"{name}s", depth=depth - 1, most=3), packed=draw(st.booleans()),
        count=draw(st.integers(1, 3)) if kind == "row" else 0,
    )  # fmt: skip


def _number(draw: Draw, name: str) -> Var:
    kind = draw(st.sampled_from([*(f"{s}{8 * n}" for s in "us" for n in SIZES), "be16", "be32", "be64", "bool"]))
    return Var(name=name, kind=kind, count=draw(st.sampled_from([0, 0, 0, 2, 3, 5])))


def values_of(draw: Draw, parts: tuple[Part, ...]) -> Values:
    out: Values = {}
    for part in parts:
        if isinstance(part, Bits):
            out |= {name: draw(st.integers(0, (1 << width) - 1)) for name, width in part.widths}
        else:
            out[part.name] = _value(draw, part)
    return out


def _value(draw: Draw, part: Var | Group | Choice) -> Any:
    if isinstance(part, Choice):
        return draw(st.sampled_from([name for name, _ in part.numbers]))
    if isinstance(part, Var):
        return [draw(scalars_of(part)) for _ in range(part.count)] if part.count else draw(scalars_of(part))
    if part.union:
        arm = part.parts[draw(st.integers(0, len(part.parts) - 1))]
        assert isinstance(arm, Var)
        return {arm.name: _value(draw, arm)}
    if part.count:
        return [values_of(draw, part.parts) for _ in range(part.count)]
    return values_of(draw, part.parts)


def turn(draw: Draw, old: tuple[Part, ...], prefix: str = "g", *, key: bool = False) -> Turn:
    """A change of these parts. `key`: one that cannot make two keys fall together, or lose one."""
    step = _Step(draw, prefix, "", key=key)
    step.all(old)
    return Turn(old=old, new=step.parts(), rules=step.rules, moves=tuple(step.moves))


class _Step:
    """A change while it is drawn, of the parts of one struct."""

    def __init__(self, draw: Draw, prefix: str, path: str, *, key: bool) -> None:
        self._draw, self._prefix, self._path, self._key = draw, prefix, path, key
        self._new: list[Part] = []
        self.rules: dict[str, FieldRule] = {}
        self.moves: list[Move] = []

    def all(self, old: tuple[Part, ...]) -> None:
        for part in old:
            self._draw(st.sampled_from(list(self._ways(part))))(part)
        if not self._new or self._draw(st.booleans()):
            self._add()

    def parts(self) -> tuple[Part, ...]:
        return tuple(self._draw(st.permutations(self._new)))

    def _ways(self, part: Part) -> Iterator[Callable[[Any], None]]:
        yield self._keep
        if not isinstance(part, Bits):
            yield self._rename
        if isinstance(part, Var) and part.kind[0] in "us":
            yield self._resize
        if isinstance(part, Choice):
            yield self._more_enumerators
        if isinstance(part, Group) and not part.union:
            yield from (self._enter, self._enter)
        if not self._key and not isinstance(part, Bits):
            yield self._drop

    def _here(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _keep(self, part: Part) -> None:
        self._new.append(part)
        names = [name for name, _ in part.widths] if isinstance(part, Bits) else [part.name]
        self.moves.append(lambda values, out: out.update({n: values[n] for n in names}))

    def _rename(self, part: Any) -> None:
        name = f"{self._prefix}{part.name}"
        self._new.append(replace(part, name=name))
        self.rules[self._here(name)] = FieldRule(rename=part.name)
        self.moves.append(lambda values, out: out.update({name: values[part.name]}))

    def _resize(self, v: Var) -> None:
        sizes = [n for n in SIZES if n >= v.scalar.size] if self._key else SIZES
        other = replace(v, kind=f"{v.kind[0]}{8 * self._draw(st.sampled_from(sizes))}")
        self._new.append(other)
        if other.scalar.size != v.scalar.size:
            wider = other.scalar.size > v.scalar.size
            self.rules[self._here(v.name)] = FieldRule(widen=wider, narrow=not wider)

        def move(values: Values, out: Values) -> None:
            value = values[v.name]
            if not all(other.fits(int(n)) for n in (value if v.count else [value])):
                raise Misfit(v.name)
            out[v.name] = value

        self.moves.append(move)

    def _more_enumerators(self, part: Choice) -> None:
        last = max(n for _, n in part.numbers)
        self._keep(replace(part, numbers=(*part.numbers, (f"{part.name}more", last + 1))))

    def _enter(self, group: Group) -> None:
        """A change inside a struct, or inside each of a row."""
        inner = _Step(self._draw, self._prefix, self._here(group.name) + "[]" * bool(group.count), key=self._key)
        inner.all(group.parts)
        self._new.append(replace(group, parts=inner.parts()))
        self.rules |= inner.rules

        def changed(values: Values) -> Values:
            out: Values = {}
            for move in inner.moves:
                move(values, out)
            return out

        def move(values: Values, out: Values) -> None:
            value = values[group.name]
            out[group.name] = [changed(v) for v in value] if group.count else changed(value)

        self.moves.append(move)

    def _drop(self, part: Any) -> None:
        self.rules[self._here(part.name)] = FieldRule(drop=True, accept_loss=True)

    def _add(self) -> None:
        v = _number(self._draw, f"{self._prefix}new")
        made = _value(self._draw, v)
        data = encode(v.tree, made, path="value", complete=False)
        self._new.append(v)
        self.rules[self._here(v.name)] = FieldRule(const=data) if self._key else FieldRule(default=data)
        self.moves.append(lambda _, out: out.update({v.name: made}))
