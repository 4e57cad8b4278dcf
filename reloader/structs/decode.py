"""Bytes as people write them: the way back from values.encode, for `show`. Pure.

What a type cannot say without losing something (a union, odd padding in a string) is shown as `hex:…`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from reloader.structs.numbers import HEX, beyond_prefix, field_order, format_address, format_mac
from reloader.structs.tree import Member, TypeTree


def show(tree: TypeTree | None, data: bytes, orders: Mapping[str, str], at: str = "") -> Any:
    """A JSON-able value."""
    if tree is None or len(data) != tree.size or tree.special:
        return HEX + data.hex()
    match tree.kind:
        case "struct" | "datasec":
            return _struct(tree, data, orders, at)
        case "union":
            return _union(tree, data, orders, at)
        case "array":
            return _array(tree, data, orders, at)
        case "float" if tree.size in (4, 8):
            return _float(data)
        case "bool" if data[0] < 2 and not any(data[1:]):
            return bool(data[0])
        case "bool" | "float":
            return HEX + data.hex()
    order = field_order(tree, orders, at)
    if tree.kind == "ptr":
        return hex(int.from_bytes(data, "big" if order == "big" else "little"))
    if tree.kind == "int" and tree.size == 4 and order == "big" and not tree.signed:
        return format_address(data)
    number = int.from_bytes(data, "big" if order == "big" else "little", signed=tree.signed)
    return _name_of(tree, number) if tree.kind == "enum" else number


def text(value: Any) -> str:
    """A shown value on one line, as YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def fields(
    tree: TypeTree, data: bytes, orders: Mapping[str, str], path: str, at: str = ""
) -> Iterator[tuple[str, str]]:
    """Every field of a value with its text, by dotted path from `path`; of a union each member."""
    shown = show(tree, data, orders, at)
    if isinstance(shown, dict) or (tree.kind == "union" and isinstance(shown, str) and shown.startswith(HEX)):
        for m in sorted(tree.fields(), key=lambda m: m.offset_bits):
            yield from _field(m, data, orders, f"{path}.{m.name}", f"{at}.{m.name}".lstrip("."))
    elif isinstance(shown, list) and tree.element is not None:
        step = tree.element.size
        for i in range(tree.count):
            yield from fields(tree.element, data[i * step : (i + 1) * step], orders, f"{path}[{i}]", f"{at}[{i}]")
    else:
        yield path, text(shown)


def _field(m: Member, data: bytes, orders: Mapping[str, str], path: str, at: str) -> Iterator[tuple[str, str]]:
    if m.bits:
        yield path, text(_member(m, data, orders, at))
    elif _width(m) and not m.type.special:
        yield from fields(m.type, data[m.offset_bits // 8 :][: m.type.size], orders, path, at)


def _name_of(tree: TypeTree, number: int) -> Any:
    return next((name for name, value in tree.enumerators if value == number), number)


def _float(data: bytes) -> Any:
    number: float = struct.unpack("<f" if len(data) == 4 else "<d", data)[0]
    return number if number - number == 0 else HEX + data.hex()  # JSON has neither infinity nor NaN


def _array(tree: TypeTree, data: bytes, orders: Mapping[str, str], at: str) -> Any:
    element = tree.element
    if element is None or not element.size:
        return HEX + data.hex()
    if element.kind == "char":
        return _text(data)
    if element.kind == "int" and element.size == 1 and not element.signed:
        return format_mac(data) if tree.count == 6 else HEX + data.hex()
    step = element.size
    items = [show(element, data[i : i + step], orders, f"{at}[{i // step}]") for i in range(0, len(data), step)]
    big = element.kind == "int" and field_order(element, orders, f"{at}[0]") == "big"
    return format_address(data) if big and len(data) == 16 else items


def _text(data: bytes) -> str:
    word = data.rstrip(b"\0")
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    clean = text.isprintable() and "\0" not in text and not text.startswith(HEX) and (text or not word)
    return text if clean else HEX + data.hex()


def _struct(tree: TypeTree, data: bytes, orders: Mapping[str, str], at: str) -> Any:
    from reloader.structs.encode import prefix_address

    address = prefix_address(tree)
    if address is not None and not _in_host_order(tree, address, orders, at):
        text = _prefix(address, data)
        if text:
            return text
    members: dict[str, Any] = {}
    end = -1
    for m in sorted(tree.fields(), key=lambda m: (m.offset_bits, -_width(m))):
        if m.type.special or m.offset_bits < end or not _width(m):  # the widest member of a union shows it all
            continue
        end = m.offset_bits + _width(m)
        members[m.name] = _member(m, data, orders, f"{at}.{m.name}".lstrip("."))
    return members


def _in_host_order(tree: TypeTree, address: Member, orders: Mapping[str, str], at: str) -> bool:
    """Whether the author says so of a trie's key: `encode` then writes no text of a prefix that reads back."""
    paths = (f"{at}.{tree.members[0].name}".lstrip("."), f"{at}.{address.name}".lstrip("."))
    below = [path for path in orders if any(path == p or path.startswith((f"{p}.", f"{p}[")) for p in paths)]
    return any(orders[path] == "host" for path in below) or orders.get(paths[0]) == "network"


def _width(member: Member) -> int:
    return member.bits or member.type.size * 8


def _member(member: Member, data: bytes, orders: Mapping[str, str], at: str) -> Any:
    start = member.offset_bits // 8
    if not member.bits:
        return show(member.type, data[start : start + member.type.size], orders, at)
    end = (member.offset_bits + member.bits + 7) // 8
    number = int.from_bytes(data[start:end], "little") >> member.offset_bits % 8 & (1 << member.bits) - 1
    if member.type.signed and number >> member.bits - 1:
        number -= 1 << member.bits
    if member.type.kind == "bool":
        return bool(number)
    return _name_of(member.type, number) if member.type.kind == "enum" else number


def _union(tree: TypeTree, data: bytes, orders: Mapping[str, str], at: str) -> Any:
    """struct in6_addr hides an address in a union of arrays; any other union could mean anything."""
    arrays = [m.type for m in tree.fields()]
    if tree.size == 16 and {a.kind for a in arrays} == {"array"} and {a.size for a in arrays} == {16}:
        return format_address(data)
    return HEX + data.hex()


def _prefix(member: Member, data: bytes) -> str:
    """An LPM trie's key as `10.0.0.0/8`, where that says all of it."""
    length, address = int.from_bytes(data[:4], "little"), data[4 : 4 + member.type.size]
    if len(address) not in (4, 16) or member.type.kind not in ("int", "array", "struct"):
        return ""
    if length > len(address) * 8 or beyond_prefix(address, length) is not None:
        return ""
    return f"{format_address(address)}/{length}"
