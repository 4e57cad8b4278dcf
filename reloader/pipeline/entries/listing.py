"""The listed entries of one config map → packed bytes: `key ‖ value` records sorted by key.

Inline entries and bulk files end in the same checks: no key twice, no more than fit, indices inside an array,
prefixes without host bits. Called by pipeline/compile.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, Problem
from reloader.kernel import ARRAY_TYPES, MapType
from reloader.pipeline.document import dotted
from reloader.pipeline.entries import texts
from reloader.pipeline.entries.row import Rows, Shape, encode_side, order_problem
from reloader.pipeline.model import Entry, MapWish, Mark
from reloader.structs.elf import ElfMap
from reloader.structs.encode import ValueProblem
from reloader.wording.message import Message


def pack(
    wish: MapWish, found: ElfMap, *, file: str, max_entries: int, inputs: Inputs = PLAIN
) -> tuple[bytes, list[Problem]]:
    """All listed entries of a map as records, or everything wrong with them."""
    listing = _Listing(wish, found, file)
    shape = Shape(
        key=found.key,
        value=found.value,
        key_size=found.key_size,
        value_size=found.value_size,
        byteorder=wish.byteorder,
    )
    problems = listing.byteorder_problems(shape)
    if not problems:
        rows = listing.read(shape, inputs) if wish.bulk else listing.encode(shape)
        problems = rows.problems or listing.check(rows, max_entries)
    if problems:
        return b"", problems
    records = sorted(map(bytes.__add__, rows.keys, rows.values))
    return b"".join(records), []


def order_problems(wish: MapWish, found: ElfMap, *, file: str) -> list[Problem]:
    """What is wrong with the byte orders of a map that lists no entries."""
    shape = Shape(key=found.key, value=found.value, key_size=found.key_size, value_size=found.value_size)
    return _Listing(wish, found, file).byteorder_problems(shape)


def nearest(marks: Mapping[str, Mark], path: str, otherwise: Mark) -> Mark:
    """The place of a dotted path, else of what it lies in."""
    while path and path not in marks:
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return marks.get(path, otherwise)


class _Listing:
    """One map's wish beside its declaration: encodes, checks, and knows where everything stands."""

    def __init__(self, wish: MapWish, found: ElfMap, file: str) -> None:
        self.wish = wish
        self.found = found
        self.file = file

    def at_map(self, message: Message) -> Problem:
        word = "from" if self.wish.bulk else "entries"
        mark = self.wish.bulk.mark if self.wish.bulk else self.wish.marks.get(word, self.wish.mark)
        return self._at(mark, (word,), message)

    def _at(self, mark: Mark, steps: tuple[str | int, ...], message: Message, tail: str = "") -> Problem:
        path = dotted(("spec", "maps", self.wish.name, *steps)) + (f".{tail}" if tail else "")
        return Problem.at(self.file, message, mark.line, mark.column, path)

    def byteorder_problems(self, shape: Shape) -> list[Problem]:
        problems = []
        for path in self.wish.byteorder or {}:
            side = path.replace("[", ".").split(".")[0]
            tree = shape.side(side)[0] if side in ("key", "value") else None
            wrong = order_problem(tree, path[len(side) :], path, texts.WRITE_KEY_OR_VALUE())
            if wrong:
                mark = self.wish.marks.get(f"byteorder.{path}", self.wish.mark)
                problems.append(self._at(mark, ("byteorder", path), wrong))
        return problems

    def read(self, shape: Shape, inputs: Inputs) -> Rows:
        from reloader.pipeline.entries.bulk import read_bulk  # late: most maps have none

        assert self.wish.bulk is not None
        return read_bulk(self.wish.bulk, shape, inputs)

    def encode(self, shape: Shape) -> Rows:
        rows = Rows()
        for entry in self.wish.entries or ():
            for side, into in (("key", rows.keys), ("value", rows.values)):
                try:
                    into.append(encode_side(shape, side, getattr(entry, side)))
                except ValueProblem as wrong:
                    rows.problems += [self._wrong_value(entry, one) for one in wrong.each()]
            if len(rows.problems) >= ENOUGH:
                break
        return rows

    def _wrong_value(self, entry: Entry, wrong: ValueProblem) -> Problem:
        mark = nearest(entry.marks, wrong.path, entry.mark)
        return self._at(mark, ("entries", entry.index), wrong.message, tail=wrong.path)

    # --- checks over all entries

    def check(self, rows: Rows, max_entries: int) -> list[Problem]:
        problems = []
        if len(rows.keys) > max_entries:
            problems.append(self.at_map(texts.TOO_MANY_ENTRIES(given=len(rows.keys), limit=max_entries)))
        bad = islice(self._bad_keys(rows.keys, max_entries), ENOUGH)
        problems += [self._at_row(rows, i, message) for i, message in bad]
        twins = islice(_twins(rows.keys), ENOUGH)
        return problems + [self._at_row(rows, i, self._first(rows, j)) for i, j in twins]

    def _at_row(self, rows: Rows, index: int, message: Message) -> Problem:
        if self.wish.bulk:
            return Problem.at(self.wish.bulk.path, message, rows.line(index), path="key")
        entry = (self.wish.entries or ())[index]
        return self._at(entry.marks.get("key", entry.mark), ("entries", entry.index, "key"), message)

    def _first(self, rows: Rows, index: int) -> Message:
        if self.wish.bulk:
            return texts.KEY_TWICE_IN_FILE(line=rows.line(index))
        mark = (self.wish.entries or ())[index].mark
        return texts.KEY_TWICE(line=mark.line, column=mark.column)

    def _bad_keys(self, keys: list[bytes], max_entries: int) -> Iterator[tuple[int, Message]]:
        if self.found.type in ARRAY_TYPES:
            return _outside(keys, max_entries)
        if self.found.type == MapType.LPM_TRIE:
            return _bad_prefixes(keys)
        return iter(())


def _outside(keys: list[bytes], max_entries: int) -> Iterator[tuple[int, Message]]:
    for index, key in enumerate(keys):
        slot = int.from_bytes(key, sys.byteorder)
        if slot >= max_entries:
            yield index, texts.INDEX_OUTSIDE(index=slot, size=max_entries, last=max_entries - 1)


def _bad_prefixes(keys: list[bytes]) -> Iterator[tuple[int, Message]]:
    """struct bpf_lpm_trie_key: prefixlen in host order, then the data, its first bit first."""
    width = (len(keys[0]) - 4) * 8 if keys else 0
    whole = (1 << width) - 1
    hosts = [whole >> length for length in range(width + 1)]
    for index, key in enumerate(keys):
        length = int.from_bytes(key[:4], sys.byteorder)
        if length > width:
            yield index, texts.PREFIX_TOO_LONG(length=length, width=width)
        elif int.from_bytes(key[4:], "big") & hosts[length]:
            yield index, texts.PREFIX_BITS_BEYOND(length=length)


def _twins(keys: list[bytes]) -> Iterator[tuple[int, int]]:
    """(a repeated key's index, its first one's)."""
    if len(set(keys)) == len(keys):
        return
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        if key in first:
            yield index, first[key]
        first.setdefault(key, index)
