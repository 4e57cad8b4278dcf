"""Layouts as the registry writes them ↔ TypeTrees: `u32`, `char[16]`, or a mapping with every field's offset.

What is read back has the same identity as what was written; names of typedefs are not kept, as no layout
depends on them. Used by registry.py and pipeline/registry/next_version.py. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from reloader.pipeline.document import Steps, quoted
from reloader.pipeline.registry import texts
from reloader.structs.tree import Member, TypeTree, map_of
from reloader.wording.message import Message

_WIDTH = 110
_SCALAR = re.compile(r"(u|s|be|le|f)(8|16|32|64|128)")
_ORDER = {"be": "big", "le": "little"}
_AGGREGATES = {"struct": "struct", "union": "union", "section": "datasec"}
_KINDS = (*_AGGREGATES, "enum", "pointer", "array", "map")


class LayoutProblem(ValueError):
    """A layout that cannot be: `steps` lead to the place, from the type's own root."""

    def __init__(self, steps: Steps, message: Message) -> None:
        super().__init__(message)
        self.steps = steps
        self.message = message


# --- reading


def read_type(data: Any, steps: Steps = ()) -> TypeTree:
    """A type as the schema lets it be written; LayoutProblem when it contradicts itself."""
    if isinstance(data, str):
        return _named(data)
    kinds = [k for k in _KINDS if k in data]
    if len(kinds) != 1:
        raise LayoutProblem(steps, texts.TYPE_NOT_CLEAR(kinds=_KINDS))
    kind = kinds[0]
    if kind == "map":
        return _nested(data, steps)
    if data.keys() & {"key", "value"}:
        raise LayoutProblem(steps, texts.KEY_OUTSIDE_MAP())
    if kind in _AGGREGATES:
        return _aggregate(kind, data, steps)
    if kind == "pointer":
        return TypeTree(kind="ptr", name=data["pointer"], size=8, tag=data.get("tag", ""))
    if kind == "array":
        element = read_type(data["array"], (*steps, "array"))
        count = _wanted(data, "count", steps)
        return TypeTree(kind="array", size=element.size * count, element=element, count=count)
    size = _wanted(data, "size", steps)
    if size not in (1, 2, 4, 8):
        raise LayoutProblem((*steps, "size"), texts.ENUM_SIZE(size=size))
    values = tuple(data.get("values", {}).items())
    return TypeTree(kind="enum", name=data["enum"], size=size, signed=data.get("signed", False), enumerators=values)


def _nested(data: Any, steps: Steps) -> TypeTree:
    if steps:
        raise LayoutProblem(steps, texts.MAP_NOT_OUTERMOST())
    key, value = (read_type(_given(data, side, steps), (*steps, side)) for side in ("key", "value"))
    return map_of(data["map"], key, value)


def _given(data: Any, name: str, steps: Steps) -> Any:
    if name not in data:
        raise LayoutProblem(steps, texts.FIELD_MISSING(field=name))
    return data[name]


def _wanted(data: Any, name: str, steps: Steps) -> int:
    return int(_given(data, name, steps))


def _named(text: str) -> TypeTree:
    base, *counts = re.split(r"\[|\]\[|\]", text.removesuffix("]"))
    tree = _scalar(base)
    for count in reversed(counts):
        tree = TypeTree(kind="array", size=int(count) * tree.size, element=tree, count=int(count))
    return tree


def _scalar(base: str) -> TypeTree:
    if base in ("char", "uchar"):
        return TypeTree(kind="char", name="char", size=1, signed=base == "char")
    if base == "bool":
        return TypeTree(kind="bool", name="bool", size=1)
    match = _SCALAR.fullmatch(base)
    assert match  # the schema's pattern holds it
    prefix, size = match[1], int(match[2]) // 8
    kind = "float" if prefix == "f" else "int"
    return TypeTree(kind=kind, size=size, signed=prefix in ("s", "f"), order=_ORDER.get(prefix, ""))


