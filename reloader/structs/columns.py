"""Tables to entries, whole columns at a time: 200,000 rows must not cost more than the kernel's own inserts.

Every column becomes numbers or bytes in one C-level pass, and one struct packs the rows. What that pass does
not understand is encoded once per distinct word, and the first one that does not fit is found there.
Called by `encode_columns` of structs/encode.py, which gives it the encoder of a single cell. Pure.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from reloader.frozen import frozen
from reloader.structs import texts
from reloader.structs.numbers import RowProblem, ValueProblem, beyond_prefix, field_order, place_bits
from reloader.structs.tree import Member, TypeTree, leaves

_CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q"} | {
    (1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q",
}  # fmt: skip

_Coded = tuple[str, Iterable[int | bytes]]  # what struct calls one column, and its values


class Cell(Protocol):
    """Encodes one word for one field; ValueProblem when it does not fit."""

    def __call__(self, leaf: TypeTree | None, text: str, path: str, bits: int) -> bytes: ...


@frozen
class _Column:
    path: str
    place: Member | None  # where in the whole; None: the whole is of unknown type
    words: Sequence[str]
    start: int  # bits
    end: int

    @property
    def bits(self) -> int:
        return self.place.bits if self.place else 0


def encode_table(
    tree: TypeTree | None,
    columns: Mapping[str, Sequence[str]],
    *,
    size: int,
    orders: Mapping[str, str],
    complete: bool,
    cell: Cell,
) -> list[bytes]:
    """The rows as bytes; RowProblem names the first that does not fit."""
    found = [_column(tree, path, words, size) for path, words in columns.items()]
    found.sort(key=lambda c: c.start)
    _check_columns(tree, found, complete)
    if any(c.bits for c in found):
        return _rows_one_by_one(found, size, cell)
    coded = [_coded(c, orders, cell) for c in found]
    wrong = [c for c in coded if isinstance(c, RowProblem)]
    if wrong:
        raise min(wrong, key=lambda w: w.index)
    return _packed(found, [c for c in coded if not isinstance(c, RowProblem)], size)


def _column(tree: TypeTree | None, path: str, words: Sequence[str], size: int) -> _Column:
    if tree is None:
        return _Column(path=path, place=None, words=words, start=0, end=size * 8)
    place = resolve(tree, path)
    if place is None:
        raise RowProblem(0, path, texts.NO_SUCH_FIELD(field=path, type=tree.text()))
    start = place.offset_bits
    return _Column(path=path, place=place, words=words, start=start, end=start + (place.bits or place.type.size * 8))


def resolve(tree: TypeTree, path: str) -> Member | None:
    """The field a dotted path names, with its place in the whole; the empty path is the whole itself."""
    found = Member(name="", offset_bits=0, type=tree)
    for step in path.replace("[", ".[").strip(".").split(".") if path else ():
        inner = _step(found.type, step)
        if inner is None:
            return None
        offset = found.offset_bits + inner.offset_bits
        found = Member(name=inner.name, offset_bits=offset, bits=inner.bits, type=inner.type)
    return found


def _step(tree: TypeTree, step: str) -> Member | None:
    if not step.startswith("["):
        return next((m for m in tree.fields() if m.name == step), None) if tree.aggregate else None
    digits, element = step[1:-1], tree.element
    if element is None or not digits.isdecimal() or len(digits) > 9 or int(digits) >= tree.count:
        return None
    return Member(name=step, offset_bits=int(digits) * element.size * 8, type=element)


def _check_columns(tree: TypeTree | None, columns: list[_Column], complete: bool) -> None:
    for before, after in pairwise(columns):
        if after.start < before.end and after.start < after.end:
            other = texts.COLUMNS_SHARE_BYTES if before.path else texts.COLUMN_SHARES_BYTES_WITH_WHOLE
            raise RowProblem(0, after.path, other(other=before.path))
    for leaf in leaves(tree) if complete and tree else ():
        start, end = leaf.offset_bits, leaf.offset_bits + (leaf.bits or leaf.type.size * 8)
        if start < end and not leaf.type.special and not any(c.start < end and start < c.end for c in columns):
            raise RowProblem(0, leaf.path, texts.COLUMN_MISSING())


# --- one column


def _coded(column: _Column, orders: Mapping[str, str], cell: Cell) -> _Coded | RowProblem:
    """A column's struct code and values, or the first word that does not fit."""
    if column.place is not None and column.words:
        found = _coded_quickly(column.place.type, field_order(column.place.type, orders, column.path), column.words)
        if found is not None:
            return found
    width = (column.end - column.start) // 8
    table: dict[str, bytes] = {}
    for word in dict.fromkeys(column.words):  # in the order of their first rows
        piece = _cell(column, word, cell)
        if isinstance(piece, RowProblem):
            return piece
        table[word] = piece
    return f"{width}s", list(map(table.__getitem__, column.words))


