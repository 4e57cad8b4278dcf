"""Conversions held to an independent one by field names, over random pairs of structs and chains of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from reloader.layouts.rule_table import StateRefused, compile_conversion, compose, invert
from reloader.layouts.rules import Conversion
from reloader.structs.elf import read_object
from reloader.structs.tree import TypeTree, identity
from tests.support.layout_pairs import (
    Change,
    Misfit,
    Values,
    Var,
    c_text,
    changes,
    encoded,
    laid_out,
    structs,
    values_of,
    version,
)
from tests.support.reference import NoCounterpart, apply_rules

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
KEY = b"\1\2\3\4"


def converted(conversion: Conversion, value: bytes) -> bytes | None:
    """The value, or None where the rules say that it has no counterpart."""
    try:
        key, made = apply_rules(conversion, KEY, value)
    except NoCounterpart:
        return None
    assert key == KEY
    return made


def foreseen(change: Change, values: Values) -> Values | None:
    try:
        return change.expected(values)
    except Misfit:
        return None


@FEW
@given(st.data(), st.booleans(), st.booleans())
def test_every_pair_converts_as_by_names_and_back(data: st.DataObject, packed_old: bool, packed_new: bool) -> None:
    change = data.draw(structs().flatmap(changes))
    old, new = laid_out(change.old, packed=packed_old), laid_out(change.new, packed=packed_new)
    chain = version(1, old, {}), version(2, new, change.rules)
    forward, back = compile_conversion(*chain), invert(chain)
    for _ in range(3):
        values = data.draw(values_of(change.old))
        before, expected = encoded(old, values), foreseen(change, values)
        made = converted(forward, before)
        assert made == (None if expected is None else encoded(new, expected))
        if made is not None and not forward.lossy:
            assert converted(back, made) == before


@FEW
@given(st.data())
def test_the_way_back_keeps_what_is_not_named_as_lost(data: st.DataObject) -> None:
    """Fields that no `lossy` line of the way there names come back, whatever happened to the others."""
    change = data.draw(structs().flatmap(changes))
    old, new = laid_out(change.old), laid_out(change.new)
    chain = version(1, old, {}), version(2, new, change.rules)
    forward, back = compile_conversion(*chain), invert(chain)
    values = data.draw(values_of(change.old))
    made = converted(forward, encoded(old, values))
    assume(made is not None)
    assert made is not None
    lost = {v.name for v in change.old if any(line.startswith(f"value.{v.name} ") for line in forward.lossy)}
    zeroed = {v.name: ([0] * v.count if v.count else 0) for v in change.old if v.name in lost}
    assert converted(back, made) == encoded(old, {**values, **zeroed})
    assert lost == {name for name, rule in change.rules.items() if rule.drop or rule.const is not None}


@FEW
@given(st.data())
def test_one_pass_equals_the_steps_one_after_the_other(data: st.DataObject) -> None:
    first = data.draw(structs(most=5).flatmap(changes))
    second = data.draw(changes(first.new, prefix="h"))
    third = data.draw(changes(second.new, prefix="i"))
    trees = [laid_out(first.old), *(laid_out(c.new) for c in (first, second, third))]
    rules = [{}, first.rules, second.rules, third.rules]
    chain = [version(n, t, r) for n, (t, r) in enumerate(zip(trees, rules, strict=True), 1)]
    whole, back = compose(chain), invert(chain)
    values = data.draw(values_of(first.old))
    before = encoded(trees[0], values)
    step: bytes | None = before
    for one, other in pairwise(chain):
        step = converted(compile_conversion(one, other), step) if step is not None else None
    assume(step is not None)  # one pass may carry what a narrow version between would have refused
    assert converted(whole, before) == step
    if not whole.lossy and step is not None:
        assert converted(back, step) == before


def drawn(number: int) -> Change:
    """A change that depends on its number only."""
    found: list[Change] = []

    @seed(number)
    @settings(max_examples=12, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(structs().flatmap(changes))
    def collect(change: Change) -> None:
        found.append(change)

    collect()
    return max(found, key=lambda c: len(c.old) + len(c.new))


@pytest.fixture(scope="module")
def compiled_pairs(compile_bpf: Callable[[str | Path], Path]) -> list[tuple[Change, TypeTree, TypeTree]]:
    """Three dozen changes, their structs compiled by clang into one object."""
    pairs = [(drawn(n), f"old{n}", f"new{n}") for n in range(36)]
    text = ["#include <linux/bpf.h>", "#include <bpf/bpf_helpers.h>"]
    for n, (change, old, new) in enumerate(pairs):
        for name, variables in ((old, change.old), (new, change.new)):
            text.append(c_text(name, variables, packed=n % 4 == 3))
            text.append(
                f"struct {{ __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, __u32); "
                f'__type(value, struct {name}); }} m_{name} SEC(".maps");'
            )
    target = compile_bpf("\n".join([*text, 'char LICENSE[] SEC("license") = "GPL";', ""]))
    compiled = read_object(target.read_bytes())

    def value(name: str) -> TypeTree:
        found = compiled.map(f"m_{name}")
        assert found
        assert found.value
        return found.value

    return [(change, value(old), value(new)) for change, old, new in pairs]


def test_structs_as_clang_lays_them_out(compiled_pairs: list[tuple[Change, TypeTree, TypeTree]]) -> None:
    converted_values = 0
    for n, (change, old, new) in enumerate(compiled_pairs):
        assert identity(old) == identity(laid_out(change.old, packed=n % 4 == 3))
        forward = compile_conversion(version(1, old, {}), version(2, new, change.rules))
        for values in examples(change, n):
            expected = foreseen(change, values)
            made = converted(forward, encoded(old, values))
            assert made == (None if expected is None else encoded(new, expected))
            converted_values += made is not None
    assert converted_values > 100


def examples(change: Change, number: int) -> list[Values]:
    """A few values a struct: small ones always fit, large ones often do not."""
    rng = Random(number)
    out = []
    for bits in (3, 6, 7, 16, 64):
        values: Values = {}
        for v in change.old:
            top = min(bits, 8 * v.scalar.size - v.scalar.signed)
            numbers = [rng.getrandbits(1 if v.kind == "bool" else top) for _ in range(v.count or 1)]
            signed = [-n - 1 if v.scalar.signed and rng.random() < 0.5 else n for n in numbers]
            chosen = [bool(n) for n in signed] if v.kind == "bool" else signed
            values[v.name] = chosen if v.count else chosen[0]
        out.append(values)
    return out


@FEW
@given(structs(), structs())
def test_without_rules_only_the_same_fields_convert(old: tuple[Var, ...], new: tuple[Var, ...]) -> None:
    """Sabotage of the tests above: nothing is guessed, so unlike structs are refused and all reasons named."""
    trees = [laid_out(v) for v in (old, new)]
    alike = {(v.name, v.tree) for v in old} == {(v.name, v.tree) for v in new}
    chain = version(1, trees[0], {}), version(2, trees[1], {})
    if alike:
        assert compile_conversion(*chain).lossy == ()
    else:
        with pytest.raises(StateRefused):
            compile_conversion(*chain)
