"""Entries as people write them ↔ the bytes of a map's keys and values, by the layout BTF gives.

`encode` turns one YAML or JSON value into bytes, `encode_columns` whole columns of a CSV file, `decode` shows
bytes. Fields go by name, padding is zero, byte order comes from the type (__be16) or from `byteorder`, whose
paths start below the root (`addr`, not `key.addr`; the empty path is the whole). An address for a field that
says neither is refused rather than guessed.
Called by pipeline/entries/listing.py, pipeline/entries/bulk.py and pipeline/compile.py; `show` uses decode. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from reloader.structs import texts
from reloader.structs.numbers import (
    HEX,
    RowProblem,
    ValueProblem,
    beyond_prefix,
    enumerator,
    field_order,
    format_address,
    int_range,
    parse_address,
    parse_hex,
    parse_int,
    parse_mac,
    parse_prefix,
    place_bits,
    suggestion,
    together,
)
from reloader.structs.tree import Member, TypeTree
from reloader.wording.message import Message

__all__ = ["RowProblem", "ValueProblem", "decode", "encode", "encode_columns", "prefix_address"]


def encode(
    tree: TypeTree | None,
    value: Any,
    *,
    path: str,
    byteorder: Mapping[str, str] | None = None,
    complete: bool | None = None,
    size: int = 0,
    base: bytes | None = None,
    hint: str = "",
) -> bytes:
    """One value's bytes; ValueProblem says what does not fit, and where below `path`.

    `complete` refuses missing fields instead of making them 0; None: do so when `path` is "key".
    `size` is only needed where `tree` is None: then bytes as `hex:…` or a number are taken.
    `base`: the value that is set in part: fields, elements and padding that `value` does not name keep these bytes,
    and an array takes `{"index": value}` too. `hint`: how the author says a byte order, with {path} in it.
    """
    whole = path == "key" if complete is None else complete
    encoder = _Encoder(path, byteorder or {}, whole, hint=hint)
    return encoder.encode(tree, value, "", base) if tree is not None else encoder.opaque(value, size)


def encode_columns(
    tree: TypeTree | None,
    columns: Mapping[str, Sequence[str]],
    *,
    size: int,
    byteorder: Mapping[str, str] | None = None,
    complete: bool = False,
    side: str = "",
) -> list[bytes]:
    """The rows of a table, column by column; columns are named by field path, the empty one is the whole value.

    `side`: `key` or `value`, for hints. RowProblem names the first row that does not fit.
    """
    from reloader.structs.columns import encode_table

    def cell(leaf: TypeTree | None, text: str, path: str, bits: int) -> bytes:
        encoder = _Encoder("", byteorder or {}, complete, side=side)
        if leaf is None:
            return encoder.opaque(text, size)
        return encoder.bitfield(leaf, text, path, bits) if bits else encoder.encode(leaf, text, path)

    return encode_table(tree, columns, size=size, orders=byteorder or {}, complete=complete, cell=cell)


def decode(tree: TypeTree | None, data: bytes, *, byteorder: Mapping[str, str] | None = None) -> Any:
    """Bytes as JSON-able values that `encode` takes back."""
    from reloader.structs.decode import show

    return show(tree, data, byteorder or {})


def prefix_address(tree: TypeTree) -> Member | None:
    """The address part of an LPM trie's key: struct { __u32 prefixlen; address }."""
    fields = list(tree.fields()) if tree.kind == "struct" else []
    if len(fields) < 2 or fields[0].name != "prefixlen" or fields[0].type.size != 4 or fields[0].type.kind != "int":
        return None
    rest = tree.members[1:]
    return rest[0] if len(rest) == 1 and rest[0].offset_bits == 32 else None


