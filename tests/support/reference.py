"""What programs/include/reloader_rules.h does with an entry, in Python.

Tests hold the kernel to it. Pure; imports state.rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reloader.layouts.rules import Conversion, Op, Rule


class NoCounterpart(ValueError):
    """An entry that cannot be converted: a value does not fit its new size, or a key part is not as expected."""


def apply_rules(conversion: Conversion, key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """One entry in the other layout; NoCounterpart when it has no place there."""
    sizes = (conversion.old_key_size, conversion.old_value_size)
    if (len(key), len(value)) != sizes:
        raise ValueError(f"an entry of {len(key)} and {len(value)} bytes, where {sizes[0]} and {sizes[1]} are meant")
    made = _build(conversion.key, key, conversion.new_key_size) if conversion.key else key
    return made, _build(conversion.value, value, conversion.new_value_size)


def merge_rules(conversion: Conversion, old_value: bytes, new_value: bytes) -> bytes:
    """The value that results where an old entry is converted onto one that is there already."""
    built = _build(conversion.value, old_value, conversion.new_value_size)
    out = bytearray(new_value)
    for rule, at, _ in _each(conversion.value):
        size = rule.dst_size
        ours = int.from_bytes(out[at : at + size], "little", signed=rule.signed)
        theirs = int.from_bytes(built[at : at + size], "little", signed=rule.signed)
        out[at : at + size] = _low(_merged(rule.op, ours, theirs), size)
    return bytes(out)


def _merged(op: Op, ours: int, theirs: int) -> int:
    match op:
        case Op.KEEP_OLD:
            return theirs
        case Op.SUM:
            return ours + theirs
        case Op.MAX:
            return max(ours, theirs)
        case Op.MIN:
            return min(ours, theirs)
        case Op.OR:
            return ours | theirs
    return ours


def _each(rules: Sequence[Rule]) -> Iterator[tuple[Rule, int, int]]:
    """(rule, target offset, source offset) of every field that a rule is for."""
    for rule in rules:
        for i in range(1 if rule.op in (Op.CONST, Op.EXPECT) else rule.imm + 1):
            yield rule, rule.dst_off + i * rule.dst_size, rule.src_off + i * rule.src_size


def _build(rules: Sequence[Rule], source: bytes, size: int) -> bytes:
    out = bytearray(size)
    for rule, to, at in _each(rules):
        taken = int.from_bytes(source[at : at + rule.src_size], "little", signed=rule.signed)
        if rule.op is Op.EXPECT:
            if taken != rule.imm:
                raise NoCounterpart(f"the key's bytes at {at} are {taken}, and only {rule.imm} has a place")
            continue
        value = rule.imm if rule.op is Op.CONST else taken
        data = _low(value, rule.dst_size)
        if (rule.checked or rule.op is Op.SUM) and int.from_bytes(data, "little", signed=rule.signed) != value:
            raise NoCounterpart(f"{value} at {at} does not fit into {rule.dst_size} bytes")
        out[to : to + rule.dst_size] = data
    return bytes(out)


def _low(value: int, size: int) -> bytes:
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