def _aggregate(kind: str, data: Any, steps: Steps) -> TypeTree:
    size = _wanted(data, "size", steps)
    members = []
    for i, item in enumerate(data.get("fields", [])):
        here = (*steps, "fields", i)
        tree = read_type(item["type"], (*here, "type"))
        offset, bits = item["at"] * 8 + item.get("bit", 0), item.get("bits", 0)
        if "bit" in item and not bits:
            raise LayoutProblem(here, texts.BITS_MISSING())
        if offset + (bits or tree.size * 8) > size * 8:
            raise LayoutProblem(here, texts.FIELD_BEYOND_END(size=size, kind=kind))
        members.append(Member(name=item.get("name", ""), offset_bits=offset, bits=bits, type=tree))
    return TypeTree(kind=_AGGREGATES[kind], name=data[kind], size=size, members=tuple(members))


# --- writing


def write_type(tree: TypeTree, indent: int) -> Iterator[str]:
    """Lines of YAML; the first one follows `type:` on its line when it is short, else is empty."""
    flow = flow_type(tree)
    if flow and indent + len(flow) <= _WIDTH and not tree.aggregate:
        yield flow
        return
    yield ""
    pad = " " * indent
    if tree.aggregate:
        word = next(w for w, k in _AGGREGATES.items() if k == tree.kind)
        yield f"{pad}{word}: {quoted(tree.name)}"
        yield f"{pad}size: {tree.size}"
        yield f"{pad}fields:" + ("" if tree.members else " []")
        for member in tree.members:
            yield from _field(member, indent + 2)
    elif tree.kind == "map":
        yield f"{pad}map: {tree.name}"
        for side in tree.members:
            first, *rest = write_type(side.type, indent + 2)
            yield f"{pad}{side.name}: {first}".rstrip()
            yield from rest
    elif tree.kind == "array" and tree.element is not None:
        first, *rest = write_type(tree.element, indent + 2)
        yield f"{pad}array: {first}".rstrip()
        yield from rest
        yield f"{pad}count: {tree.count}"
    else:
        yield f"{pad}enum: {quoted(tree.name)}"
        yield f"{pad}size: {tree.size}"
        yield from [f"{pad}signed: true"] * tree.signed
        yield f"{pad}values:"
        yield from (f"{pad}  {quoted(name)}: {value}" for name, value in tree.enumerators)


def _field(member: Member, indent: int) -> Iterator[str]:
    pad = " " * indent
    name = f"name: {quoted(member.name)}, " if member.name else ""
    place = f"at: {member.offset_bits // 8}"
    if member.bits:
        place += f", bit: {member.offset_bits % 8}, bits: {member.bits}"
    flow = flow_type(member.type)
    if flow and not member.type.aggregate and indent + len(flow) + len(name) + len(place) < _WIDTH:
        yield f"{pad}- {{{name}type: {flow}, {place}}}"
        return
    parts = [*([name.removesuffix(", ")] if name else []), *place.split(", ")]
    yield f"{pad}- {parts[0]}"
    yield from (f"{pad}  {part}" for part in parts[1:])
    first, *rest = write_type(member.type, indent + 4)
    yield f"{pad}  type: {first}".rstrip()
    yield from rest


def flow_type(tree: TypeTree) -> str:
    """A type on one line; empty for what needs more."""
    match tree.kind:
        case "array":
            return _flow_array(tree)
        case "enum":
            signed = ", signed: true" if tree.signed else ""
            values = ", ".join(f"{quoted(name)}: {value}" for name, value in tree.enumerators)
            return f"{{enum: {quoted(tree.name)}, size: {tree.size}{signed}, values: {{{values}}}}}"
        case "ptr":
            tag = f", tag: {quoted(tree.tag)}" if tree.tag else ""
            return f"{{pointer: {quoted(tree.name)}{tag}}}"
        case "char":
            return "char" if tree.signed else "uchar"
        case "int" | "bool" | "float":
            return tree.text()
    return ""


def _flow_array(tree: TypeTree) -> str:
    counts, element = "", tree
    while element.element is not None:
        counts, element = f"{counts}[{element.count}]", element.element
    base = flow_type(element)
    if not base or base.startswith("{"):
        inner = flow_type(tree.element) if tree.element else ""
        return f"{{array: {inner}, count: {tree.count}}}" if inner else ""
    return f'"{base}{counts}"'  # brackets mean a list where they stand bare
