"""Words to numbers and back: integers, addresses, MACs, enumerators. What structs/encode.py builds entries from.

Nothing here knows structs. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from reloader.structs import texts
from reloader.structs.tree import Member, TypeTree
from reloader.wording.message import Message

HEX = "hex:"


class ValueProblem(ValueError):
    """A value does not fit its type. `path` leads to it from the entry's root, as `key.addr`."""

    def __init__(self, path: str, message: Message) -> None:
        super().__init__(f"{path}: {message}" + (f" ({message.hint})" if message.hint else ""))
        self.path = path
        self.message = message
        self.hint, self.reason = message.hint, message.code
        self.others: tuple[ValueProblem, ...] = ()  # what else is wrong with the same value

    def each(self) -> Iterator[ValueProblem]:
        """This finding and the others."""
        yield self
        yield from self.others


def together(found: Sequence[ValueProblem]) -> ValueProblem:
    """The first of several findings, which carries the rest."""
    first, *rest = found
    first.others = (*first.others, *(one for problem in rest for one in problem.each()))
    return first


class RowProblem(ValueProblem):
    """The same in row `index` of a table; `path` is the column's, without `key` or `value` before it."""

    def __init__(self, index: int, path: str, message: Message) -> None:
        super().__init__(path, message)
        self.index = index


def suggestion(word: str, known: Collection[str]) -> str:
    """A hint that names what may have been meant, or all there is."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    if near:
        return texts.DID_YOU_MEAN(word=near[0])
    return texts.KNOWN_WORDS(words=list(known)[:12]) if known else ""


def parse_int(text: str) -> int | None:
    """A decimal number, or hexadecimal after 0x; a leading 0 is no octal."""
    word = text.strip().lower()
    digits = word[1:] if word[:1] in ("-", "+") else word
    base = 16 if digits.startswith("0x") else 10
    if not digits.isalnum() or not digits.isascii() or len(digits) > 40:
        return None
    try:
        return int(word, base)
    except ValueError:
        return None


def int_range(size: int, signed: bool, bits: int = 0) -> tuple[int, int]:
    """(lowest, highest) an integer field holds."""
    width = bits or size * 8
    return (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)


def parse_address(text: str) -> bytes | None:
    """An IPv4 or IPv6 address as its 4 or 16 bytes; None for any other word."""
    from socket import AF_INET, AF_INET6, inet_pton

    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return None


def format_address(data: bytes) -> str:
    from socket import AF_INET, AF_INET6, inet_ntop

    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data)


def parse_prefix(text: str) -> tuple[bytes, int] | None:
    """`10.0.0.0/8` as (address, 8); an address alone has all its bits. None for any other word."""
    address, slash, digits = text.partition("/")
    data = parse_address(address)
    if data is None or (slash and not (digits.isdecimal() and digits.isascii() and len(digits) <= 3)):
        return None
    length = int(digits) if slash else len(data) * 8
    return (data, length) if length <= len(data) * 8 else None


def beyond_prefix(data: bytes, length: int) -> bytes | None:
    """The address without the bits after its prefix, when some of them are set; None when it is clean."""
    width = len(data) * 8
    whole = int.from_bytes(data, "big")
    clean = whole >> (width - length) << (width - length)
    return None if clean == whole else clean.to_bytes(len(data), "big")


def parse_mac(text: str) -> bytes | None:
    """`aa:bb:cc:dd:ee:ff`, with dashes too."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or any(len(p) != 2 for p in parts):
        return None
    try:
        return bytes(int(p, 16) for p in parts) if text.isascii() and all(map(str.isalnum, parts)) else None
    except ValueError:
        return None


def format_mac(data: bytes) -> str:
    return data.hex(":")


def parse_hex(text: str) -> bytes | None:
    """`hex:deadbeef`; spaces and colons may divide it."""
    try:
        return bytes.fromhex(text.removeprefix(HEX).replace(":", " "))
    except ValueError:
        return None


def enumerator(tree: TypeTree, word: str) -> int | None:
    """An enumerator's value by its name, or by the part behind its prefix: `drop` for ACTION_DROP."""
    exact = dict(tree.enumerators).get(word)
    if exact is not None:
        return exact
    found = set(_loosely(tree, word.upper()))
    return found.pop() if len(found) == 1 else None


def _loosely(tree: TypeTree, upper: str) -> Iterator[int]:
    for name, value in tree.enumerators:
        if upper and (name.upper() == upper or name.upper().endswith("_" + upper)):
            yield value


def field_order(tree: TypeTree, orders: Mapping[str, str], path: str) -> str:
    """ "big" or "little" where the type or the author says so, else empty. Array indices need not be written."""
    said = orders.get(path) or (orders.get(_without_indices(path)) if "[" in path else None)
    if said:
        return "big" if said == "network" else "little"
    return tree.order


def _without_indices(path: str) -> str:
    return "".join(part.partition("]")[2] if i else part for i, part in enumerate(path.split("[")))


def place_bits(data: bytearray, member: Member, piece: bytes) -> None:
    """Put a field's bytes where it lies; a bit-field among its neighbours, in place of what was there."""
    start = member.offset_bits // 8
    if not member.bits:
        data[start : start + len(piece)] = piece
        return
    end, shift = (member.offset_bits + member.bits + 7) // 8, member.offset_bits % 8
    others = int.from_bytes(data[start:end], "little") & ~((1 << member.bits) - 1 << shift)
    data[start:end] = (others | int.from_bytes(piece, "little") << shift).to_bytes(end - start, "little")
