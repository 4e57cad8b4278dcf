"""Compiled conversions as data."""

from __future__ import annotations

import struct
from enum import IntEnum

from reloader.frozen import frozen


class Op(IntEnum):
    COPY = 1
    KEEP_OLD = 2
    SUM = 3
    MAX = 4
    MIN = 5
    OR = 6
    CONST = 7


@frozen
class Rule:
    op: Op
    src_off: int
    dst_off: int
    src_size: int
    dst_size: int
    signed: bool = False
    checked: bool = False
    imm: int = 0

    def pack(self) -> bytes:
        flags = self.signed | self.checked << 1
        return struct.pack(
            "<HHBBBBQ", self.src_off, self.dst_off, self.src_size, self.dst_size, self.op, flags, self.imm
        )


@frozen
class Conversion:
    key: tuple[Rule, ...]
    value: tuple[Rule, ...]
    old_key_size: int
    new_key_size: int
    old_value_size: int
    new_value_size: int
    lossy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class LayoutVersion:
    """Placeholder."""

    version: int = 0
