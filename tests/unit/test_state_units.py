"""F5: bit-fields and unions whose members change, from C to the registry: asked, never dropped in silence; the first
answer is the exact one, both ways; what it loses is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.cli import main
from reloader.layouts.rule_table import between
from reloader.layouts.rules import Conversion
from reloader.pipeline.registry.registry import QUESTION, Registry, read_folder
from reloader.structs.tree import Member
from tests.support.reference import apply_rules

SOURCE = """
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
struct value { __u64 packets; %s __u16 nat; };
/* Flags of connections. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct value);
} ct SEC(".maps");
SEC("xdp") int look(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&ct, &key) ? XDP_PASS : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
FLAGS = "__u16 rx:1, tx:1, seen:1, reserved:13;"
EXACT: dict[str, tuple[str, str, list[str]]] = {
    # name: old members, new members, fields that are carried along and not read any more
    "a_flag_taken_from_reserved": (FLAGS, "__u16 rx:1, tx:1, seen:1, dsr:1, reserved:12;", []),
    "a_flag_renamed": (FLAGS, "__u16 rx:1, tx:1, observed:1, reserved:13;", []),
    "a_flag_that_is_no_more": (FLAGS, "__u16 rx:1, tx:1, reserved:14;", ["seen"]),
    "a_field_that_grows_into_reserved": ("__u8 mode:3, reserved:5;", "__u8 mode:5, reserved:3;", []),
    "flags_that_get_wider": (FLAGS, "__u32 rx:1, tx:1, seen:1, dsr:1, reserved:28;", []),
    "flags_that_become_a_number": ("__u16 a:1, b:1, c:14;", "__u16 flags;", []),
    "a_number_that_becomes_flags": ("__u16 flags;", "__u16 a:1, b:1, c:14;", []),
    "one_unit_that_is_split": ("__u16 a:4, pad:8, c:4;", "__u16 a:4, pad1:4, pad2:4, c:4;", []),
    "two_units_that_are_merged": ("__u8 a:4, b:4; __u8 c:8;", "__u16 a:4, b:4, c:8;", []),
    "a_union_that_becomes_its_member": ("union { __u64 bytes; __u64 x; };", "__u64 bytes;", ["x"]),
    "a_member_that_gets_a_union": ("__u64 bytes;", "union { __u64 bytes; __u64 x; };", []),
    "a_union_with_one_member_more": ("union { __u32 a; __u32 b; };", "union { __u32 a; __u32 b; __u64 c; };", []),
    "a_union_with_a_member_less": ("union { __u32 a; __u8 b[4]; };", "union { __u32 a; };", ["b"]),
    "a_union_with_a_member_renamed": ("union { __u32 v4; __u8 v6[16]; };", "union { __u32 ip; __u8 v6[16]; };", []),
    "a_named_union": ("union { __u32 a; __u16 b; } u;", "union { __u32 a; __u16 b; __u8 c; } u;", []),
    "an_array_of_unions": ("union { __u32 a; __u16 b; } u[3];", "union { __u32 a; __u16 b; __u8 c; } u[3];", []),
    "an_array_of_arrays_of_unions": (
        "union { __u32 a; __u16 b; } u[2][2];",
        "union { __u32 a; __u16 b; __u8 c; } u[2][2];",
        [],
    ),
    "a_union_in_a_union": (
        "union { __u32 a; union { __u16 b; __u8 c; } i; } u;",
        "union { __u32 a; union { __u16 b; __u8 c; __u8 d[2]; } i; } u;",
        [],
    ),
    "a_union_in_a_union_with_a_member_less": (
        "union { __u32 a; union { __u16 b; __u8 c; } i; } u;",
        "union { __u32 a; union { __u16 b; } i; } u;",
        ["i.c"],
    ),
}
MISREAD = {
    "a_bit_that_moves": ("__u8 mode:3, level:5;", "__u8 mode:4, level:4;", ["mode", "level"]),
    "bits_that_change_places": ("__u8 a:1, b:1, reserved:6;", "__u8 b:1, a:1, reserved:6;", ["a", "b"]),
    "a_sign": ("__s32 delta:9, rest:23;", "__u32 delta:9, rest:23;", ["delta", "rest"]),
    "a_bit_that_another_field_takes": ("__u8 a:2, b:2, reserved:4;", "__u8 a:2, c:1, d:1, reserved:4;", ["b"]),
    "an_array_of_unions": ("union { __u32 a; __u16 b; } u[3];", "union { __s32 a; __u16 b; } u[3];", ["a"]),
    "a_union_in_a_union": (
        "union { __u32 a; union { __u16 b; __u8 c; } i; } u;",
        "union { __u32 a; union { __s16 b; __u8 c; } i; } u;",
        ["i"],
    ),
    "a_unions_member_of_another_size": ("union { __u32 a; __u64 b; };", "union { __u64 a; __u64 b; };", ["a"]),
}


class Case:
    """Two versions of a map of which `state new` recorded the first and drafted the second."""

    def __init__(self, folder: Path, compile_bpf: Callable[[str], Path], old: str, new: str) -> None:
        self.folder, self.new = folder, compile_bpf(SOURCE % new)
        self.call("new", compile_bpf(SOURCE % old))
        first = folder / "s" / "ct.1.yaml"
        text = "\n".join(line for line in first.read_text().splitlines() if "keep_old" not in line)
        first.write_text(re.sub(rf"\n *{QUESTION}.*", "", text) + "\n")
        self.call("new", self.new)
        self.file = folder / "s" / "ct.2.yaml"
        text = re.sub(r"\n *# QUESTION: how do two values.*\n.*keep_old", "", self.file.read_text())
        self.file.write_text(text)

    def call(self, *words: str | Path) -> int:
        more = ["--map", "ct"] if words[0] == "new" else []
        return main(["state", *map(str, words), "--schema", "s", "--dir", str(self.folder), *more])

    def answered(self, which: int = 0) -> str:
        """Write the answer of that number to every question; returns the file's text before."""
        before = self.file.read_text()
        out: list[str] = []
        left: list[str] = []
        for line in before.splitlines():
            if QUESTION in line:
                left = [""]
            elif left and line.startswith("    # "):
                left.append(line)
                if len(left) == which + 2:
                    out += ["    " + part for part in line.removeprefix("    # ").split("; ")]
            else:
                left = []
                out.append(line)
        self.file.write_text("\n".join(out) + "\n")
        return before

    def registry(self) -> Registry:
        return read_folder("s", self.folder / "s")

    def conversions(self) -> tuple[Conversion, Conversion]:
        versions = self.registry().history("ct")
        return between(versions, 1, 2), between(versions, 2, 1)


def sample(size: int) -> bytes:
    return bytes(0xA5 ^ 7 * i for i in range(size))


@pytest.mark.parametrize("name", EXACT)
def test_f5_the_first_answer_is_exact_and_comes_back(
    name: str, tmp_path: Path, compile_bpf: Callable[[str], Path]
) -> None:
    old, new, unread = EXACT[name]
    case = Case(tmp_path, compile_bpf, old, new)
    assert case.call("check", case.new) == 65
    before = case.answered()
    assert QUESTION in before
    assert "drop" not in before.partition("rules:")[2].partition(QUESTION)[0]
    assert case.call("check", case.new) == 0
    forward, back = case.conversions()
    assert (forward.lossy, back.lossy) == ((), ()) or "wider" in name or "more" in name
    assert [text.split()[0].removeprefix("value.") for text in forward.misread] == unread
    versions = case.registry().history("ct")
    value = bytearray(versions[0].value.size)
    for field in versions[0].value.fields():  # padding is zero, and what is reserved by name too
        if field.name in ("reserved", "pad"):
            continue
        start, bits = field.offset_bits, field.bits or field.type.size * 8
        for bit in range(start, start + bits):
            value[bit // 8] |= sample(len(value))[bit // 8] & (1 << bit % 8)
    there = apply_rules(forward, bytes(4), bytes(value))[1]
    assert apply_rules(back, bytes(4), there)[1] == bytes(value)
    for field in versions[0].value.fields():
        after = next((f for f in versions[1].value.fields() if f.name == field.name), None)
        if after is not None and field.name != "reserved":
            assert number(there, after) == number(bytes(value), field), field.name


def number(data: bytes, field: Member) -> int:
    whole = int.from_bytes(data, "little") >> field.offset_bits
    return whole & (1 << (field.bits or field.type.size * 8)) - 1


@pytest.mark.parametrize("name", MISREAD)
def test_f5_what_would_be_misread_needs_a_word_and_is_named(
    name: str, tmp_path: Path, compile_bpf: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, misread = MISREAD[name]
    case = Case(tmp_path, compile_bpf, old, new)
    assert case.call("check", case.new) == 65
    case.answered()
    assert case.call("check", case.new) == 0
    forward, _ = case.conversions()
    assert {text.split()[0].rpartition(".")[2] for text in forward.misread if "misread" in text} == set(misread)
    case.file.write_text(case.file.read_text().replace(", accept_loss: true", ""))
    capsys.readouterr()
    assert case.call("check", case.new, "-o", "json") == 65
    problems = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert len(problems) == 1


@pytest.mark.parametrize("name", EXACT)
def test_f5_the_other_answer_names_every_field_that_is_lost(
    name: str, tmp_path: Path, compile_bpf: Callable[[str], Path]
) -> None:
    old, new, _ = EXACT[name]
    case = Case(tmp_path, compile_bpf, old, new)
    case.answered(1)
    assert case.call("check", case.new) == 0
    forward, back = case.conversions()
    lost = {text.split()[0].removeprefix("value.").partition(".")[0] for text in forward.lossy}
    found = {f.name for f in case.registry().history("ct")[0].value.fields()} - {"packets", "nat"}
    assert lost == found
    assert back.lossy


def test_f5_a_plain_field_is_not_dropped_without_a_question(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    case = Case(tmp_path, compile_bpf, "__u32 mark;", "")
    assert case.call("check", case.new) == 65
    case.answered()
    assert case.call("check", case.new) == 0
    forward, _ = case.conversions()
    assert [text.split()[0] for text in forward.lossy] == ["value.mark"]
    case.file.write_text(case.file.read_text().replace(", accept_loss: true", ""))
    assert case.call("check", case.new) == 65
