"""How the entries of one map look, and a row of them encoded: what listing.py and bulk.py share.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reloader.errors import Problem
from reloader.frozen import frozen
from reloader.pipeline.entries import texts
from reloader.pipeline.wish import orders_below
from reloader.structs import encode
from reloader.structs.tree import Member, TypeTree
from reloader.wording.message import Message


@frozen
class Shape:
    """What a map's keys and values look like, and the byte orders BTF does not say."""

    key: TypeTree | None  # None: the object says sizes only; `hex:…` and numbers are taken then
    value: TypeTree | None
    key_size: int
    value_size: int
    byteorder: Mapping[str, str] | None = None  # `key.port` -> "network" | "host"

    def side(self, side: str) -> tuple[TypeTree | None, int]:
        return (self.key, self.key_size) if side == "key" else (self.value, self.value_size)

    def orders(self, side: str) -> dict[str, str] | None:
        """The byte orders below `key` or `value`, by path from there; the whole is the empty path."""
        return orders_below(self.byteorder, side) or None


class Rows:
    """Encoded entries in the order of the author's list, and the line of each."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        self.lines: list[Sequence[int]] = []  # of bulk files, a chunk each; ranges mostly
        self.problems: list[Problem] = []

    def line(self, index: int) -> int:
        for chunk in self.lines:
            if index < len(chunk):
                return chunk[index]
            index -= len(chunk)
        raise IndexError(index)


def encode_side(shape: Shape, side: str, value: Any) -> bytes:
    """One key or value; ValueProblem's path starts with `key` or `value`."""
    tree, size = shape.side(side)
    return encode.encode(tree, value, path=side, byteorder=shape.orders(side), size=size)


def has_field(tree: TypeTree | None, path: str) -> bool:
    """Whether a dotted path names a field of a layout."""
    found = tree
    for step in path.removeprefix(".").replace("[", ".[").split(".") if path else ():
        if found is None:
            return False
        found = _inside(found, step)
    return found is not None


def order_problem(tree: TypeTree | None, path: str, named: str, hint: str = "") -> Message | None:
    """Say why the field at `path` below `tree` cannot have a byte order; None when it can.

    Indices may be left out. `named`: the field as the author has it. `hint`: what to do when it does not exist.
    """
    member = Member(name="", offset_bits=0, type=tree) if tree else None
    for step in path.removeprefix(".").replace("[", ".[").split(".") if path else ():
        found = member.type if member else None
        while found and found.element and not step.startswith("["):
            found = found.element
        member = _member(found, step) if found else None
    if member is None:
        return texts.NO_SUCH_FIELD(field=named, hint=hint)
    leaf = member.type
    while leaf.element:
        leaf = leaf.element
    if leaf.aggregate:
        return texts.ORDER_OF_STRUCT(field=named, type=leaf.text(), fields=[m.name for m in leaf.fields()])
    return texts.ORDER_OF_BIT_FIELD(field=named) if member.bits else None


def _member(tree: TypeTree, step: str) -> Member | None:
    if step.startswith("["):
        found = _inside(tree, step)
        return Member(name="", offset_bits=0, type=found) if found else None
    return next((m for m in tree.fields() if m.name == step), None) if tree.aggregate else None


def _inside(tree: TypeTree, step: str) -> TypeTree | None:
    if step.startswith("["):
        index = step[1:-1]
        return tree.element if index.isdecimal() and int(index) < tree.count else None
    return next((m.type for m in tree.fields() if m.name == step), None) if tree.aggregate else None
