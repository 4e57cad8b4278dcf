"""Entries by field name to bytes and back: layouts from a compiled object, every rule, and whole columns."""

from __future__ import annotations

import math
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.structs.btf import Kind, Member, TypeTree, leaves
from reloader.structs.elf import read_object
from reloader.structs.encode import RowProblem, ValueProblem, decode, encode, encode_columns

Compile = Callable[[str | Path], Path]

SOURCE = """
#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <stdbool.h>

enum action { ACTION_PASS, ACTION_DROP = 7, ACTION_REDIRECT_MAP = 9 };
enum level { LOW = -3, HIGH = 300 };
enum wide { WIDE_BIG = 0x1ffffffffULL };

struct endpoint { __be32 addr; __be16 port; __u8 proto; };
struct numbers { __u8 a; __s8 b; __u16 c; __s16 d; __u32 e; __s32 f; __u64 g; __s64 h; __be64 i; __int128 j; };
struct words { char name[8]; bool on; enum action action; enum level level; enum wide wide; char one; };
struct bits { unsigned low : 3; int mid : 5; __u64 high : 40; bool flag : 1; };
struct macs { __u8 hw[6]; char src_mac[6]; __u8 mac8[8]; __u64 mac_number; };
struct addresses {
	__u8 v4[4]; __be32 v4one[1]; __u8 v6[16]; __be32 v6words[4]; struct in6_addr v6struct; __u32 v6host[4];
	union { __be32 four; struct in6_addr six; } any;
};
struct lone { __be32 addr; };
struct holder { struct lone inner; __u32 host; };
struct variant { __u32 kind; union { __u64 whole; struct { __u32 low; __u32 high; }; }; };
struct table { __u16 grid[2][3]; struct endpoint peers[2]; };
struct locked { struct bpf_spin_lock lock; __u64 hits; };
struct lpm4 { __u32 prefixlen; __be32 addr; };
struct lpm4bytes { __u32 prefixlen; __u8 data[4]; };
struct lpm4host { __u32 prefixlen; __u32 addr; };
struct lpm6 { __u32 prefixlen; struct in6_addr addr; };
struct lpmboth { __u32 prefixlen; union { __be32 v4; struct in6_addr v6; }; };
struct lpmvni { __u32 prefixlen; __be32 vni; __be32 addr; };
struct floats { float f; double d; };
struct open_ended { __u32 n; __u8 rest[]; };

#define USE(name) struct name use_##name;
USE(endpoint) USE(numbers) USE(words) USE(bits) USE(macs) USE(addresses) USE(holder) USE(variant) USE(table)
USE(locked) USE(lpm4) USE(lpm4bytes) USE(lpm4host) USE(lpm6) USE(lpmboth) USE(lpmvni) USE(open_ended)
struct floats *use_floats;
__u32 plain;
"""


@pytest.fixture(scope="module")
def types(compile_bpf: Compile) -> Mapping[str, TypeTree]:
    btf = read_object(compile_bpf(SOURCE).read_bytes()).btf
    assert btf is not None
    return {btf.name(i): btf.tree(i) for i in btf.of_kind(Kind.STRUCT)}


U32 = TypeTree(kind="int", name="__u32", size=4)


def problem(tree: TypeTree | None, value: Any, path: str = "value", **said: Any) -> ValueProblem:
    with pytest.raises(ValueProblem) as caught:
        encode(tree, value, path=path, **said)
    return caught.value