class _Encoder:
    """Carries what holds for one whole entry: its root's name, the byte orders said, whether fields may miss.

    `at` is the path below the root everywhere.
    """

    __slots__ = ("complete", "hint", "orders", "root", "side")

    def __init__(self, root: str, orders: Mapping[str, str], complete: bool, *, hint: str = "", side: str = "") -> None:
        self.root = root
        self.side = side or root  # where a byte order is said
        self.orders = orders
        self.complete = complete
        self.hint = hint

    def encode(self, tree: TypeTree, value: Any, at: str, base: bytes | None = None) -> bytes:
        """`base`: the bytes that what `value` leaves out keeps; None: zeros."""
        if isinstance(value, str) and value.startswith(HEX):
            return self._hex(tree.size, value, at)
        if tree.special:
            raise self._problem(at, texts.SET_BY_KERNEL(type=tree.text()))
        match tree.kind:
            case "struct" | "union" | "datasec":
                return self._aggregate(tree, value, at, base)
            case "array":
                return self._array(tree, value, at, base)
            case "enum":
                return self._bytes_of(tree, self._enum(tree, value, at), at)
            case "float":
                return self._float(tree, value, at)
        return self._scalar(tree, value, at)

    def opaque(self, value: Any, size: int) -> bytes:
        """A value whose type nothing describes."""
        if isinstance(value, str) and value.startswith(HEX):
            return self._hex(size, value, "")
        number = parse_int(value) if isinstance(value, str) else value
        if type(number) is int and size in (1, 2, 4, 8):
            return self._bytes_of(TypeTree(kind="int", size=size, signed=number < 0), number, "")
        way = texts.WRITE_HEX_OR_NUMBER if size in (1, 2, 4, 8) else texts.WRITE_HEX
        raise self._problem("", texts.TYPE_UNKNOWN(size=size, hint=way(digits=size * 2)))

    def bitfield(self, tree: TypeTree, value: Any, at: str, bits: int) -> bytes:
        """A bit-field's number, alone, little-endian, not yet shifted into place."""
        if tree.kind == "enum":
            number = self._enum(tree, value, at)
        else:
            number = self._bool(value, at) if tree.kind == "bool" else self._int(tree, value, at)
        low, high = int_range(tree.size, tree.signed, bits)
        if not low <= number <= high:
            wrong = texts.BITS_OUT_OF_RANGE(number=number, bits=bits, type=tree.text(), low=low, high=high)
            raise self._problem(at, wrong)
        return (number & (1 << bits) - 1).to_bytes(tree.size, "little")

    # --- scalars

    def _problem(self, at: str, message: Message) -> ValueProblem:
        return ValueProblem(_joined(self.root, at), message)

    def _hex(self, size: int, value: str, at: str) -> bytes:
        data = parse_hex(value)
        if data is None:
            raise self._problem(at, texts.NOT_HEX(value=value))
        if len(data) != size:
            raise self._problem(at, texts.WRONG_SIZE(given=len(data), wanted=size))
        return data

    def _scalar(self, tree: TypeTree, value: Any, at: str) -> bytes:
        if tree.kind == "bool":
            return self._bytes_of(tree, self._bool(value, at), at)
        if tree.kind == "char" and isinstance(value, str) and len(value) == 1 and value.isascii():
            return value.encode()
        if isinstance(value, str) and tree.kind == "int":
            data = parse_address(value) if tree.size == 4 else parse_mac(value) if tree.size == 8 else None
            if data is not None:
                return self._ordered(tree, data, at)
        return self._bytes_of(tree, self._int(tree, value, at), at)

    def _int(self, tree: TypeTree, value: Any, at: str) -> int:
        number = parse_int(value) if isinstance(value, str) else value
        if type(number) is int:
            return number
        if isinstance(value, bool):
            raise self._problem(at, texts.BOOLEAN_FOR_NUMBER(type=tree.text()))
        way = texts.WRITE_NUMBER_OR_IPV4() if tree.kind == "int" and tree.size == 4 else texts.WRITE_NUMBER()
        raise self._problem(at, _not_of_type(tree, value, way))

    def _bool(self, value: Any, at: str) -> int:
        words = {"true": 1, "false": 0, "1": 1, "0": 0}
        found = words.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
        if found is None:
            raise self._problem(at, texts.NOT_BOOLEAN(value=_shown(value)))
        return found

    def _float(self, tree: TypeTree, value: Any, at: str) -> bytes:
        try:
            number = float(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or tree.size not in (4, 8):
            raise self._problem(at, _not_of_type(tree, value))
        try:
            return struct.pack("<f" if tree.size == 4 else "<d", number)
        except OverflowError:
            raise self._problem(at, texts.FLOAT_OUT_OF_RANGE(value=value, type=tree.text())) from None

    def _enum(self, tree: TypeTree, value: Any, at: str) -> int:
        number = value
        if isinstance(value, str):
            found = enumerator(tree, value.strip())
            number = parse_int(value) if found is None else found
        if type(number) is not int:
            hint = suggestion(str(value), [name for name, _ in tree.enumerators])
            raise self._problem(at, texts.NOT_IN_ENUM(value=_shown(value), type=tree.text(), hint=hint))
        return number

    def _bytes_of(self, tree: TypeTree, number: int, at: str) -> bytes:
        low, high = int_range(tree.size, tree.signed)
        if not low <= number <= high:
            raise self._problem(at, texts.OUT_OF_RANGE(number=number, type=tree.text(), low=low, high=high))
        order = field_order(tree, self.orders, at)
        return number.to_bytes(tree.size, "big" if order == "big" else "little", signed=tree.signed)

    def _ordered(self, tree: TypeTree, data: bytes, at: str, assumed: str = "") -> bytes:
        """Bytes in network order into one integer; neither order is guessed."""
        order = field_order(tree, self.orders, at) or assumed
        if not order:
            where = _joined(self.side, at)
            way = self.hint.format(path=where) if self.hint else texts.SAY_BYTE_ORDER(path=where)
            wrong = texts.BYTE_ORDER_UNKNOWN(type=tree.text(), bits=tree.size * 8, path=where, order_hint=way)
            raise self._problem(at, wrong)
        if len(data) < tree.size:  # a MAC in 8 bytes
            return data.ljust(tree.size, b"\0") if order == "big" else data[::-1].ljust(tree.size, b"\0")
        return data if order == "big" else data[::-1]

    # --- arrays and addresses

    def _array(self, tree: TypeTree, value: Any, at: str, base: bytes | None) -> bytes:
        element = tree.element
        if element is None:
            raise self._problem(at, texts.ARRAY_WITHOUT_TYPE())
        if isinstance(value, str):
            return self._text(tree, element, value, at)
        if base is not None and isinstance(value, Mapping) and (tree.count != 1 or all(map(_is_index, value))):
            return self._indexed(tree, element, value, at, base)
        if not isinstance(value, list | tuple):
            if tree.count == 1:
                return self.encode(element, value, f"{at}[0]", base)
            raise self._problem(at, _not_of_type(tree, value, _list_hint(tree, element)))
        if len(value) > tree.count or (self.complete and len(value) < tree.count):
            raise self._problem(at, texts.WRONG_COUNT(given=len(value), type=tree.text(), count=tree.count))
        return self._elements(tree, element, enumerate(value), at, base)

    def _elements(
        self, tree: TypeTree, element: TypeTree, items: Iterable[tuple[int, Any]], at: str, base: bytes | None,
        strays: Sequence[ValueProblem] = (),
    ) -> bytes:  # fmt: skip
        data, step, wrong = bytearray(tree.size if base is None else base), element.size, list(strays)
        for i, item in items:
            place, kept = slice(i * step, (i + 1) * step), None if base is None else base[i * step : (i + 1) * step]
            try:
                data[place] = self.encode(element, item, f"{at}[{i}]", kept)
            except ValueProblem as problem:
                wrong.append(problem)
        if wrong:
            raise together(wrong)
        return bytes(data)

    def _indexed(
        self, tree: TypeTree, element: TypeTree, value: Mapping[Any, Any], at: str, base: bytes
    ) -> bytes:  # fmt: skip
        """Encode elements by their index; those that are not named keep their values."""
        named: dict[int, Any] = {}
        items: list[tuple[int, Any]] = []
        wrong: list[ValueProblem] = []
        for index, item in value.items():
            number = parse_int(str(index))
            if number is None or not 0 <= number < tree.count:
                message = texts.NO_SUCH_ELEMENT(index=index, type=tree.text(), last=tree.count - 1)
                wrong.append(self._problem(at, message))
            elif number in named:
                wrong.append(self._problem(at, texts.ELEMENT_GIVEN_TWICE(index=index, other=named[number])))
            else:
                named[number] = index
                items.append((number, item))
        return self._elements(tree, element, items, at, base, wrong)

    def _text(self, tree: TypeTree, element: TypeTree, value: str, at: str) -> bytes:
        """A string for an array: a MAC, an address, or plain characters."""
        named_mac = "mac" in at.rpartition(".")[2].lower()
        if element.size == 1 and (named_mac or element.kind == "int") and (tree.count == 6 or named_mac):
            mac = parse_mac(value)
            if mac is not None and tree.count in (6, 8):
                return mac.ljust(tree.count, b"\0")
        if element.kind == "char":
            data = value.encode("utf-8", "surrogatepass")
            if len(data) > tree.size:
                raise self._problem(at, texts.TEXT_TOO_LONG(length=len(data), type=tree.text(), size=tree.size))
            return data.ljust(tree.size, b"\0")
        address = parse_address(value)
        found = self._address(tree, address, at) if address else None
        if found is None:
            raise self._problem(at, _not_of_type(tree, value, _array_hint(tree, element, address)))
        return found

    def _address(self, tree: TypeTree, data: bytes, at: str, assumed: str = "") -> bytes | None:
        """An address in what holds it: an integer, an array, struct in6_addr, a union of them. None: nothing fits."""
        if tree.kind == "int" and tree.size == len(data):
            return self._ordered(tree, data, at, assumed)
        if tree.kind == "array" and tree.element is not None and tree.element.kind == "int":
            step = tree.element.size
            if tree.size != len(data):
                return None
            pieces = [data[i : i + step] for i in range(0, len(data), step)]
            return data if step == 1 else b"".join([self._ordered(tree.element, p, at, assumed) for p in pieces])
        if tree.kind not in ("struct", "union"):
            return None
        fields = list(tree.fields())
        for m in fields if tree.kind == "union" or len(fields) == 1 else ():
            found = self._address(m.type, data, f"{at}.{m.name}".lstrip("."), assumed)
            if found is not None and m.offset_bits == 0:
                return found.ljust(tree.size, b"\0")
        return None

    def _prefix(self, tree: TypeTree, value: str, at: str) -> bytes | None:
        """`10.0.0.0/8` as the key of an LPM trie, whose data is in network order always."""
        member, parsed = prefix_address(tree), parse_prefix(value)
        if member is None or parsed is None:
            return None
        data, length = parsed
        clean = beyond_prefix(data, length)
        if clean is not None:
            address = format_address(clean)
            raise self._problem(at, texts.BITS_SET_BEYOND_PREFIX(value=value, address=address, length=length))
        found = self._address(member.type, data, f"{at}.{member.name}".lstrip("."), "big")
        if found is None:
            return None
        return (length.to_bytes(4, "little") + found).ljust(tree.size, b"\0")

    # --- structs

    def _aggregate(self, tree: TypeTree, value: Any, at: str, base: bytes | None) -> bytes:
        if isinstance(value, Mapping):
            return self._fields(tree, value, at, base)
        if isinstance(value, str):
            address = parse_address(value)
            found = self._prefix(tree, value, at) or (self._address(tree, address, at) if address else None)
            if found is not None:
                return found
        fields = list(tree.fields())
        if len(fields) == 1 and tree.kind == "struct":
            return self._fields(tree, {fields[0].name: value}, at, base)
        way = texts.WRITE_PREFIX_OR_FIELDS if prefix_address(tree) else texts.WRITE_FIELDS
        raise self._problem(at, _not_of_type(tree, value, way(fields=[m.name for m in fields])))

    def _fields(self, tree: TypeTree, value: Mapping[Any, Any], at: str, base: bytes | None) -> bytes:
        fields = {m.name: m for m in tree.fields()}
        wrong = [self._problem(at, _no_such_field(tree, name, list(fields))) for name in value if name not in fields]
        given = [fields[name] for name in value if name in fields]
        data = bytearray(tree.size if base is None else base)
        for member in given:
            below = f"{at}.{member.name}".lstrip(".")
            try:
                place_bits(data, member, self._member(member, value[member.name], below, base))
            except ValueProblem as problem:
                wrong.append(problem)
        if len(given) == len(value):  # a field may be missing because its name is misspelt
            wrong += self._misplaced(fields.values(), given, at)
        if wrong:
            raise together(wrong)
        return bytes(data)

    def _member(self, member: Member, value: Any, at: str, base: bytes | None) -> bytes:
        if member.bits:
            return self.bitfield(member.type, value, at, member.bits)
        start = member.offset_bits // 8
        return self.encode(member.type, value, at, None if base is None else base[start : start + member.type.size])

    def _misplaced(self, fields: Any, given: list[Member], at: str) -> Iterator[ValueProblem]:
        """Members of a union share bytes: one of them may be given, and then the others are not missing."""
        spans = sorted((*_span(m), m.name) for m in given)
        for (_, end, name), (start, _, other) in pairwise(spans):
            if start < end:
                yield self._problem(at, texts.FIELDS_SHARE_BYTES(field=name, other=other))
        for m in fields if self.complete else ():
            start, end = _span(m)
            if start < end and not m.type.special and not any(a < end and start < b for a, b, _ in spans):
                yield self._problem(at, texts.FIELD_MISSING(field=m.name))


def _joined(root: str, at: str) -> str:
    return f"{root}{'.' if root and at and not at.startswith('[') else ''}{at}"


def _is_index(key: Any) -> bool:
    return parse_int(str(key)) is not None


def _span(member: Member) -> tuple[int, int]:
    return member.offset_bits, member.offset_bits + (member.bits or member.type.size * 8)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _not_of_type(tree: TypeTree, value: Any, hint: str = "") -> Message:
    return texts.NOT_OF_TYPE(value=_shown(value), type=tree.text(), hint=hint)


def _no_such_field(tree: TypeTree, name: Any, known: list[str]) -> Message:
    return texts.NO_SUCH_FIELD(field=name, type=tree.text(), hint=suggestion(str(name), known))


def _array_hint(tree: TypeTree, element: TypeTree, address: bytes | None) -> Message:
    if address and len(address) == 4 and tree.size == 16:
        return texts.WRITE_IPV6_FORM()
    return _list_hint(tree, element)


def _list_hint(tree: TypeTree, element: TypeTree) -> Message:
    way = texts.WRITE_LIST_OR_MAC if tree.size == 6 else texts.WRITE_LIST
    return way(count=tree.count, type=element.text())
