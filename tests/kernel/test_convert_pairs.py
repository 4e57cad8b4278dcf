"""Random pairs of structs through the migration program itself, keys and values, plain and per CPU: each entry must
become what plain Python makes of it by field names (support/deep_pairs.py), and come back the same where nothing is
lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from reloader.bpf import syscall
from reloader.bpf.live import LiveKernel
from reloader.bpf.progs import LiveProgs
from reloader.convert import migrate
from reloader.errors import LoadRejected
from reloader.kernel import ARRAY_TYPES, ENOTSUPP, PERCPU_TYPES, Fd, Loaded, LoadRequest, MapInfo, MapType
from reloader.layouts.rule_table import StateRefused, compile_conversion, invert
from reloader.layouts.rules import LayoutVersion
from reloader.structs.tree import TypeTree
from tests.support import faults
from tests.support.conversions import joined
from tests.support.deep_pairs import encoded, laid_out
from tests.support.deep_samples import Pair, drawn
from tests.support.layout_pairs import Values

pytestmark = pytest.mark.kernel

SAMPLES = range(100, 106)
U32 = TypeTree(kind="int", size=4)
Entries = dict[bytes, bytes]


@contextmanager
def pair_of_maps(kernel: LiveKernel, kind: MapType, *versions: LayoutVersion) -> Iterator[tuple[Fd, Fd]]:
    shapes = [
        MapInfo(id=0, type=kind, name="m", key_size=v.key.size, value_size=v.value.size, max_entries=16, map_flags=0)
        for v in versions
    ]
    with kernel.maps.create(shapes[0]) as old, kernel.maps.create(shapes[1]) as new:
        yield old, new


def versions_of(pair: Pair, *, indexed: bool) -> tuple[LayoutVersion, LayoutVersion]:
    keys = (U32, U32) if indexed else (laid_out(pair.key.old), laid_out(pair.key.new))
    values = (laid_out(pair.value.old, packed=pair.packed), laid_out(pair.value.new, packed=pair.packed))
    first, second = (
        LayoutVersion(schema="t", map="m", version=n, key=k, value=v)
        for n, k, v in zip((1, 2), keys, values, strict=True)
    )
    rules = {} if indexed else pair.key.rules
    return first, LayoutVersion(
        schema="t", map="m", version=2, key=second.key, value=second.value, key_rules=rules,
        value_rules=pair.value.rules,
    )  # fmt: skip


def entries(pair: Pair, version: LayoutVersion, kind: MapType, *, new: bool) -> Entries:
    """What the map of one version holds: each CPU of a per-CPU one has another entry's value."""
    drawn_values = [v for _, v in pair.entries]
    values = [encoded(version.value, pair.value.expected(v) if new else v) for v in drawn_values]
    cpus = syscall.possible_cpus() if kind in PERCPU_TYPES else 1
    rows = [joined(kind, [values[(i + cpu) % len(values)] for cpu in range(cpus)]) for i in range(len(values))]
    return dict(zip([_key(pair, version, i, k, new=new) for i, (k, _) in enumerate(pair.entries)], rows, strict=True))


def _key(pair: Pair, version: LayoutVersion, index: int, key: Values, *, new: bool) -> bytes:
    if version.key == U32:
        return index.to_bytes(4, "little")
    return encoded(version.key, pair.key.expected(key) if new else key)


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.PERCPU_HASH, MapType.ARRAY])
def test_pairs_of_structs_move_as_by_names_and_back(kind: MapType) -> None:
    kernel, moved = LiveKernel(), 0
    for number in SAMPLES:
        pair = drawn(number)
        old, new = versions_of(pair, indexed=kind in ARRAY_TYPES)
        try:
            forward, back = compile_conversion(old, new), invert((old, new))
        except StateRefused:
            continue
        before, after = (entries(pair, v, kind, new=v is new) for v in (old, new))
        if len(before) < len(pair.entries):
            continue  # two keys drawn alike
        with pair_of_maps(kernel, kind, old, new) as (source, target):
            migrate.check(kernel, source, target, forward)
            migrate.check(kernel, target, source, back)
            kernel.maps.update_many(source, list(before), list(before.values()))
            migrate.drain(kernel, source, target, forward)
            assert {k: v for k, v in kernel.maps.items(target).items() if k in after} == after, f"sample {number}"
            if kind not in ARRAY_TYPES:
                assert kernel.maps.count(source) == 0
                migrate.drain(kernel, target, source, back)
                if not forward.lossy:
                    assert kernel.maps.items(source) == before, f"sample {number}"
            moved += 1
    assert moved >= len(SAMPLES) // 2


GIVES_UP: dict[str, frozenset[int]] = {"at first": frozenset({0}), "often": frozenset(migrate.SHAPES[:-1])}


@pytest.fixture
def jit_gives_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[frozenset[int]], list[int]]:
    """The kernel's answer to some shapes, at the place where it comes from; the shapes that were asked for."""
    load = LiveProgs.load

    def install(shapes: frozenset[int]) -> list[int]:
        asked: list[int] = []

        def answer(self: LiveProgs, request: LoadRequest) -> Loaded:
            asked.append(int.from_bytes(request.rodata["shape"], "little"))
            if asked[-1] in shapes:
                raise LoadRejected("migrate", ENOTSUPP, "")
            return load(self, request)

        faults.inject(monkeypatch, "load", answer)
        return asked

    return install


@pytest.mark.parametrize("which", GIVES_UP)
def test_a_shape_that_the_jit_gives_up_on_is_exchanged(
    which: str, jit_gives_up: Callable[[frozenset[int]], list[int]]
) -> None:
    """Trap: "bpf_jit: fatal error" (ENOTSUPP) for one table in 30, after the verifier took the program."""
    asked = jit_gives_up(GIVES_UP[which])
    test_pairs_of_structs_move_as_by_names_and_back(MapType.HASH)
    assert set(asked) == {*GIVES_UP[which], next(s for s in migrate.SHAPES if s not in GIVES_UP[which])}


def test_where_the_jit_takes_no_shape_the_conversion_is_refused(
    jit_gives_up: Callable[[frozenset[int]], list[int]],
) -> None:
    asked = jit_gives_up(frozenset(migrate.SHAPES))
    with pytest.raises(LoadRejected) as refused:
        test_pairs_of_structs_move_as_by_names_and_back(MapType.HASH)
    assert (refused.value.errno, tuple(asked)) == (ENOTSUPP, migrate.SHAPES)


@pytest.mark.parametrize("shape", migrate.SHAPES[1::2])
def test_every_shape_moves_the_same(shape: int, monkeypatch: pytest.MonkeyPatch) -> None:
    others = tuple(s for s in migrate.SHAPES if s != shape)
    faults.inject(monkeypatch, "migration shapes", (shape, *others))
    test_pairs_of_structs_move_as_by_names_and_back(MapType.HASH)