def ip(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


# --- structs


def test_fields_by_name_and_zero_padding(types: Mapping[str, TypeTree]) -> None:
    value = {"proto": 17, "addr": "192.0.2.1", "port": 53}
    assert encode(types["endpoint"], value, path="key") == ip("192.0.2.1") + b"\x00\x35\x11\x00"


def test_every_width_and_sign(types: Mapping[str, TypeTree]) -> None:
    value = {"a": 255, "b": -128, "c": 65535, "d": -2, "e": "0xffffffff", "f": "-5", "g": 1 << 63, "h": -1, "i": 1}
    made = encode(types["numbers"], value | {"j": -2}, path="key")
    assert made[:32] == struct.pack("<BbHhxxIiQq", 255, -128, 65535, -2, 0xFFFFFFFF, -5, 1 << 63, -1)
    assert made[32:40] == struct.pack(">Q", 1)
    assert made[-16:] == (-2).to_bytes(16, "little", signed=True)
    assert decode(types["numbers"], made) == {
        "a": 255, "b": -128, "c": 65535, "d": -2, "e": 0xFFFFFFFF, "f": -5, "g": 1 << 63, "h": -1, "i": 1, "j": -2,
    }  # fmt: skip


def test_missing_fields(types: Mapping[str, TypeTree]) -> None:
    assert encode(types["endpoint"], {"port": 1}, path="value") == b"\0\0\0\0\0\1\0\0"
    wrong = problem(types["endpoint"], {"port": 1, "addr": 0}, path="key")
    assert (wrong.path, wrong.reason, wrong.message.values["field"]) == ("key", "field-missing", "proto")
    assert problem(types["endpoint"], {"port": 1}, complete=True)
    assert encode(types["endpoint"], {}, path="key", complete=False) == bytes(8)


def test_unknown_fields_are_guessed_at(types: Mapping[str, TypeTree]) -> None:
    wrong = problem(types["endpoint"], {"adr": 0})
    assert (wrong.reason, wrong.message.values["field"]) == ("no-such-field", "adr")
    assert wrong.hint == "did you mean addr?"
    assert "known: addr, port, proto" in problem(types["endpoint"], {"zzz": 0}).hint
    assert problem(types["endpoint"], {3: 0}).message.values["field"] == 3


@pytest.mark.parametrize("value", [None, 5, [1, 2], "text", 1.5, True])
def test_a_struct_wants_a_mapping(types: Mapping[str, TypeTree], value: Any) -> None:
    assert "a mapping of addr, port, proto" in problem(types["endpoint"], value).hint


def test_a_struct_of_one_is_written_as_its_member(types: Mapping[str, TypeTree]) -> None:
    assert encode(types["lone"], "192.0.2.1", path="key") == ip("192.0.2.1")
    assert encode(types["holder"], {"inner": "192.0.2.1", "host": 1}, path="key") == ip("192.0.2.1") + b"\1\0\0\0"
    assert problem(types["holder"], {"inner": "nonsense"}).path == "value.inner.addr"


def test_unions_take_one_member(types: Mapping[str, TypeTree]) -> None:
    tree = types["variant"]
    assert encode(tree, {"kind": 1, "whole": 2}, path="key") == struct.pack("<I4xQ", 1, 2)
    assert encode(tree, {"kind": 1, "low": 2, "high": 3}, path="key") == struct.pack("<I4xII", 1, 2, 3)
    assert problem(tree, {"kind": 1, "whole": 2, "high": 3}).reason == "fields-share-bytes"
    assert problem(tree, {"kind": 1, "low": 2}, path="key").message.values == {"field": "high"}


def test_arrays_and_nesting(types: Mapping[str, TypeTree]) -> None:
    value = {"grid": [[1, 2, 3], [4]], "peers": [{"port": 1}, {"port": 2}]}
    made = encode(types["table"], value, path="value")
    assert made[:12] == struct.pack("<6H", 1, 2, 3, 4, 0, 0)
    wrong = problem(types["table"], {"peers": [{}, {"port": 70000}]})
    assert (wrong.path, wrong.reason) == ("value.peers[1].port", "out-of-range")
    assert wrong.message.values == {"number": 70000, "type": "be16", "low": 0, "high": 65535}
    assert problem(types["table"], {"grid": [[1, 2, 3, 4]]}).path == "value.grid[0]"
    assert problem(types["table"], {"grid": [[1]], "peers": []}, path="key", complete=True)
    assert problem(types["table"], {"grid": 5}).message.values == {"value": "5", "type": "u16[3][2]"}


def test_kernel_owned_fields_stay_out(types: Mapping[str, TypeTree]) -> None:
    assert encode(types["locked"], {"hits": 1}, path="key") == struct.pack("<4xxxxxQ", 1)
    assert problem(types["locked"], {"lock": 1}).reason == "set-by-kernel"
    assert decode(types["locked"], struct.pack("<IxxxxQ", 9, 1)) == {"hits": 1}


def test_a_flexible_array_holds_nothing(types: Mapping[str, TypeTree]) -> None:
    assert encode(types["open_ended"], {"n": 1}, path="key") == b"\1\0\0\0"
    assert problem(types["open_ended"], {"rest": [1]}).path == "value.rest"


# --- scalars


@pytest.mark.parametrize("text", ["17", "0x11", "0X11", " 17 ", "+17", "017"])
def test_numbers_as_text(text: str) -> None:
    assert encode(U32, text, path="key") == b"\x11\0\0\0"


@pytest.mark.parametrize("value", ["", "x", "1_000", "1.5", "0b1", "１", 1.5, None, [], {}, "- 5", "0x", "9" * 5000])
def test_no_numbers(value: Any) -> None:
    assert problem(U32, value).message


@pytest.mark.parametrize(
    ("value", "fits"), [(-1, False), (0, True), (2**32 - 1, True), (2**32, False), (10**30, False)]
)
def test_ranges(value: int, fits: bool) -> None:
    if fits:
        assert encode(U32, value, path="key") == value.to_bytes(4, "little")
    else:
        assert problem(U32, value).reason == "out-of-range"


def test_true_is_no_number() -> None:
    assert problem(U32, True).hint == "write 1 or 0"


def test_booleans(types: Mapping[str, TypeTree]) -> None:
    on = next(m.type for m in types["words"].fields() if m.name == "on")
    for word in (True, 1, "true", "True", "1"):
        assert encode(on, word, path="value") == b"\1"
    for word in (False, 0, "false"):
        assert encode(on, word, path="value") == b"\0"
    for wrong in (2, "yes", None, -1):
        assert problem(on, wrong).reason == "not-boolean"


def test_enumerators(types: Mapping[str, TypeTree]) -> None:
    fields = {m.name: m.type for m in types["words"].fields()}
    for word in ("ACTION_DROP", "action_drop", "drop", "DROP", 7, "7"):
        assert encode(fields["action"], word, path="value") == b"\7\0\0\0"
    assert encode(fields["action"], "map", path="value") == b"\x09\0\0\0"
    assert encode(fields["level"], "LOW", path="value") == (-3).to_bytes(4, "little", signed=True)
    assert encode(fields["wide"], "big", path="value") == (0x1FFFFFFFF).to_bytes(8, "little")
    wrong = problem(fields["action"], "ACTION_DORP")
    assert (wrong.reason, wrong.hint) == ("not-in-enum", "did you mean ACTION_DROP?")
    twice = TypeTree(kind="enum", size=4, enumerators=(("A_X", 1), ("B_X", 2)))
    assert problem(twice, "x").message
    assert problem(fields["action"], True).message


def test_text(types: Mapping[str, TypeTree]) -> None:
    name = next(m.type for m in types["words"].fields() if m.name == "name")
    assert encode(name, "eth0", path="value") == b"eth0\0\0\0\0"
    assert encode(name, "käse", path="value") == "käse".encode().ljust(8, b"\0")
    assert encode(name, "12345678", path="value") == b"12345678"
    assert problem(name, "123456789").message.values == {"length": 9, "type": "char[8]", "size": 8}
    one = next(m.type for m in types["words"].fields() if m.name == "one")
    assert encode(one, "x", path="value") == b"x"


def test_floats(types: Mapping[str, TypeTree]) -> None:
    tree = TypeTree(kind="float", size=8)
    assert encode(tree, 2.5, path="value") == struct.pack("<d", 2.5)
    assert encode(tree, "2.5", path="value") == struct.pack("<d", 2.5)
    assert problem(TypeTree(kind="float", size=4), 1e300).message
    assert problem(tree, "x").message
    assert decode(tree, struct.pack("<d", math.inf)).startswith("hex:")


def test_bit_fields(types: Mapping[str, TypeTree]) -> None:
    made = encode(types["bits"], {"low": 5, "mid": -3, "high": 0xABCDEF0123, "flag": True}, path="key")
    number = int.from_bytes(made, "little")
    at = {leaf.path: (leaf.offset_bits, leaf.bits) for leaf in leaves(types["bits"])}
    cut = {n: number >> start & (1 << bits) - 1 for n, (start, bits) in at.items()}
    assert cut == {"low": 5, "mid": 32 - 3, "high": 0xABCDEF0123, "flag": 1}
    assert decode(types["bits"], made) == {"low": 5, "mid": -3, "high": 0xABCDEF0123, "flag": True}
    assert problem(types["bits"], {"low": 8}).reason == "bits-out-of-range"
    assert problem(types["bits"], {"mid": 16}).message


# --- addresses


@pytest.mark.parametrize(
    ("field", "text", "made"),
    [
        ("v4", "192.0.2.1", ip("192.0.2.1")),
        ("v4one", "192.0.2.1", ip("192.0.2.1")),
        ("v6", "2001:db8::1", ip("2001:db8::1")),
        ("v6words", "2001:db8::1", ip("2001:db8::1")),
        ("v6struct", "::ffff:192.0.2.1", ip("::ffff:192.0.2.1")),
        ("any", "2001:db8::1", ip("2001:db8::1")),
        ("any", "192.0.2.1", ip("192.0.2.1") + bytes(12)),
    ],
)
def test_addresses_wherever_they_fit(types: Mapping[str, TypeTree], field: str, text: str, made: bytes) -> None:
    place = next(m for m in types["addresses"].fields() if m.name == field)
    start = place.offset_bits // 8
    whole = encode(types["addresses"], {field: text}, path="value")
    assert whole[start : start + place.type.size] == made
    assert encode(types["addresses"], {}, path="value") == bytes(types["addresses"].size)


def test_addresses_that_do_not_fit(types: Mapping[str, TypeTree]) -> None:
    assert "::ffff:" in problem(types["addresses"], {"v6": "192.0.2.1"}).hint
    for field, text in (("v4", "2001:db8::1"), ("v4", "1.2.3"), ("v4", "1.2.3.4 x"), ("v6struct", "1.2.3.4")):
        assert problem(types["addresses"], {field: text}).path.startswith(f"value.{field}")


def test_an_address_in_host_or_network_order_is_never_guessed(types: Mapping[str, TypeTree]) -> None:
    wrong = problem(types["holder"], {"host": "192.0.2.1"})
    assert wrong.path == "value.host"
    assert "byteorder: {value.host: network}" in wrong.hint
    assert encode(types["holder"], {"host": "192.0.2.1"}, path="value", byteorder={"host": "network"})[4:] == ip(
        "192.0.2.1"
    )
    assert encode(types["holder"], {"host": "192.0.2.1"}, path="value", byteorder={"host": "host"})[4:] == ip(
        "1.2.0.192"
    )
    assert "byteorder: {key: network}" in problem(U32, "192.0.2.1", path="key").hint
    assert encode(U32, "192.0.2.1", path="key", byteorder={"": "network"}) == ip("192.0.2.1")
    words = {"v6host": "2001:db8::1"}
    assert "v6host" in problem(types["addresses"], words).path
    assert ip("2001:db8::1") in encode(types["addresses"], words, path="value", byteorder={"v6host": "network"})


def test_said_byte_order_holds_for_numbers_too() -> None:
    assert encode(U32, 1, path="key", byteorder={"": "network"}) == b"\0\0\0\1"
    assert decode(U32, b"\0\0\0\1", byteorder={"": "network"}) == "0.0.0.1"


def test_macs(types: Mapping[str, TypeTree]) -> None:
    mac = "aa:bb:cc:dd:ee:ff"
    raw = bytes.fromhex("aabbccddeeff")
    tree = types["macs"]
    made = encode(tree, {"hw": mac, "src_mac": "aa-bb-cc-dd-ee-ff", "mac8": mac}, path="value")
    assert made[:20] == raw + raw + raw + b"\0\0"
    assert problem(tree, {"mac_number": mac}).reason == "byte-order-unknown"
    assert encode(tree, {"mac_number": mac}, path="value", byteorder={"mac_number": "network"})[24:] == raw + b"\0\0"
    host = encode(tree, {"mac_number": mac}, path="value", byteorder={"mac_number": "host"})
    assert int.from_bytes(host[24:], "little") == 0xAABBCCDDEEFF
    for wrong in ("aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:fg", "aabbccddeeff", "aa:bb:cc:dd:ee:f", 5):
        assert problem(tree, {"hw": wrong}).path == "value.hw"
    assert encode(tree, {"hw": [1, 2, 3, 4, 5, 6]}, path="value")[:6] == bytes(range(1, 7))


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("lpm4", "10.0.0.0/8", b"\x08\0\0\0\x0a\0\0\0"),
        ("lpm4", "0.0.0.0/0", bytes(8)),
        ("lpm4", "10.1.2.3", b"\x20\0\0\0\x0a\1\2\3"),
        ("lpm4bytes", "10.0.0.0/8", b"\x08\0\0\0\x0a\0\0\0"),
        ("lpm4host", "10.0.0.0/8", b"\x08\0\0\0\x0a\0\0\0"),
        ("lpm6", "2001:db8::/32", b"\x20\0\0\0" + ip("2001:db8::")),
        ("lpmboth", "2001:db8::/32", b"\x20\0\0\0" + ip("2001:db8::")),
        ("lpmboth", "10.0.0.0/8", b"\x08\0\0\0\x0a\0\0\0" + bytes(12)),
    ],
)
def test_prefixes_as_keys(types: Mapping[str, TypeTree], name: str, text: str, made: bytes) -> None:
    assert encode(types[name], text, path="key") == made


