"""A layout as rules see it: fields by name, with bit-fields and unnamed unions as units that move whole.

Between structs/tree.py and layouts/match.py. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from reloader.frozen import frozen
from reloader.structs.tree import Member, TypeTree, identity

LOCKS = frozenset({"bpf_spin_lock", "bpf_res_spin_lock"})


@frozen
class Field:
    """One member by the name rules use: `packets`, bit-fields `a,b`, an unnamed union `v4|v6`."""

    name: str
    at: int  # bytes, from the start of the enclosing type
    type: TypeTree


@frozen
class Atom:
    """Bytes that have one meaning: `count` scalars in a row, a union, a unit of bit-fields."""

    path: str  # without indices, as `slots[].count`
    at: int  # bytes, from the start of the whole
    type: TypeTree  # of one
    count: int = 1

    @property
    def end(self) -> int:
        return self.at + self.type.size * self.count

    def text(self) -> str:
        shown = type_text(self.type) + (f"[{self.count}]" if self.count > 1 else "")
        return f"{self.path} ({shown} at {self.at})" if self.path else f"the whole ({shown})"


def fields(tree: TypeTree) -> list[Field]:
    """The members of a struct or data section."""
    out: list[Field] = []
    bits: list[Member] = []
    for m in _lifted(tree, 0):
        if m.bits:
            bits.append(m)
        else:
            out.append(Field(name=m.name, at=m.offset_bits // 8, type=m.type))
    return sorted([*out, *_units(bits)], key=lambda f: f.at)


def _lifted(tree: TypeTree, base: int) -> Iterator[Member]:
    for m in tree.members:
        at = base + m.offset_bits
        if m.name:
            yield Member(name=m.name, offset_bits=at, bits=m.bits, type=m.type)
        elif m.type.kind == "union":
            name = "|".join(inner.name for inner in m.type.fields()) or "union"
            yield Member(name=name, offset_bits=at, type=m.type)
        elif m.type.aggregate:
            yield from _lifted(m.type, at)


def _units(bits: list[Member]) -> Iterator[Field]:
    """Bit-fields that share a byte belong together."""
    group: list[Member] = []
    end = 0
    for m in sorted(bits, key=lambda m: m.offset_bits):
        if group and m.offset_bits // 8 >= end:
            yield _unit(group, end)
            group, end = [], 0
        group.append(m)
        end = max(end, (m.offset_bits + m.bits + 7) // 8)
    if group:
        yield _unit(group, end)


def _unit(group: list[Member], end: int) -> Field:
    at = group[0].offset_bits // 8
    parts = tuple((f"{m.name}:{m.bits} {m.type.text()}", m.offset_bits - at * 8) for m in group)
    tree = TypeTree(kind="bits", name=",".join(m.name for m in group), size=end - at, enumerators=parts)
    return Field(name=tree.name, at=at, type=tree)


def is_struct(tree: TypeTree) -> bool:
    return tree.kind in ("struct", "datasec") and not tree.special


def flat(tree: TypeTree) -> tuple[TypeTree, int]:
    """(element, count) of an array, nested ones laid end to end; a type that is none counts once."""
    count = 1
    while tree.element is not None:
        tree, count = tree.element, count * tree.count
    return tree, count


def atoms(tree: TypeTree, path: str = "", at: int = 0, most: int = sys.maxsize) -> Iterator[Atom]:
    """All bytes of a layout that mean something, in order; padding is left out. `most` elements of an array of
    structs: two show what holds for each, wherever it lies."""
    if not tree.size:
        return
    element, count = flat(tree)
    if not is_struct(element):
        yield Atom(path=path, at=at, type=element, count=count)
        return
    inner = path + "[]" * _depth(tree)
    for i in range(min(count, most)):
        for f in fields(element):
            yield from atoms(f.type, joined(inner, f.name), at + i * element.size + f.at, most)


def _depth(tree: TypeTree) -> int:
    return 1 + _depth(tree.element) if tree.element is not None else 0


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def find(tree: TypeTree, path: str) -> TypeTree | None:
    """The type of a field by its path; arrays of structs are written `slots[].count`."""
    at = tree
    for step in path.split(".") if path else ():
        name = step.rstrip("[]")
        if name:
            found = next((f.type for f in fields(at) if f.name == name), None) if is_struct(at) else None
            if found is None:
                return None
            at = found
        for _ in range((len(step) - len(name)) // 2):
            if at.element is None:
                return None
            at = at.element
    return at


def holds_special(tree: TypeTree) -> str:
    """What in a type only the kernel may write, by name; empty when there is nothing."""
    if tree.special:
        return f"{tree.tag} pointer" if tree.tag else tree.name
    inner = [m.type for m in tree.members] + ([tree.element] if tree.element else [])
    return next((found for t in inner if (found := holds_special(t))), "")


def holds_bound(tree: TypeTree) -> str:
    """The same, but for locks, which start open in every converted entry: nothing else of the kind can be carried."""
    if tree.special:
        return "" if tree.name in LOCKS else holds_special(tree)
    inner = [m.type for m in tree.members] + ([tree.element] if tree.element else [])
    return next((found for t in inner if (found := holds_bound(t))), "")


def same(one: TypeTree, other: TypeTree) -> bool:
    return identity(one) == identity(other)


def type_text(tree: TypeTree) -> str:
    return f"bits {tree.name}" if tree.kind == "bits" else tree.text()


def mask(size: int, spans: Iterable[tuple[int, int]]) -> bytearray:
    """One for every byte that a span holds."""
    out = bytearray(size)
    for start, end in spans:
        out[start:end] = b"\1" * (end - start)
    return out
