"""The interpreter of reloader_rules.h, built for this machine, against its Python reference: the same bytes.

The rules come from random pairs of structs with random merge rules, for keys and values.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reloader.frozen import frozen
from reloader.layouts.emit import JOINING, MERGES, merge_problem
from reloader.layouts.rule_table import StateRefused, between
from reloader.layouts.rules import Conversion, LayoutVersion, Op
from reloader.layouts.shape import atoms
from reloader.structs.tree import TypeTree
from tests.support.layout_pairs import changes, encoded, laid_out, structs, values_of
from tests.support.reference import NoCounterpart, apply_rules, merge_rules
from tools.build_bpf import Toolchain

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <linux/types.h>
#include "reloader_rules.h"

struct head { __u32 value_rules, key_rules, old_key, new_key, old_value, new_value; };
struct reply { __u32 fits, has_key; };

static struct rl_rule value[RL_RULES], keys[RL_KEY_RULES];
static _Alignas(8) __u8 key[RL_KEY_MAX], other[RL_KEY_MAX], old[RL_VALUE_MAX], built[RL_VALUE_MAX], there[RL_VALUE_MAX];

static int take(void *to, size_t size) { return !size || fread(to, size, 1, stdin) == 1; }

int main(void)
{
	struct head h;

	while (take(&h, sizeof(h))) {
		struct reply reply = {.has_key = 1};
		if (!take(value, h.value_rules * sizeof(*value)) || !take(keys, h.key_rules * sizeof(*keys)) ||
			!take(key, h.old_key) || !take(old, h.old_value) || !take(there, h.new_value))
			return 1;
		memcpy(other, key, sizeof(key));
		if (h.key_rules)
			reply.has_key = rl_other_key(keys, h.key_rules, key, other);
		memset(built, 0xa5, sizeof(built));
		reply.fits = rl_fits(value, RL_RULES, h.value_rules, old);
		if (reply.fits) {
			rl_build(value, h.value_rules, old, built, h.new_value, 1);
			rl_merge(value, h.value_rules, built, there, RL_EXISTING);
		}
		fwrite(&reply, sizeof(reply), 1, stdout);
		fwrite(other, h.new_key, 1, stdout);
		fwrite(built, h.new_value, 1, stdout);
		fwrite(there, h.new_value, 1, stdout);
		fwrite(old, h.old_value, 1, stdout);
		fflush(stdout);
	}
	return 0;
}
"""


@frozen
class Answer:
    """What became of one entry; None: no counterpart."""

    key: bytes | None
    built: bytes | None
    merged: bytes
    left: bytes  # the old value afterwards


Interpreter = Callable[[Conversion, bytes, bytes, bytes], Answer]


@pytest.fixture(scope="module")
def interpret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interpreter]:
    folder = tmp_path_factory.mktemp("interpreter")
    (folder / "main.c").write_text(PROGRAM)
    words = [Toolchain.find().clang, "-O1", "-fwrapv", f"-I{ROOT / 'programs/include'}", "main.c", "-o", "main"]
    subprocess.run(words, cwd=folder, check=True)
    with subprocess.Popen([folder / "main"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        reading, writing = process.stdout, process.stdin

        def ask(c: Conversion, key: bytes, old: bytes, there: bytes) -> Answer:
            sizes = (c.old_key_size, c.new_key_size, c.old_value_size, c.new_value_size)
            rules = b"".join(r.pack() for r in (*c.value, *c.key))
            writing.write(struct.pack("=6I", len(c.value), len(c.key), *sizes) + rules + key + old + there)
            writing.flush()
            fits, has_key = struct.unpack("=2I", reading.read(8))
            made, built, merged, left = (reading.read(n) for n in (sizes[1], sizes[3], sizes[3], sizes[2]))
            return Answer(key=made if has_key else None, built=built if fits else None, merged=merged, left=left)

        yield ask
        writing.close()


def version(number: int, key: TypeTree, value: TypeTree, merge: dict[str, str], **rules: object) -> LayoutVersion:
    return LayoutVersion(schema="t", map="m", version=number, key=key, value=value, merge=merge, **rules)  # type: ignore[arg-type]


@st.composite
def merges_of(draw: st.DrawFn, tree: TypeTree) -> dict[str, str]:
    """A merge rule for each field, out of those its type can have."""
    return {
        a.path: draw(st.sampled_from([w for w, op in MERGES.items() if not merge_problem(a, op)])) for a in atoms(tree)
    }


def taken_from(conversion: Conversion, old: bytes) -> bytes:
    """An old value after its counts were moved: zero there, and nothing else changed."""
    out = bytearray(old)
    for rule in conversion.value:
        if rule.op is Op.SUM:
            size = rule.src_size * (rule.imm + 1)
            out[rule.src_off : rule.src_off + size] = bytes(size)
    return bytes(out)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_kernels_interpreter_and_the_reference_agree(interpret: Interpreter, data: st.DataObject) -> None:
    of_key = data.draw(structs(most=4).flatmap(changes))
    of_value = data.draw(structs(most=6).flatmap(changes))
    trees = [laid_out(v) for v in (of_key.old, of_key.new, of_value.old, of_value.new)]
    old = version(1, trees[0], trees[2], data.draw(merges_of(trees[2])))
    new = version(
        2, trees[1], trees[3], data.draw(merges_of(trees[3])),
        key_rules=of_key.rules, value_rules=of_value.rules, collide=data.draw(st.booleans()),
    )  # fmt: skip
    for way, (source, key_of, value_of, there_of) in {
        (1, 2): (old, of_key.old, of_value.old, of_value.new),
        (2, 1): (new, of_key.new, of_value.new, of_value.old),
    }.items():
        try:
            conversion = between((old, new), *way)
        except StateRefused:
            continue  # keys that fall together, or merges of numbers that changed their size
        key = encoded(source.key, data.draw(values_of(key_of)))
        value = encoded(source.value, data.draw(values_of(value_of)))
        target = new if way == (1, 2) else old
        there = encoded(target.value, data.draw(values_of(there_of)))
        agree(interpret(conversion, key, value, there), conversion, key, value, there)


def agree(answer: Answer, conversion: Conversion, key: bytes, value: bytes, there: bytes) -> None:
    zero_key, zero_value = bytes(conversion.old_key_size), bytes(conversion.old_value_size)
    keys_only = replace(conversion, value=())
    values_only = replace(conversion, key=())
    try:
        expected_key: bytes | None = apply_rules(keys_only, key, zero_value)[0]
    except NoCounterpart:
        expected_key = None
    assert answer.key == expected_key
    try:
        built = apply_rules(values_only, zero_key, value)[1]
    except NoCounterpart:
        assert answer.built is None
        return
    assert answer.built == built
    assert answer.merged == merge_rules(conversion, value, there)
    assert answer.left == taken_from(conversion, value)


def test_every_op_was_asked_for() -> None:
    """What the random rules are made of is all there is."""
    assert {*JOINING, Op.COPY, Op.KEEP_OLD, Op.CONST, Op.EXPECT} == set(Op)