def test_prefixes_that_are_none(types: Mapping[str, TypeTree]) -> None:
    wrong = problem(types["lpm4"], "10.0.0.1/8", path="key")
    assert wrong.hint == "write 10.0.0.0/8"
    for text in ("10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "2001:db8::/32", "10/8", "10.0.0.0/8/8", "10.0.0.0/٨"):
        assert "a prefix, for example 10.0.0.0/8" in problem(types["lpm4"], text, path="key").hint
    assert "prefix," not in problem(types["lpmvni"], "10.0.0.0/8", path="key").hint
    both = {"prefixlen": 8, "addr": "10.0.0.0"}
    assert encode(types["lpm4"], both, path="key") == b"\x08\0\0\0\x0a\0\0\0"


# --- hexadecimal, and no type at all


def test_hexadecimal_for_anything(types: Mapping[str, TypeTree]) -> None:
    assert encode(types["endpoint"], "hex:00 01 02 03 04 05 06 07", path="key") == bytes(range(8))
    assert encode(types["addresses"], {"any": "hex:" + "ab" * 16}, path="value").count(b"\xab") == 16
    assert problem(types["endpoint"], "hex:00").message.values == {"given": 1, "wanted": 8}
    assert problem(types["endpoint"], "hex:0").reason == "not-hex"


def test_without_a_type() -> None:
    assert encode(None, "hex:deadbeef", path="key", size=4) == bytes.fromhex("deadbeef")
    assert encode(None, 5, path="key", size=2) == b"\5\0"
    assert encode(None, "0x10", path="key", size=8) == b"\x10" + bytes(7)
    assert encode(None, -1, path="key", size=1) == b"\xff"
    for value, size in ((5, 3), ("text", 4), ("hex:00", 4), (256, 1), (True, 1), ({}, 4), (None, 4)):
        assert problem(None, value, path="key", size=size).path == "key"
    assert decode(None, b"\1\2") == "hex:0102"


# --- back again


def test_shown_as_people_write_it(types: Mapping[str, TypeTree]) -> None:
    value = {"addr": "192.0.2.1", "port": 53, "proto": 17}
    assert decode(types["endpoint"], encode(types["endpoint"], value, path="key")) == value
    assert decode(types["lpm4"], b"\x08\0\0\0\x0a\0\0\0") == "10.0.0.0/8"
    assert decode(types["lpm4"], b"\x08\0\0\0\x0a\0\0\1") == {"prefixlen": 8, "addr": "10.0.0.1"}
    assert decode(types["lpm6"], b"\x20\0\0\0" + ip("2001:db8::")) == "2001:db8::/32"
    words = {"name": "eth0", "on": True, "action": "drop", "level": "HIGH", "wide": "WIDE_BIG", "one": 65}
    shown = decode(types["words"], encode(types["words"], words, path="value"))
    assert shown == words | {"action": "ACTION_DROP"}
    macs = decode(types["macs"], bytes(types["macs"].size))
    assert macs["hw"] == "00:00:00:00:00:00"


def test_every_struct_survives_the_way_there_and_back(types: Mapping[str, TypeTree]) -> None:
    dice = random.Random(3)
    for tree in types.values():
        for _ in range(30):
            once = encode(tree, decode(tree, dice.randbytes(tree.size)), path="key", complete=False)
            assert encode(tree, decode(tree, once), path="key", complete=False) == once


PLAIN = st.builds(
    TypeTree, kind=st.just("int"), size=st.sampled_from((1, 2, 4, 8)), signed=st.booleans(),
    order=st.sampled_from(("", "big")),
) | st.builds(TypeTree, kind=st.sampled_from(("float", "enum")), size=st.sampled_from((4, 8)))  # fmt: skip


@st.composite
def structs(draw: st.DrawFn, inner: st.SearchStrategy[TypeTree]) -> TypeTree:
    members, at = [], 0
    for name in "abcd"[: draw(st.integers(1, 4))]:
        tree = draw(inner)
        at += draw(st.integers(0, 3))
        members.append(Member(name=name, offset_bits=at * 8, type=tree))
        at += tree.size
    return TypeTree(kind="struct", name="s", size=at + draw(st.integers(0, 3)), members=tuple(members))


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[TypeTree]) -> TypeTree:
    element, count = draw(inner), draw(st.integers(1, 4))
    return TypeTree(kind="array", size=element.size * count, element=element, count=count)


