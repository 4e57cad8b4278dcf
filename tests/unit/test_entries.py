"""Differences of a config map: what is written makes the live map hold what was listed, without a detour."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reloader.config_maps.entry_changes import (
    EntryDiff,
    digest_of,
    entry_diff,
    join_records,
    live_entries,
    split_records,
)
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES, PLAIN_TYPES, MapType
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishMap

KEY, VALUE, ROOM = 4, 3, 8
CPUS = 2


def wished(kind: MapType = MapType.HASH, *, prune: bool = True, room: int = ROOM) -> WishMap:
    return WishMap(
        name="m", role=Role.CONFIG, type=kind, key_size=KEY, value_size=VALUE, max_entries=room, map_flags=0,
        key=None, value=None, prune=prune,
    )  # fmt: skip


def entries_of(numbers: dict[int, int]) -> dict[bytes, bytes]:
    return {k.to_bytes(KEY, "little"): v.to_bytes(VALUE, "little") for k, v in numbers.items()}


ENTRIES = st.dictionaries(st.integers(0, ROOM - 1), st.integers(0, 3), max_size=ROOM).map(entries_of)
KINDS = st.sampled_from(sorted(PLAIN_TYPES))


class Live:
    """A map as the kernel has it: arrays hold every slot, per-CPU maps every CPU's padded value, none has more room."""

    def __init__(self, kind: MapType, entries: dict[bytes, bytes]) -> None:
        self.kind = kind
        self.entries = {**entries_of(dict.fromkeys(range(ROOM), 0)), **entries} if kind in ARRAY_TYPES else {**entries}

    def items(self) -> dict[bytes, bytes]:
        if self.kind not in PERCPU_TYPES:
            return self.entries
        return {k: v.ljust(8, b"\0") * CPUS for k, v in self.entries.items()}

    def write(self, diff: EntryDiff) -> None:
        """As engine/execute.py does; too many entries at any time are E2BIG."""
        if diff.tight:
            self.delete(diff)
        for key, value in diff.put.items():
            self.entries[key] = value
            assert len(self.entries) <= ROOM, "E2BIG"
        if not diff.tight:
            self.delete(diff)

    def delete(self, diff: EntryDiff) -> None:
        assert self.kind not in ARRAY_TYPES or not diff.delete, "an array's slot cannot be deleted"
        for key in diff.delete:
            del self.entries[key]

    def listed(self) -> dict[bytes, bytes]:
        return live_entries(self.kind, VALUE, self.items())


def without_zeros(kind: MapType, entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {k: v for k, v in entries.items() if v != bytes(VALUE)} if kind in ARRAY_TYPES else entries


@given(KINDS, ENTRIES, ENTRIES)
def test_the_difference_makes_the_map_what_was_listed(
    kind: MapType, before: dict[bytes, bytes], target: dict[bytes, bytes]
) -> None:
    live = Live(kind, before)
    diff = entry_diff(wished(kind), live.items(), target)
    live.write(diff)
    assert live.listed() == without_zeros(kind, target)
    assert entry_diff(wished(kind), live.items(), target).size == 0


@given(KINDS, ENTRIES, ENTRIES)
def test_without_prune_what_is_not_listed_stays(
    kind: MapType, before: dict[bytes, bytes], target: dict[bytes, bytes]
) -> None:
    diff = entry_diff(wished(kind, prune=False), Live(kind, before).items(), target)
    assert diff.delete == ()
    assert set(diff.put) <= set(target)


@given(KINDS, ENTRIES, ENTRIES)
def test_the_way_back_brings_the_same_contents(
    kind: MapType, before: dict[bytes, bytes], target: dict[bytes, bytes]
) -> None:
    """Undo: the stored contents, written with prune, whatever part of the difference was written."""
    live = Live(kind, before)
    stored = join_records(live.listed())
    diff = entry_diff(wished(kind), live.items(), target)
    for key in list(diff.put)[: len(diff.put) // 2]:  # interrupted half way
        live.entries[key] = diff.put[key]
    if len(live.entries) > ROOM:
        return
    live.write(entry_diff(wished(kind), live.items(), split_records(stored, KEY, VALUE), prune=True))
    assert join_records(live.listed()) == stored


@given(KINDS, ENTRIES, ENTRIES)
def test_counts_are_what_a_person_is_told(
    kind: MapType, before: dict[bytes, bytes], target: dict[bytes, bytes]
) -> None:
    live = Live(kind, before)
    diff = entry_diff(wished(kind), live.items(), target)
    assert diff.live == len(live.listed())
    assert diff.added == len(set(without_zeros(kind, target)) - set(live.listed()))
    assert diff.size == len(diff.put) + len(diff.delete)


@given(ENTRIES)
def test_records_come_back(entries: dict[bytes, bytes]) -> None:
    data = join_records(entries)
    assert split_records(data, KEY, VALUE) == entries
    assert len(data) == len(entries) * (KEY + VALUE)
    assert list(split_records(data, KEY, VALUE)) == sorted(entries)


def test_a_digest_is_that_of_the_stored_file() -> None:
    data = join_records(entries_of({2: 1, 1: 2}))
    assert digest_of(data) == hashlib.sha256(data).hexdigest()
    assert join_records(entries_of({1: 2, 2: 1})) == data


@pytest.mark.parametrize(
    ("kind", "before", "target", "tight"),
    [
        (MapType.HASH, {0: 1, 1: 1}, {0: 1, 2: 1}, True),
        (MapType.HASH, {0: 1}, {0: 2, 2: 1}, False),
        (MapType.HASH, {0: 1, 1: 1}, {0: 2, 1: 2}, False),
        (MapType.LRU_HASH, {0: 1, 1: 1}, {0: 1, 2: 1}, False),  # the kernel makes room, by its own choice
        (MapType.LPM_TRIE, {0: 1, 1: 1}, {2: 1, 3: 1}, True),
    ],
)
def test_deletions_come_first_only_where_both_do_not_fit(
    kind: MapType, before: dict[int, int], target: dict[int, int], tight: bool
) -> None:
    assert entry_diff(wished(kind, room=2), entries_of(before), entries_of(target)).tight is tight


def test_a_cpu_that_differs_is_a_difference() -> None:
    """One value is listed for all CPUs: a CPU with another one does not hold what was listed."""
    key, value = next(iter(entries_of({1: 2}).items()))
    live = {key: value.ljust(8, b"\0") + bytes(8)}
    diff = entry_diff(wished(MapType.PERCPU_HASH), live, {key: value})
    assert diff.put == {key: value}
    assert entry_diff(wished(MapType.PERCPU_HASH), {key: value.ljust(8, b"\0") * 2}, {key: value}).size == 0
