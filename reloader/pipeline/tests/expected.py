"""What a test expects of maps and packets → masks and ranges. Called by pipeline/tests/cases_from_yaml.py;
ValueProblem says what
does not fit, with the path below the expectation.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reloader.kernel import PLAIN_TYPES
from reloader.pipeline.entries.row import Shape, encode_side
from reloader.pipeline.roles import type_name
from reloader.pipeline.tests import packets, texts
from reloader.pipeline.tests.cases import EntryCheck, FieldCheck, MapCheck, OutputCheck
from reloader.pipeline.tests.dissect import WRONG
from reloader.structs.decode import text
from reloader.structs.elf import ElfMap
from reloader.structs.numbers import ValueProblem, field_order, parse_int, suggestion
from reloader.structs.tree import Member, TypeTree

_RANGE = re.compile(r"\s*([-+]?\w+)?\s*\.\.\s*([-+]?\w+)?\s*\Z")


class Expected:
    """The maps of one pipeline, as expectations name them."""

    def __init__(self, maps: Mapping[str, ElfMap], orders: Mapping[str, Mapping[str, str] | None]) -> None:
        self.maps, self.orders = maps, orders

    def map_check(self, name: str, given: Any) -> MapCheck:
        """`given` is a list of entries, or {count, entries}."""
        found = self.maps.get(name)
        if found is None or not found.writable:
            known = [m.name for m in self.maps.values() if m.writable]
            raise ValueProblem("", texts.NO_SUCH_MAP(map=name, hint=suggestion(name, known)))
        if found.type not in PLAIN_TYPES:
            raise ValueProblem("", texts.ENTRIES_NOT_LISTED(type=type_name(found.type)))
        rows, prefix = (given, "") if isinstance(given, list) else (given.get("entries", []), "entries")
        low, high = self._count(given) if isinstance(given, dict) else (None, None)
        shape = Shape(
            key=found.key, value=found.value, key_size=found.key_size, value_size=found.value_size,
            byteorder=self.orders.get(name),
        )  # fmt: skip
        checks = tuple(self._entry(shape, row, f"{prefix}[{i}]") for i, row in enumerate(rows))
        return MapCheck(map=name, entries=checks, low=low, high=high)

    def _count(self, given: Mapping[str, Any]) -> tuple[int | None, int | None]:
        count = given.get("count")
        if isinstance(count, str):
            return ends_of(count, "count")
        return count, count

    def _entry(self, shape: Shape, row: Mapping[str, Any], at: str) -> EntryCheck:
        try:
            key = encode_side(shape, "key", row["key"])
            if bool(row.get("absent")) == ("value" in row):
                raise ValueProblem("", texts.VALUE_OR_ABSENT())
            fields = tuple(_checks(shape, row["value"])) if "value" in row else ()
        except ValueProblem as wrong:
            path = f"{at}.{wrong.path}" if wrong.path else at
            raise ValueProblem(path, wrong.message) from wrong
        return EntryCheck(key=key, said=text(row["key"]), fields=fields, absent=bool(row.get("absent")))


def ends_of(text: str, path: str) -> tuple[int | None, int | None]:
    """`1..5`, `1..`, `..5`: both ends belong to it."""
    found = _RANGE.match(text)
    ends = [parse_int(end) if end else None for end in found.groups()] if found else []
    if not found or ends == [None, None] or any(e is None and g for e, g in zip(ends, found.groups(), strict=True)):
        raise ValueProblem(path, texts.NOT_A_RANGE(range=text))
    low, high = ends
    if low is not None and high is not None and low > high:
        raise ValueProblem(path, texts.EMPTY_RANGE(range=text))
    return low, high


# map values


def _checks(shape: Shape, value: Any) -> Iterator[FieldCheck]:
    tree = shape.value
    whole = Member(name="", offset_bits=0, type=tree) if tree else None
    if whole is None:
        want = encode_side(shape, "value", value)
        yield FieldCheck(path="", offset=0, mask=b"\xff" * len(want), want=want, said=text(value))
        return
    for path, member, leaf in _leaves(whole, value, ""):
        yield _check(shape, path, member, leaf)


def _leaves(member: Member, value: Any, path: str) -> Iterator[tuple[str, Member, Any]]:
    """The fields that a value names, each with its place in the whole."""
    tree = member.type
    if not (isinstance(value, Mapping) and tree.aggregate):
        yield path, member, value
        return
    fields = {m.name: m for m in tree.fields()}
    for name, part in value.items():
        below = f"{path}.{name}".lstrip(".")
        if name not in fields:
            hint = suggestion(str(name), list(fields))
            raise ValueProblem(f"value.{below}", texts.NO_SUCH_FIELD(field=name, type=tree.text(), hint=hint))
        found = fields[name]
        inner = Member(
            name=name, offset_bits=member.offset_bits + found.offset_bits, bits=found.bits, type=found.type
        )  # fmt: skip
        yield from _leaves(inner, part, below)


def _check(shape: Shape, path: str, member: Member, value: Any) -> FieldCheck:
    mask, start = _mask(member)
    if isinstance(value, str) and ".." in value and member.type.kind in ("int", "char"):
        low, high = ends_of(value, f"value.{path}".rstrip("."))
        order = field_order(member.type, shape.orders("value") or {}, path) or "little"
        return FieldCheck(
            path=path, offset=start, mask=mask, want=b"", low=low, high=high, signed=member.type.signed, order=order,
            said=value,
        )  # fmt: skip
    whole = _nested(path, value)
    want = encode_side(shape, "value", whole)[start : start + len(mask)]
    order = field_order(member.type, shape.orders("value") or {}, path) or "little"
    signed = member.type.signed
    return FieldCheck(path=path, offset=start, mask=mask, want=want, said=text(value), signed=signed, order=order)


def _mask(member: Member) -> tuple[bytes, int]:
    """(which bits are the field's, the byte they start in)."""
    start = member.offset_bits // 8
    if not member.bits:
        return b"\xff" * member.type.size, start
    shift = member.offset_bits % 8
    bits = (1 << member.bits) - 1 << shift
    return bits.to_bytes((shift + member.bits + 7) // 8, "little"), start


def _nested(path: str, value: Any) -> Any:
    """The same value alone in an otherwise empty whole, which `encode` fills with zeros."""
    for name in reversed(path.split(".") if path else []):
        value = {name: value}
    return value


def range_value(check: FieldCheck, data: bytes) -> int:
    """The number that a range is held against."""
    if all(byte == 0xFF for byte in check.mask):
        order = "big" if check.order == "big" else "little"
        return int.from_bytes(data, order, signed=check.signed)  # type: ignore[arg-type]
    mask = int.from_bytes(check.mask, "little")
    shift = (mask & -mask).bit_length() - 1
    number = (int.from_bytes(data, "little") & mask) >> shift
    width = (mask >> shift).bit_length()
    return number - (1 << width) if check.signed and number >> width - 1 else number


def tree_at(tree: TypeTree | None, path: str) -> TypeTree | None:
    """The layout of one field, to show what it holds."""
    for name in path.split(".") if path else []:
        tree = next((m.type for m in tree.fields() if m.name == name), None) if tree else None
    return tree


# packets


def output_check(given: Any) -> OutputCheck:
    """`same`, or a mapping of bytes and fields."""
    if given == "same":
        return OutputCheck(same=True)
    want, mask = _nibbles(given["hex"]) if "hex" in given else (b"", b"")
    if "at" in given and "hex" not in given:
        raise ValueProblem("at", texts.OFFSET_WITHOUT_BYTES())
    at = given.get("at") if "hex" in given else 0
    lifted = packets.lift(given)
    payloads = [(f"{n}.payload", lifted[n].pop("payload")) for n in packets.TRANSPORT if "payload" in lifted.get(n, {})]
    payloads += [("payload", given["payload"])] if "payload" in given else []
    return OutputCheck(
        at=at,
        want=want,
        mask=mask,
        length=given.get("length"),
        fields=dict(_fields(lifted)),
        payload=packets.text_bytes(payloads[0][1], payloads[0][0]) if payloads else None,
    )


def _nibbles(text: str) -> tuple[bytes, bytes]:
    digits = re.sub(r"[\s:]", "", text.removeprefix("hex:"))
    wrong = next((c for c in digits if c not in "0123456789abcdefABCDEF?"), None)
    if wrong:
        raise ValueProblem("hex", texts.NOT_A_DIGIT_OR_ANY(digit=wrong))
    if len(digits) % 2 or not digits:
        raise ValueProblem("hex", texts.HALF_A_BYTE() if digits else texts.HEX_EMPTY())
    mask = bytes.fromhex("".join("0" if c == "?" else "f" for c in digits))
    return bytes.fromhex(digits.replace("?", "0")), mask


def _fields(form: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    family = packets.family_of(form) or 4
    for layer, kinds in packets.LAYERS.items():
        part = form.get(layer, {})
        if layer == "vlan" and not isinstance(part, Mapping):
            part = (part or [{}])[0] if isinstance(part, list) else part
            part = part if isinstance(part, Mapping) else {"id": part}
        for name, value in part.items():
            path = f"{layer}.{name}"
            if kinds[name] == "checksum" and value in (packets.RIGHT, WRONG):
                yield path, str(value)
            else:
                yield path, packets.shown(kinds[name], packets.value_of(kinds[name], value, path, family))