LAYOUTS = st.recursive(PLAIN, lambda inner: structs(inner) | arrays(inner), max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(LAYOUTS, st.randoms(use_true_random=False))
def test_any_layout_there_and_back(tree: TypeTree, dice: random.Random) -> None:
    once = encode(tree, decode(tree, dice.randbytes(tree.size)), path="key")
    assert len(once) == tree.size
    assert encode(tree, decode(tree, once), path="key") == once


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(LAYOUTS, JSONISH)
def test_anything_is_encoded_or_refused(tree: TypeTree, value: Any) -> None:
    try:
        made = encode(tree, value, path="value")
    except ValueProblem as wrong:
        found = wrong.path.startswith("value") and bool(wrong.message)
    else:
        found = len(made) == tree.size
    assert found


# --- columns


def test_columns_equal_rows(types: Mapping[str, TypeTree]) -> None:
    columns = {"port": ["80", "0x50", "65535"], "addr": ["192.0.2.1", "0.0.0.0", "10.0.0.1"], "proto": ["6", "17", "0"]}
    rows = [{n: c[i] for n, c in columns.items()} for i in range(3)]
    assert encode_columns(types["endpoint"], columns, size=8) == [
        encode(types["endpoint"], r, path="key") for r in rows
    ]
    assert encode_columns(types["endpoint"], {n: [] for n in columns}, size=8) == []


WRITTEN: dict[str, Callable[[str], Any]] = {
    "": lambda word: word,
    "inner.addr": lambda word: {"inner": {"addr": word}},
    "grid[1][2]": lambda word: {"grid": [[0, 0, 0], [0, 0, word]]},
    "peers[1].port": lambda word: {"peers": [{}, {"port": word}]},
}
"""How a row says what a column of that name says."""


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("numbers", "b", ["-128", "127", "0x7f"]),
        ("numbers", "h", ["-1", "0", str(2**63 - 1)]),
        ("numbers", "i", ["1", "2", str(2**64 - 1)]),
        ("numbers", "j", ["1", "-2"]),
        ("words", "action", ["drop", "ACTION_PASS", "9", "drop"]),
        ("words", "on", ["true", "0", "1"]),
        ("words", "name", ["eth0", "", "12345678"]),
        ("bits", "mid", ["-3", "3", "-3"]),
        ("macs", "hw", ["aa:bb:cc:dd:ee:ff", "00:00:00:00:00:01"]),
        ("macs", "hw", ["aa-bb-cc-dd-ee-ff", "00:00:00:00:00:01"]),
        ("addresses", "v6", ["::1", "2001:db8::1"]),
        ("addresses", "v6words", ["::1", "2001:db8::1"]),
        ("addresses", "v6struct", ["::1", "2001:db8::1"]),
        ("addresses", "v4", ["192.0.2.1", "hex:01020304"]),
        ("table", "grid[1][2]", ["7", "8"]),
        ("table", "peers[1].port", ["7", "8"]),
        ("holder", "inner.addr", ["192.0.2.1", "17"]),
        ("lpm4", "", ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32"]),
        ("lpm4", "", ["10.0.0.0/8", "192.0.2.1"]),
        ("lpm4bytes", "", ["10.0.0.0/8", "192.0.2.0/24"]),
        ("lpm6", "", ["2001:db8::/32", "::/0"]),
        ("lpmboth", "", ["2001:db8::/32", "10.0.0.0/8"]),
    ],
)
def test_one_column_equals_its_cells(types: Mapping[str, TypeTree], name: str, path: str, words: list[str]) -> None:
    tree = types[name]
    expected = [
        encode(tree, WRITTEN.get(path, lambda word, path=path: {path: word})(word), path="value") for word in words
    ]
    assert encode_columns(tree, {path: words}, size=tree.size) == expected


