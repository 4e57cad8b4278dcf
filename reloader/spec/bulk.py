"""Entries from a file beside the YAML: CSV with a header line of field names, or JSON Lines of {key, value}.

Read in chunks of a few MiB and encoded column by column, so that 200,000 rows cost a fraction of a second.
Findings carry the file's line. Called by listing.py; imports errors, spec.{model,values,shape}.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from reloader.errors import ENOUGH, Problem
from reloader.files import PLAIN, Inputs
from reloader.printable import counted
from reloader.spec import values
from reloader.spec.did_you_mean import suggestion
from reloader.spec.model import Bulk
from reloader.spec.shape import Rows, Shape, encode_side, has_field
from reloader.spec.source import unreadable
from reloader.spec.text import dotted

CHUNK = 4 << 20
LONGEST = 16 << 20  # bytes of one line, or of one row of several
_WINDOW = 256  # rows that are encoded at once behind a wrong one: only findings are looked for
_BATCH = 65536  # rows with quotes that are encoded at once


def read_bulk(bulk: Bulk, shape: Shape, inputs: Inputs = PLAIN) -> Rows:
    """Every entry of a bulk file, or the problems with it."""
    rows = Rows()
    reader = _CsvReader if bulk.format == "csv" else _JsonReader
    try:
        with inputs.stream(bulk.path) as stream:
            reader(rows, bulk.path, shape).read(stream)
    except OSError as error:
        rows.problems.append(unreadable(bulk.path, error))
    except _Stop as stop:
        rows.problems.append(_problem(bulk.path, stop.line, stop.message, stop.hint, reason=stop.reason))
    return rows


class _Stop(Exception):
    """What stands at this line makes the rest unreadable."""

    def __init__(self, line: int, message: str, hint: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint, self.reason = line, message, hint, reason


def _problem(
    file: str, line: int, message: str, hint: str = "", *, path: str = "", column: int = 0, reason: str = ""
) -> Problem:
    return Problem(file=file, line=line, column=column, path=path, message=message, hint=hint, reason=reason)


def _too_long(line: int) -> _Stop:
    hint = "write one entry a line, and look for a missing line break or quote"
    return _Stop(line, f"longer than {LONGEST >> 20} MiB", hint, reason="line-too-long")


def _short(text: str) -> str:
    """A text from the file, short enough for a message."""
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "…"


def _chunks(stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """(number of the first line, whole lines of text) piece by piece."""
    line = 1
    while data := stream.read(CHUNK) + stream.readline(LONGEST + 1):
        if len(data) > CHUNK and len(data) - data.rfind(b"\n", 0, -1) - 1 > LONGEST:
            raise _too_long(line + data.count(b"\n", 0, -1))
        try:
            text = data.decode("utf-8-sig" if line == 1 else "utf-8")  # spreadsheets write a byte order mark
        except UnicodeDecodeError as error:
            raise _Stop(line + data.count(b"\n", 0, error.start), "not UTF-8", "save the file as UTF-8") from error
        yield line, text.replace("\r\n", "\n")
        line += data.count(b"\n")


# --- CSV


class _Column(NamedTuple):
    side: str  # "key" or "value"
    path: str  # below it; empty for the whole


class _CsvReader:
    def __init__(self, rows: Rows, file: str, shape: Shape) -> None:
        self.rows = rows
        self.file = file
        self.shape = shape
        self.header: list[str] = []
        self.columns: list[_Column] = []

    def read(self, stream: IO[bytes]) -> None:
        chunks = _chunks(stream)
        for line, text in chunks:
            if '"' in text:  # quoted fields may hold commas and line breaks: the csv module's business
                self._read_quoted(line, itertools.chain([text], (t for _, t in chunks)))
                break
            self._read_plain(line, text)
            if len(self.rows.problems) >= ENOUGH:
                return
        if not self.header:
            raise _Stop(0, "is empty", "the first line names the fields")

    def _read_plain(self, line: int, text: str) -> None:
        """No list a row: cells of all rows in one flat list, every column a slice of it."""
        text = text.removesuffix("\n")
        lines = text.split("\n")
        numbers: Sequence[int] = range(line, line + len(lines))
        if "" in lines:
            numbers = [n for n, row in zip(numbers, lines, strict=True) if row]
            lines = [row for row in lines if row]
            text = "\n".join(lines)
        if lines and not self.header:
            self._take_header(lines[0].split(","), numbers[0])
            text, lines, numbers = text[len(lines[0]) + 1 :], lines[1:], numbers[1:]
        commas = list(map(str.count, lines, itertools.repeat(",")))
        if lines and (set(commas) == {len(self.header) - 1} or self._widths_fit([c + 1 for c in commas], numbers)):
            cells, wide = text.replace("\n", ",").split(","), len(self.header)
            self._take([cells[i::wide] for i in range(wide)], numbers, spaces=" " in text or "\t" in text)

    def _read_quoted(self, line: int, texts: Iterable[str]) -> None:
        import csv

        first, fed = line, 0  # where the row at hand begins, and how long it is so far

        def pieces() -> Iterator[str]:
            nonlocal fed
            for text in texts:
                for piece in text.splitlines(keepends=True):
                    fed += len(piece)
                    if fed > LONGEST:
                        raise _too_long(first)
                    yield piece

        reader = csv.reader(pieces(), strict=True)
        table: list[list[str]] = []
        numbers: list[int] = []
        try:
            for row in reader:
                if row:
                    table.append(row)
                    numbers.append(first)
                first, fed = line + reader.line_num, 0
                if len(table) >= _BATCH:
                    self._take_table(table, numbers)
                    table, numbers = [], []
                    if len(self.rows.problems) >= ENOUGH:
                        return
        except csv.Error as error:
            raise _Stop(first, f"not CSV: {error}", "look for a missing quote") from error
        self._take_table(table, numbers)

    def _take_table(self, table: list[list[str]], numbers: list[int]) -> None:
        if table and not self.header:
            self._take_header(table.pop(0), numbers.pop(0))
        if table and self._widths_fit(list(map(len, table)), numbers):
            self._take(list(zip(*table, strict=True)), numbers, spaces=True)

    def _take(self, columns: Sequence[Sequence[str]], numbers: Sequence[int], *, spaces: bool) -> None:
        if spaces:
            columns = [[cell.strip() for cell in column] for column in columns]
        keys = self._encode("key", columns, numbers)
        found = self._encode("value", columns, numbers)
        self.rows.keys += keys
        self.rows.values += found
        self.rows.lines.append(numbers)

    def _take_header(self, names: list[str], line: int) -> None:
        self.header = [n.strip() for n in names]
        for index, name in enumerate(self.header):
            if name in self.header[:index]:
                raise _Stop(line, f"the column {_short(name)} stands here twice")
            self.columns.append(self._column(name, line))
        for side in ("key", "value"):
            if not any(c.side == side for c in self.columns):
                tree, _ = self.shape.side(side)
                fields = ", ".join(m.name for m in tree.fields()) if tree and tree.aggregate else side
                raise _Stop(line, f"no column holds the {side}", f"its fields: {fields}")

    def _column(self, name: str, line: int) -> _Column:
        """Which field a column's name means."""
        for side in ("key", "value"):
            if name.startswith((f"{side}.", f"{side}[")) and has_field(self.shape.side(side)[0], name[len(side) :]):
                return _Column(side=side, path=name[len(side) :].removeprefix("."))
        sides = [side for side in ("key", "value") if has_field(self.shape.side(side)[0], name)]
        if len(sides) == 1:
            return _Column(side=sides[0], path=name)
        if name in ("key", "value"):
            return _Column(side=name, path="")
        if sides:
            raise _Stop(line, f"both key and value have a field {name!r}", f"write key.{name} or value.{name}")
        known = [m.name for t in (self.shape.key, self.shape.value) if t and t.aggregate for m in t.fields()]
        raise _Stop(line, f"no field {_short(name)} in key or value", suggestion(name, known or ["key", "value"]))

    def _widths_fit(self, widths: Sequence[int], numbers: Sequence[int]) -> bool:
        """Whether all rows are as wide as the header."""
        wide = len(self.header)
        wrong = ((n, w) for n, w in zip(numbers, widths, strict=True) if w != wide)
        found = list(itertools.islice(wrong, ENOUGH - len(self.rows.problems)))
        for line, width in found:
            message = f"{counted(width, 'field')}, but the header names {wide}"
            self.rows.problems.append(_problem(self.file, line, message))
        return not found

    def _encode(self, side: str, cells: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[bytes]:
        tree, size = self.shape.side(side)
        mine = {c.path: cells[i] for i, c in enumerate(self.columns) if c.side == side}
        start, end, orders = 0, len(numbers), self.shape.orders(side)
        while start < len(numbers) and len(self.rows.problems) < ENOUGH:
            whole = end - start == len(numbers)
            part = mine if whole else {path: column[start:end] for path, column in mine.items()}
            try:
                found = values.encode_columns(
                    tree, part, size=size, byteorder=orders, complete=side == "key", side=side
                )
                if whole:
                    return found
                start = end
            except values.RowProblem as wrong:
                line = numbers[start + wrong.index]
                path = _joined(side, wrong.path)
                self.rows.problems.append(_problem(self.file, line, wrong.message, wrong.hint, path=path))
                start += wrong.index + 1
            end = min(start + _WINDOW, len(numbers))
        return []


def _joined(side: str, path: str) -> str:
    return f"{side}{'' if not path or path.startswith('[') else '.'}{path}"


# --- JSON Lines


class _JsonReader:
    def __init__(self, rows: Rows, file: str, shape: Shape) -> None:
        self.rows = rows
        self.file = file
        self.shape = shape

    def read(self, stream: IO[bytes]) -> None:
        for first, text in _chunks(stream):
            numbers: list[int] = []
            for number, line in enumerate(text.split("\n"), first):
                if line.strip() and self._take(line, number):
                    numbers.append(number)
                if len(self.rows.problems) >= ENOUGH:
                    return
            self.rows.lines.append(numbers)

    def _take(self, line: str, number: int) -> bool:
        import json

        try:
            item = json.loads(line, object_pairs_hook=_no_twins)
        except json.JSONDecodeError as error:
            self.rows.problems.append(_problem(self.file, number, f"not JSON: {error.msg}", column=error.colno))
            return False
        except (ValueError, RecursionError) as error:  # a key twice, a number of 5,000 digits, a thousand brackets
            self.rows.problems.append(_problem(self.file, number, f"not JSON: {error}"))
            return False
        if not isinstance(item, dict) or item.keys() != {"key", "value"}:
            hint = 'one {"key": …, "value": …} a line'
            self.rows.problems.append(_problem(self.file, number, "must hold a key and a value, nothing else", hint))
            return False
        return self._encode(item, number)

    def _encode(self, item: dict[str, Any], number: int) -> bool:
        encoded = {}
        for side in ("key", "value"):
            try:
                encoded[side] = encode_side(self.shape, side, item[side])
            except values.ValueProblem as wrong:
                self.rows.problems += [
                    _problem(self.file, number, one.message, one.hint, path=one.path) for one in wrong.each()
                ]
        if len(encoded) == 2:
            self.rows.keys.append(encoded["key"])
            self.rows.values.append(encoded["value"])
        return len(encoded) == 2


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"the key {dotted((twin,))} stands here twice")
    return found
