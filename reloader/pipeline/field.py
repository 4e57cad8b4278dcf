"""One number in a map's value, found by its path in a layout, and read from bytes. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping

from reloader.frozen import frozen
from reloader.structs.numbers import field_order
from reloader.structs.tree import TypeTree

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


@frozen
class Number:
    """Where a whole number lies in a value; bytes from its start."""

    offset: int
    size: int
    signed: bool
    order: str  # "little" or "big"

    def sum(self, values: Iterable[bytes], stride: int = 0) -> int:
        """Over all values, each of them one CPU's after the other's if `stride` says how far apart those are."""
        end, total = self.offset + self.size, 0
        for value in values:
            for at in range(0, len(value), stride or len(value)):
                piece = value[at + self.offset : at + end]
                total += int.from_bytes(piece, self.order, signed=self.signed)  # type: ignore[arg-type]
        return total


def find(
    tree: TypeTree | None, path: str, native: str = sys.byteorder, orders: Mapping[str, str] | None = None
) -> Number | None:
    """The number of that path; None when there is no such field, or it is none (a struct, text, a bit-field).
    `orders`: byte orders that the author says, by path."""
    offset, found = 0, tree
    for name, index in _steps(path):
        if found is None:
            return None
        if index is not None:
            found, offset = _element(found, index, offset)
            continue
        member = next((m for m in found.fields() if m.name == name), None) if found.aggregate else None
        if member is None or member.bits:
            return None
        found, offset = member.type, offset + member.offset_bits // 8
    if found is None or found.kind not in ("int", "enum", "bool") or found.size > 16:
        return None
    return Number(
        offset=offset, size=found.size, signed=found.signed, order=field_order(found, orders or {}, path) or native
    )


def _element(tree: TypeTree, index: int, offset: int) -> tuple[TypeTree | None, int]:
    if tree.element is None or index >= tree.count:
        return None, 0
    return tree.element, offset + index * tree.element.size


def _steps(path: str) -> list[tuple[str, int | None]]:
    """`a.b[3]` → a, b, 3; a path that is none finds nothing, by a name no field has."""
    found, at = [], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return [("", None)]
        found.append((step[1] or "", int(step[2]) if step[2] else None))
        at = step.end()
    return found