@pytest.mark.parametrize(
    ("name", "columns", "index", "path"),
    [
        ("endpoint", {"addr": ["1.2.3.4"] * 3, "port": ["1", "65536", "x"]}, 1, "port"),
        ("endpoint", {"addr": ["1.2.3.4", "1.2.3.4", "1.2.3"], "port": ["1", "2", "x"]}, 2, "addr"),
        ("endpoint", {"addr": ["1.2.3.4", "", "1.2.3"]}, 1, "addr"),
        ("endpoint", {"port": ["1", "1_0"]}, 1, "port"),
        ("endpoint", {"port": ["1", "-1"]}, 1, "port"),
        ("words", {"action": ["drop", "pass", "dorp"]}, 2, "action"),
        ("bits", {"low": ["1", "7", "8"]}, 2, "low"),
        ("macs", {"hw": ["aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:fg"]}, 1, "hw"),
        ("lpm4", {"": ["10.0.0.0/8", "10.0.0.1/8"]}, 1, ""),
        ("lpm4", {"": ["10.0.0.0/8", "10.0.0.0/33"]}, 1, ""),
        ("holder", {"host": ["1", "1.2.3.4"]}, 1, "host"),
        ("endpoint", {"nothing": ["1"]}, 0, "nothing"),
        ("variant", {"whole": ["1"], "low": ["1"]}, 0, "low"),
        ("table", {"grid[2][0]": ["1"]}, 0, "grid[2][0]"),
    ],
)
def test_the_row_that_is_wrong(
    types: Mapping[str, TypeTree], name: str, columns: dict[str, list[str]], index: int, path: str
) -> None:
    with pytest.raises(RowProblem) as caught:
        encode_columns(types[name], columns, size=types[name].size)
    assert (caught.value.index, caught.value.path) == (index, path)


