"""Good files made bad: turned bits, and damage that keeps to the structure of text, values, ELF and journals.

Every function takes its dice and returns one damaged copy. Knows no more of the product than how a file is laid out.
"""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reloader.structs.elf.file import SHT_REL, SHT_SYMTAB, ElfFile

NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1,
           1 << 63, (1 << 64) - 1)  # fmt: skip
HOSTILE: tuple[Any, ...] = (
    None, True, False, "", "x", "é", "\0", "x" * 3000, "../../etc/passwd", "/", ".", "/dev/zero", "/proc/self/mem", "0",
    "-1", "1e999", "0x", "inf", "256.256.256.256", "::/129", "ff:ff", "XDP_PASS", "%s{}", "*", "&a", "!!str", -1, 0, 1,
    1 << 31, 1 << 32, 1 << 64, 10**30, -(1 << 70), 0.5, 1e308, float("inf"), [], {}, [[]], [None], {"": None},
    [[[[[[]]]]]], {"is": "Unpin"}, {"key": 1}, ["x"] * 300, "2026-11-25T00:00:00Z", "eth0; reboot", "\ud800",
)  # fmt: skip
TOKENS = (
    "{", "}", "[", "]", ":", ": ", "- ", "&a ", "*a", "<<: *a", "!!python/object:os.system ", "!x ", "|", ">", "'", '"',
    "#", "%YAML 9.9\n", "---\n", "...\n", "\t", "\0", "\ufeff", "\u2028", "\x85", "null", "~", "0o17", "1_000", "1:30",
    ",", ",,", "\r", "\n\n", "  ", "=", "é", "9" * 5000, "[" * 1200, "{a: " * 600, "? ", "@", "`", "\\", '"\\ud800"',
)  # fmt: skip


def damaged(dice: random.Random, data: bytes) -> bytes:
    """Bytes turned, cut, put in, taken out or moved."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        dice.choice(_BYTES)(dice, out)
    return bytes(out)


def _turn(dice: random.Random, out: bytearray) -> None:
    if out:
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)


def _overwrite(dice: random.Random, out: bytearray) -> None:
    at, size = dice.randrange(len(out) + 1), dice.choice((1, 2, 4, 8))
    out[at : at + size] = _number(dice, size)


def _cut(dice: random.Random, out: bytearray) -> None:
    del out[dice.randrange(len(out) + 1) :]


def _insert(dice: random.Random, out: bytearray) -> None:
    at = dice.randrange(len(out) + 1)
    out[at:at] = dice.randbytes(dice.choice((1, 3, 40)))


def _delete(dice: random.Random, out: bytearray) -> None:
    at = dice.randrange(len(out) + 1)
    del out[at : at + dice.choice((1, 4, 33))]


def _repeat(dice: random.Random, out: bytearray) -> None:
    at, size = dice.randrange(len(out) + 1), dice.choice((1, 8, 64))
    out[at:at] = out[at : at + size]


def _blank(dice: random.Random, out: bytearray) -> None:
    at, size = dice.randrange(len(out) + 1), dice.choice((4, 16, 64))
    size = min(size, len(out) - at)
    out[at : at + size] = bytes(size)


_BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _turn, _turn, _turn, _overwrite, _overwrite, _cut, _insert, _delete, _repeat, _blank,
)  # fmt: skip


def _number(dice: random.Random, size: int) -> bytes:
    value = dice.choice(NUMBERS) if dice.random() < 0.8 else dice.getrandbits(64)
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def text(dice: random.Random, data: bytes) -> bytes:
    """Lines moved, repeated, lost or shifted, and tokens put where they do not belong."""
    lines = data.decode(errors="surrogateescape").split("\n")
    for _ in range(dice.choice((1, 1, 2, 5))):
        at, way = dice.randrange(len(lines)), dice.randrange(6)
        line = lines[at]
        if way == 0:
            lines.insert(dice.randrange(len(lines) + 1), line)
        elif way == 1 and len(lines) > 1:
            del lines[at]
        elif way == 2:
            lines[at] = dice.choice(("  ", " ", "\t", "      ")) + line
        else:
            cut = dice.randrange(len(line) + 1)
            skip = dice.choice((0, 0, 1, 6))
            lines[at] = line[:cut] + dice.choice(TOKENS) + line[cut + skip :]
    return "\n".join(lines).encode(errors="surrogatepass")


def value(dice: random.Random, data: Any) -> Any:
    """Plain values with something exchanged, lost, repeated or named otherwise."""
    out = copy.deepcopy(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        places = list(_places(out))
        if not places:
            return dice.choice(HOSTILE)
        holder, step = dice.choice(places)
        way = dice.randrange(5)
        if way == 0:
            del holder[step]
        elif way == 1 and isinstance(holder, dict):
            holder[dice.choice((f"{step}x", "", "is", "\0", str(step)[:-1]))] = holder.pop(step)
        elif way == 2:
            donor, of = dice.choice(places)
            if of in donor if isinstance(donor, dict) else of < len(donor):
                holder[step] = copy.deepcopy(donor[of])
        else:
            holder[step] = copy.deepcopy(dice.choice(HOSTILE))
    return out


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key or index) of every value in a tree."""
    steps: Sequence[Any] = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for step in steps:
        yield data, step
        yield from _places(data[step])


def elf(dice: random.Random, data: bytes) -> bytes:
    """An object with fields of its tables, symbols, relocations, BTF or code exchanged."""
    spots = _spots(data)
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        start, stop, size = spots[dice.choice(list(spots))]
        at = start + dice.randrange(max(1, (stop - start) // size)) * size
        if dice.random() < 0.4:
            nudged = int.from_bytes(out[at : at + size], "little") + dice.choice((-8, -1, 1, 8, 16))
            out[at : at + size] = (nudged & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        else:
            out[at : at + size] = _number(dice, size)
    return bytes(out)


def _spots(data: bytes) -> dict[str, tuple[int, int, int]]:
    """Regions worth hurting: (start, end, width of a field)."""
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    spots = {"header": (0, 64, 2), "sections": (table, table + 64 * count, 8), "types": (table, table + 64 * count, 4)}
    for section in ElfFile.parse(data).sections:
        ours = section.type in (SHT_SYMTAB, SHT_REL) or section.name.startswith((".BTF", ".maps", "license", ".rodata"))
        if (ours or section.is_code) and section.size:
            spots[f"{section.index}"] = (section.offset, section.offset + section.size, 4)
    return spots
