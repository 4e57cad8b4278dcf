"""A layout as a value: what is at which offset, field by field.

btf.py makes these from type information, wishes and records carry them as JSON, plan/state/compat.py compares
them, structs/encode.py writes entries by them. A leaf: imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reloader.frozen import frozen

SPECIAL = frozenset({
    "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_list_head", "bpf_list_node",
    "bpf_rb_root", "bpf_rb_node", "bpf_refcount", "bpf_dynptr",
})  # fmt: skip
"""Structs the kernel alone fills; two of them may look alike, so here the name is part of the layout."""


@frozen
class Member:
    """One field of a struct or union, or one variable of a data section."""

    name: str  # empty for an anonymous struct or union
    offset_bits: int  # from the start of the enclosing type
    bits: int = 0  # width of a bit-field; 0 when it is none
    type: TypeTree


@frozen
class TypeTree:
    """A layout with typedefs and qualifiers seen through. Pointers are leaves: they are never followed."""

    kind: str  # int bool char float enum struct union array ptr datasec; map: what a map of maps holds
    name: str = ""  # the outermost typedef or the tag; of a pointer, what it points to
    size: int  # bytes
    signed: bool = False
    order: str = ""  # "big" or "little" where a typedef such as __be32 says so
    tag: str = ""  # a pointer's btf_type_tag, as "kptr"
    members: tuple[Member, ...] = ()
    element: TypeTree | None = None  # arrays
    count: int = 0  # arrays
    enumerators: tuple[tuple[str, int], ...] = ()

    @property
    def aggregate(self) -> bool:
        return self.kind in ("struct", "union", "datasec")

    @property
    def special(self) -> bool:
        """Whether only the kernel may write it: locks, timers, lists, kernel pointers."""
        return (self.kind == "struct" and self.name in SPECIAL) or bool(self.tag)

    def fields(self) -> Iterator[Member]:
        """Members by the names C knows them under: those of anonymous ones are lifted, padding left out."""
        for member in self.members:
            if member.name:
                yield member
            elif member.type.aggregate:
                for inner in member.type.fields():
                    yield replace(inner, offset_bits=member.offset_bits + inner.offset_bits)

    def text(self) -> str:
        """As a person would write it: `u32`, `be16`, `char[16]`, `enum action`, `struct flow`."""
        if self.kind in ("int", "bool", "char", "float"):
            return self._scalar_text()
        if self.kind == "array":
            return f"{self.element.text() if self.element else '?'}[{self.count}]"
        if self.kind == "map":
            return f"{self.name} of {' → '.join(m.type.text() for m in self.members)}"
        if self.kind == "ptr":
            return f"{self.name or 'void'} {self.tag + ' ' if self.tag else ''}*"
        return f"{self.kind} {self.name}".rstrip()

    def _scalar_text(self) -> str:
        if self.kind != "int":
            return self.kind if self.kind != "float" else f"f{self.size * 8}"
        prefix = {"big": "be", "little": "le"}.get(self.order, "s" if self.signed else "u")
        return f"{prefix}{self.size * 8}"


@frozen
class Leaf:
    """One field without fields of its own, as `leaves()` finds it."""

    path: str  # dotted, as `a.b[3].c`
    offset_bits: int  # from the start of the whole
    bits: int
    type: TypeTree


def leaves(tree: TypeTree, path: str = "", offset_bits: int = 0, bits: int = 0) -> Iterator[Leaf]:
    """All fields down to scalars and arrays of scalars; lazily, as an array of structs may be long."""
    element = tree.element
    if tree.aggregate and not tree.special:
        for m in tree.fields():
            yield from leaves(m.type, f"{path}.{m.name}" if path else m.name, offset_bits + m.offset_bits, m.bits)
    elif element is not None and (element.aggregate or element.element):
        for i in range(tree.count):
            yield from leaves(element, f"{path}[{i}]", offset_bits + i * element.size * 8)
    else:
        yield Leaf(path=path, offset_bits=offset_bits, bits=bits, type=tree)


def identity(tree: TypeTree | None) -> tuple[object, ...]:
    """What makes two layouts one, as nested tuples: names of fields count, names of types do not."""
    if tree is None:
        return ("unknown",)
    if tree.aggregate:
        members = [(m.offset_bits, m.name, m.bits, identity(m.type)) for m in tree.fields()]
        return (tree.kind, tree.name if tree.special else "", tree.size, *sorted(members, key=lambda m: m[:3]))
    if tree.kind == "array":
        return ("array", tree.count, identity(tree.element))
    if tree.kind == "map":
        return ("map", tree.name, *(identity(m.type) for m in tree.members))
    if tree.kind == "ptr":
        return ("ptr", tree.size, tree.tag, tree.name if tree.tag else "")
    return (tree.kind, tree.size, tree.signed, tree.order, *sorted(tree.enumerators))


def map_of(kind: str, key: TypeTree, value: TypeTree) -> TypeTree:
    """What a map of maps holds: maps of that type (as bpftool writes it), whose entries are of these."""
    sides = (("key", key), ("value", value))
    return TypeTree(
        kind="map", name=kind, size=4, members=tuple(Member(name=n, offset_bits=0, type=t) for n, t in sides)
    )


def entry_of(key: TypeTree, value: TypeTree) -> tuple[TypeTree, TypeTree]:
    """Key and value of the entries that hold the state: of a map of maps, those of the maps in it."""
    return (value.members[0].type, value.members[1].type) if value.kind == "map" else (key, value)


def layout_digest(key: TypeTree | None, value: TypeTree | None) -> str:
    """Eight hex digits, equal exactly when both layouts are equal field by field."""
    from hashlib import sha256

    return sha256(repr((identity(key), identity(value))).encode()).hexdigest()[:8]
