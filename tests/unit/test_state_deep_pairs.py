"""Conversions of structs of every shape, keys too, held to an independent one by field names in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from reloader.layouts.rule_table import StateRefused, compile_conversion, invert
from reloader.layouts.rules import Conversion, LayoutVersion
from reloader.structs.elf import read_object
from reloader.structs.tree import identity
from tests.support.deep_pairs import Turn, c_text, encoded, laid_out, parts_of, plain_names, turn, values_of
from tests.support.deep_samples import pairs
from tests.support.layout_pairs import Misfit, Values
from tests.support.reference import NoCounterpart, apply_rules

FEW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def chain_of(key: Turn, value: Turn, *, packed: bool) -> tuple[LayoutVersion, LayoutVersion]:
    def made(number: int, k: Turn, v: Turn) -> LayoutVersion:
        new = number == 2
        return LayoutVersion(
            schema="t", map="m", version=number,
            key=laid_out(k.new if new else k.old), value=laid_out(v.new if new else v.old, packed=packed),
            key_rules=k.rules if new else {}, value_rules=v.rules if new else {},
        )  # fmt: skip

    return made(1, key, value), made(2, key, value)


def compiled(chain: tuple[LayoutVersion, LayoutVersion]) -> tuple[Conversion, Conversion]:
    """Both ways; a pair that needs more rules than there is room for is none of ours to test."""
    try:
        return compile_conversion(*chain), invert(chain)
    except StateRefused as refused:
        if {fault.message.code for fault in refused.faults} - {"too-many-rules", "side-too-large"}:
            raise
        reject()


def foreseen(change: Turn, values: Values) -> Values | None:
    try:
        return change.expected(values)
    except Misfit:
        return None


@FEW
@given(st.data(), st.booleans())
def test_every_pair_of_keys_and_values_converts_as_by_names_and_back(data: st.DataObject, packed: bool) -> None:
    key = turn(data.draw, parts_of(data.draw, "k", depth=1, most=3), key=True)
    value = turn(data.draw, parts_of(data.draw, "v"))
    chain = chain_of(key, value, packed=packed)
    forward, back = compiled(chain)
    for _ in range(2):
        k, v = values_of(data.draw, key.old), values_of(data.draw, value.old)
        before = encoded(chain[0].key, k), encoded(chain[0].value, v)
        wanted = foreseen(value, v)
        if wanted is None:
            with pytest.raises(NoCounterpart):
                apply_rules(forward, *before)
            continue
        made = apply_rules(forward, *before)
        assert made == (encoded(chain[1].key, key.expected(k)), encoded(chain[1].value, wanted))
        returned = apply_rules(back, *made)
        assert returned[0] == before[0]
        if not forward.lossy:
            assert returned[1] == before[1]


@FEW
@given(st.data())
def test_without_its_rules_a_change_is_refused(data: st.DataObject) -> None:
    """Sabotage of the test above: nothing but what is the same by name and type is taken."""
    value = turn(data.draw, parts_of(data.draw, "v"))
    assume(value.rules)
    old, new = laid_out(value.old), laid_out(value.new)
    key = laid_out(parts_of(data.draw, "k", most=1))
    chain = [LayoutVersion(schema="t", map="m", version=n, key=key, value=t) for n, t in ((1, old), (2, new))]
    with pytest.raises(StateRefused):
        compile_conversion(*chain)


def test_clang_lays_them_out_alike(compile_bpf: Callable[[str | Path], Path]) -> None:
    """The trees of the tests above are those of compiled objects: bit-fields, packed ones, typedefs and all."""
    text = ["#include <linux/bpf.h>", "#include <bpf/bpf_helpers.h>"]
    made = list(pairs(16))
    for n, pair in enumerate(made):
        for name, parts in ((f"old{n}", pair.value.old), (f"new{n}", pair.value.new)):
            text += [c_text(name, parts, packed=pair.packed), _declared(name)]
    found = read_object(compile_bpf("\n".join([*text, 'char LICENSE[] SEC("license") = "GPL";', ""])).read_bytes())
    for n, pair in enumerate(made):
        for name, parts in ((f"old{n}", pair.value.old), (f"new{n}", pair.value.new)):
            declared = found.map(f"m_{name}")
            assert declared
            assert declared.value
            assert identity(plain_names(declared.value)) == identity(laid_out(parts, packed=pair.packed)), name


def _declared(name: str) -> str:
    return (
        f"struct {{ __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, __u32); "
        f'__type(value, struct {name}); }} m_{name} SEC(".maps");'
    )
