"""A register's state, as the verifier prints it, in words. Pure."""

from __future__ import annotations

import re
from dataclasses import field

from reloader.frozen import frozen

LOWEST, HIGHEST, MOST = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
OLD_NAMES = {"inv": "scalar", "unknown": "scalar"}  # what kernels before 5.18 called a number
THINGS = {
    "ctx": "the context",
    "pkt_end": "data_end",
    "pkt_meta": "a pointer to the packet's metadata",
    "ringbuf_mem": "a ring buffer record",
    "alloc_mem": "a ring buffer record",
    "mem": "a pointer to memory",
    "sock": "a socket",
    "sock_common": "a socket",
    "tcp_sock": "a TCP socket",
    "dynptr_ptr": "a dynptr",
    "func": "a function",
}


@frozen
class Register:
    kind: str  # "scalar", "pkt", "map_value", …, without `_or_null`; empty: it holds nothing
    may_be_null: bool = False
    value: int | None = None  # of a known number; of `fp-8` the offset
    fields: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int = 0) -> int:
        try:
            found = int(self.fields.get(name, ""), 0)
        except ValueError:
            return default
        return found - (1 << 64) if name.startswith("s") and found > HIGHEST else found  # printed as hexadecimal

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The least and the most its variable part may be; None when nothing is known of it."""
        least, most = self.number("smin", LOWEST), self.number("smax", HIGHEST)
        if least >= 0 or ("umax" in self.fields and "smin" not in self.fields and self.number("umax") <= HIGHEST):
            least, most = max(least, self.number("umin")), min(most, self.number("umax", MOST))
        return None if (least, most) == (LOWEST, HIGHEST) else (least, most)

    @property
    def variable(self) -> bool:
        """Whether something unknown was added to it, or it is an unknown number."""
        return self.value is None and any(name in self.fields for name in ("var_off", "umax", "smax", "smin"))


def parse(state: str | None) -> Register:
    """`map_value(map=flows,ks=4,vs=16)`, `fp-8`, `scalar(umax=255)`, `0x7`, of old kernels `inv(id=0)` and `inv7`."""
    text = re.sub(r"^P(?=scalar|-?\d)", "", (state or "").strip())  # P: its exact value matters
    if not text:
        return Register(kind="")
    if number := re.fullmatch(r"(?:inv)?(-?\d{1,20}|0x[0-9a-f]{1,16})", text):
        return Register(kind="scalar", value=int(number[1], 16 if "x" in number[1] else 10))
    if offset := re.fullmatch(r"fp(-?\d{1,9})", text):
        return Register(kind="fp", value=int(offset[1]))
    name, _, rest = text.partition("(")
    kind = OLD_NAMES.get(name, name)
    return Register(
        kind=kind.removesuffix("_or_null"),
        may_be_null=kind.endswith("_or_null"),
        fields=_fields(rest.removesuffix(")")),
    )


def _fields(text: str) -> dict[str, str]:
    """`smin=smin32=0,var_off=(0x0; 0xff)`: names that share a value are written as a chain."""
    found = {}
    for part in re.split(r",(?![^(]*\))", text):
        *names, value = part.split("=")
        for name in names:
            found[name.strip().removesuffix("_value")] = value.strip()
    return found


def in_words(number: int, held: Register) -> str:
    """`R1 is a packet pointer at offset 14; …`."""
    what = _what(held) + (", or NULL" if held.may_be_null else "")
    return f"R{number} {'holds' if not held.kind else 'is'} {what}"


def _what(held: Register) -> str:
    if not held.kind:
        return "nothing: it was never set, or a call took it"
    if held.kind == "scalar":
        return _number(held)
    if held.kind == "pkt":
        return f"a packet pointer{_at(held)}; {_checked(held)}"
    if held.kind == "fp":
        return f"a pointer to the stack, fp{held.value:+d}" if held.value is not None else f"a stack pointer{_at(held)}"
    if held.kind.startswith("map_"):
        return _of_map(held)
    size = f" of {held.fields[name]} bytes" if (name := _size_field(held)) else ""
    return THINGS.get(held.kind, f"a {held.kind} pointer") + size + _at(held)


def _size_field(held: Register) -> str:
    return next((name for name in ("sz", "mem_size") if name in held.fields), "")


def _number(held: Register) -> str:
    if held.value is not None:
        return f"the number {held.value}"
    return f"a number from {held.bounds[0]} to {held.bounds[1]}" if held.bounds else "an unknown number"


def _at(held: Register) -> str:
    fixed = f" at offset {held.number('off')}" if "off" in held.fields or held.kind == "pkt" else ""
    if not held.variable:
        return fixed
    more = f"a number from {held.bounds[0]} to {held.bounds[1]}" if held.bounds else "an unknown number"
    return f"{fixed or ' at offset 0'} plus {more}"


def _checked(held: Register) -> str:
    checked = held.number("r")
    if not checked:
        return "its bytes were not compared with data_end"
    where = "behind the variable part" if held.number("id") else "of the packet"
    first = "the first byte" if checked == 1 else f"the first {checked} bytes"
    return f"{first} {where} {'was' if checked == 1 else 'were'} compared with data_end"


def map_name(held: Register) -> str:
    """` flows`, for kernels that say it (6.8 and later)."""
    return f" {held.fields['map']}" if held.fields.get("map") else ""


def _of_map(held: Register) -> str:
    if held.kind == "map_ptr":
        return f"the map{map_name(held)}"
    part = "key" if held.kind == "map_key" else "value"
    size = held.fields.get("ks" if part == "key" else "vs")
    return f"a {part} of map{map_name(held)}" + (f" ({size} bytes)" if size else "") + _at(held)
