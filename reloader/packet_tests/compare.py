"""Expectations of a test held against what came back, and the difference in words: fields, counts, bytes.

Used by packet_tests/run.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from reloader.pipeline.tests import packets
from reloader.pipeline.tests.cases import Case, FieldCheck, OutputCheck
from reloader.pipeline.tests.dissect import checksum_state, dissect
from reloader.pipeline.tests.expected import range_value, tree_at
from reloader.pipeline.wish import WishMap
from reloader.places import place_with_program
from reloader.structs.decode import show, text
from reloader.wording.printable import counted

ROW = 16  # bytes of a hexdump's line
MOST_ROWS = 16  # of one difference


def verdict(case: Case, number: int) -> str:
    place = place_with_program(case.type)
    verdicts = place.PACKETS.verdicts if place and place.PACKETS else {}
    return next((f"{name} ({n})" for name, n in verdicts.items() if n == number), str(number))


def within(number: int, low: int | None, high: int | None) -> bool:
    return (low is None or low <= number) and (high is None or number <= high)


def ends(low: int | None, high: int | None) -> str:
    if low == high:
        return str(low)
    return f"{'' if low is None else low}..{'' if high is None else high}"


def field(wanted: WishMap, check: FieldCheck, value: bytes) -> list[str]:
    """What is wrong with one field of a map's value."""
    data = value[check.offset : check.offset + len(check.mask)]
    name = check.path or "the value"
    if check.low is not None or check.high is not None:
        number = range_value(check, data)
        return [] if within(number, check.low, check.high) else [f"{name} is {number}, expected {check.said}"]
    masked = bytes(a & b for a, b in zip(data, check.mask, strict=True))
    if masked == check.want:
        return []
    return [f"{name} is {_held(wanted, check, value, data)}, expected {check.said}"]


def _held(wanted: WishMap, check: FieldCheck, value: bytes, data: bytes) -> object:
    """What the field holds, as `show` would write it."""
    if any(byte != 0xFF for byte in check.mask):
        return range_value(check, data)
    tree = tree_at(wanted.value, check.path) if wanted.value else None
    return text(show(tree, data, wanted.orders("value"), check.path))


def output(check: OutputCheck, packet: bytes, got: bytes) -> list[str]:
    """What is wrong with the packet that came out."""
    if check.same:
        return _bytes_differ(packet, b"\xff" * len(packet), got, "the packet was changed")
    wrong = []
    if check.length is not None and len(got) != check.length:
        wrong.append(f"output has {counted(len(got), 'byte')}, expected {check.length}")
    wrong += _fields_differ(check, got)
    if check.want:
        at = check.at or 0
        part = got if check.at is None else got[at : at + len(check.want)]
        where = "output differs" if check.at is None else f"output differs from byte {at} on"
        wrong += _bytes_differ(check.want, check.mask, part, where, at)
    if wrong and not check.want:
        wrong += ["the whole output:", *_rows(got, b"\xff" * len(got), 0, " ")]
    return wrong


def _fields_differ(check: OutputCheck, got: bytes) -> Iterator[str]:
    found = dissect(got)
    for path, expected in (check.fields or {}).items():
        layer, _, name = path.partition(".")
        kind = packets.LAYERS[layer][name]
        word = kind == "checksum" and not expected.startswith("0x")
        is_now = checksum_state(got, layer) if word else packets.shown(kind, found.get(path))
        if is_now != expected:
            yield f"output {path} is {is_now}, expected {expected}"
    if check.payload is not None and found.get("payload") != check.payload:
        payload = found.get("payload", b"")
        assert isinstance(payload, bytes)
        yield from _bytes_differ(check.payload, b"\xff" * len(check.payload), payload, "output payload differs")


def _bytes_differ(want: bytes, mask: bytes, got: bytes, what: str, at: int = 0) -> list[str]:
    same = len(got) == len(want) and all((a ^ b) & m == 0 for a, b, m in zip(got, want, mask, strict=True))
    if same:
        return []
    length = f" ({counted(len(got), 'byte')}, expected {len(want)})" if len(got) != len(want) else ""
    return [f"{what}{length}", *list(_diff(want, mask, got, at))[: 2 * MOST_ROWS]]


def _diff(want: bytes, mask: bytes, got: bytes, at: int) -> Iterator[str]:
    """Rows that differ, expected (-) above what came (+)."""
    for start in range(0, max(len(want), len(got)), ROW):
        row = slice(start, start + ROW)
        left, right, bits = want[row], got[row], mask[row]
        if len(left) == len(right) and all((a ^ b) & m == 0 for a, b, m in zip(left, right, bits, strict=True)):
            continue
        yield from _rows(left, bits, at + start, "-")
        yield from _rows(right, b"\xff" * len(right), at + start, "+")


def _rows(data: bytes, mask: bytes, at: int, sign: str) -> list[str]:
    """`- 0010  08 00 45 ??`: a hexdump; digits that do not matter are question marks."""
    out = []
    for start in range(0, len(data), ROW):
        pairs = zip(data[start : start + ROW], mask[start : start + ROW], strict=True)
        out.append(f"{sign} {at + start:04x}  {' '.join(_digits(byte, m) for byte, m in pairs)}")
    return out[:MOST_ROWS]


def _digits(byte: int, mask: int) -> str:
    high = f"{byte >> 4:x}" if mask & 0xF0 else "?"
    return high + (f"{byte & 15:x}" if mask & 0x0F else "?")