def test_columns_of_a_key_must_cover_it(types: Mapping[str, TypeTree]) -> None:
    columns = {"addr": ["192.0.2.1"], "port": ["80"]}
    with pytest.raises(RowProblem, match="proto"):
        encode_columns(types["endpoint"], columns, size=8, complete=True)
    assert len(encode_columns(types["endpoint"], columns | {"proto": ["6"]}, size=8, complete=True)) == 1
    assert encode_columns(types["lpm4"], {"": ["10.0.0.0/8"]}, size=8, complete=True)
    assert encode_columns(types["variant"], {"kind": ["1"], "whole": ["2"]}, size=16, complete=True)


def test_columns_with_a_said_byte_order() -> None:
    words = ["192.0.2.1", "10.0.0.1"]
    assert encode_columns(U32, {"": words}, size=4, byteorder={"": "network"}) == [ip(w) for w in words]
    assert encode_columns(U32, {"": words}, size=4, byteorder={"": "host"}) == [ip(w)[::-1] for w in words]


def test_columns_without_a_type() -> None:
    assert encode_columns(None, {"": ["hex:0102", "3"]}, size=2) == [b"\1\2", b"\3\0"]
    with pytest.raises(RowProblem):
        encode_columns(None, {"": ["hex:01"]}, size=2)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from((1, 2, 4, 8)),
    st.booleans(),
    st.sampled_from(("", "big")),
    st.lists(st.text(max_size=6) | st.integers(-(2**65), 2**65).map(str), min_size=1, max_size=8),
)
def test_fast_and_thorough_agree(size: int, signed: bool, order: str, words: list[str]) -> None:
    tree = TypeTree(kind="int", size=size, signed=signed, order=order)
    expected: list[bytes] | None = []
    for word in words:
        try:
            made = encode(tree, word, path="value")
        except ValueProblem:
            expected = None
            break
        if expected is not None:
            expected.append(made)
    try:
        found: list[bytes] | None = encode_columns(tree, {"": words}, size=size)
    except RowProblem:
        found = None
    assert found == expected


def test_two_hundred_thousand_rows_in_a_blink(types: Mapping[str, TypeTree]) -> None:
    """The aim is 0.35 s on an idle machine; five times that is a broken fast path on any."""
    count, dice = 200_000, random.Random(5)
    columns = {
        "addr": [socket.inet_ntoa(dice.randbytes(4)) for _ in range(count)],
        "port": [str(dice.randrange(65536)) for _ in range(count)],
        "proto": [dice.choice(("6", "17")) for _ in range(count)],
    }
    values = {"": [str(n) for n in range(count)]}
    start = time.process_time()
    keys = encode_columns(types["endpoint"], columns, size=8, complete=True)
    found = encode_columns(U32, values, size=4)
    taken = time.process_time() - start
    assert len(keys) == len(found) == count
    assert keys[777] == encode(types["endpoint"], {n: c[777] for n, c in columns.items()}, path="key")
    assert taken < 1.75
