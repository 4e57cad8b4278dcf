"""Ids of types in the running kernel's own BTF, by name.

One pass over the type section that stops at names only: the whole of it as Python values takes seconds.
Used by probes.py.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection
from enum import IntEnum

from reloader.errors import KernelError

PATH = "/sys/kernel/btf/vmlinux"
_HEADER = struct.Struct("=HBBIIIII")  # struct btf_header
_TYPE = struct.Struct("=III")  # struct btf_type


class Kind(IntEnum):
    """The kinds of enum btf_kind that are asked for here."""

    STRUCT = 4
    FUNC = 12


_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}  # INT, ARRAY, VAR, DECL_TAG: bytes behind struct btf_type
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64: per member


def ids(names: Collection[str], kind: Kind = Kind.FUNC) -> dict[str, int]:
    """The ids of those names that the kernel has as types of that kind."""
    blob = _read()
    _, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(blob)
    strings = blob[header + str_off : header + str_off + str_len]
    wanted = {at + 1: name for name in names if (at := strings.find(b"\0" + name.encode() + b"\0")) >= 0}
    return _walk(blob[header + type_off : header + type_off + type_len], wanted, kind)


def _walk(types: bytes, wanted: dict[int, str], kind: Kind) -> dict[str, int]:
    found: dict[str, int] = {}
    at, number = 0, 0
    while at < len(types) and len(found) < len(wanted):
        name, info, _ = _TYPE.unpack_from(types, at)
        this = info >> 24 & 0x1F
        number += 1
        if name in wanted and this == kind:
            found[wanted[name]] = number
        at += 12 + _FIXED.get(this, 0) + _EACH.get(this, 0) * (info & 0xFFFF)
    return found


def _read() -> bytes:
    try:
        with open(PATH, "rb") as file:
            return file.read()
    except OSError as error:
        raise KernelError("open", error.errno or errno.EIO, PATH) from error