def _cell(column: _Column, word: str, cell: Cell) -> bytes | RowProblem:
    try:
        return cell(column.place.type if column.place else None, word, column.path, column.bits)
    except ValueProblem as wrong:
        return RowProblem(column.words.index(word), wrong.path, wrong.message)


def _coded_quickly(tree: TypeTree, order: str, words: Sequence[str]) -> _Coded | None:
    """The same in one pass for the commonest types, all-or-nothing; None leaves it to the thorough way."""
    first = words[0]
    if tree.kind == "int" and (tree.size, tree.signed) in _CODES:
        if tree.size == 4 and order == "big" and "." in first:
            return _addresses(words, 4)
        return _numbers(tree, order, words)
    if tree.kind == "array" and tree.element is not None and tree.element.kind == "int":
        if tree.size == 6 and tree.element.size == 1:
            return _macs(words)
        if tree.size == 16 and ":" in first and (tree.element.size == 1 or order == "big"):
            return _addresses(words, 16)
        return None
    if tree.kind == "struct" and "/" in first and _is_plain_prefix(tree):
        return _prefixes(tree, words)
    return None


def _numbers(tree: TypeTree, order: str, words: Sequence[str]) -> _Coded | None:
    code = _CODES[tree.size, tree.signed]
    joined = "".join(words)
    if not joined.isascii() or "_" in joined:  # int() is more lenient than we are
        return None
    try:
        numbers = array(code, map(int, words))
    except (ValueError, OverflowError):
        return None
    if numbers.itemsize != tree.size:
        return None
    if order == "big":
        numbers.byteswap()
    return code, numbers


def _addresses(words: Sequence[str], size: int) -> _Coded | None:
    from functools import partial
    from socket import AF_INET, AF_INET6, inet_pton

    try:
        return f"{size}s", list(map(partial(inet_pton, AF_INET if size == 4 else AF_INET6), words))
    except (OSError, ValueError):
        return None


def _macs(words: Sequence[str]) -> _Coded | None:
    if {word[2::3] for word in words} != {":::::"} or set(map(len, words)) != {17}:
        return None
    try:
        data = bytes.fromhex("".join(words).replace(":", ""))
    except ValueError:
        return None
    return ("6s", [data[i : i + 6] for i in range(0, len(data), 6)]) if len(data) == 6 * len(words) else None


def _is_plain_prefix(tree: TypeTree) -> bool:
    """struct { __u32 prefixlen; address of exactly 4 or 16 bytes }"""
    names = [m.name for m in tree.members]
    if len(names) != 2 or names[0] != "prefixlen" or tree.members[0].type.size != 4 or tree.size not in (8, 20):
        return False
    rest = tree.members[1]
    scalar = rest.type.element if rest.type.kind == "array" else rest.type
    return rest.offset_bits == 32 and scalar is not None and (scalar.order == "big" or scalar.size == 1)


def _prefixes(tree: TypeTree, words: Sequence[str]) -> _Coded | None:
    parts = [word.split("/") for word in words]
    if set(map(len, parts)) != {2}:
        return None
    width = (tree.size - 4) * 8
    coded = _addresses([p[0] for p in parts], tree.size - 4)
    lengths = [p[1] for p in parts]
    known = {str(n): n for n in range(width + 1)}
    if coded is None or not set(lengths) <= known.keys():
        return None
    pairs = [(data, known[text]) for data, text in zip(coded[1], lengths, strict=True) if isinstance(data, bytes)]
    if any(n < width and beyond_prefix(data, n) is not None for data, n in pairs):
        return None
    heads = [n.to_bytes(4, "little") for n in range(width + 1)]
    return f"{tree.size}s", [heads[n] + data for data, n in pairs]


# --- rows


def _packed(columns: list[_Column], coded: list[_Coded], size: int) -> list[bytes]:
    form, at = "<", 0
    for column, (code, _) in zip(columns, coded, strict=True):
        start = column.start // 8
        form += f"{start - at}x{code}"
        at = column.end // 8
    return list(map(struct.Struct(f"{form}{size - at}x").pack, *(values for _, values in coded)))


def _rows_one_by_one(columns: list[_Column], size: int, cell: Cell) -> list[bytes]:
    """With bit-fields, which no struct code places."""
    tables: list[dict[str, bytes]] = [{} for _ in columns]
    rows = []
    for words in zip(*(c.words for c in columns), strict=True):
        data = bytearray(size)
        for column, table, word in zip(columns, tables, words, strict=True):
            piece = table.get(word) or _cell(column, word, cell)
            if isinstance(piece, RowProblem):
                raise piece
            table[word] = piece
            place_bits(data, column.place or Member(name="", offset_bits=0, type=_UNKNOWN), piece)
        rows.append(bytes(data))
    return rows


_UNKNOWN = TypeTree(kind="array", size=0)
