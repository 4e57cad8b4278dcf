"""Entries from a file beside the YAML: CSV with a header line of field names, or JSON Lines of {key, value}.

Read in chunks of a few MiB and encoded column by column, so that 200,000 rows cost a fraction of a second.
Findings carry the file's line. Called by listing.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, Problem
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import dotted
from reloader.pipeline.entries import texts
from reloader.pipeline.entries.row import Rows, Shape, encode_side, has_field
from reloader.pipeline.model import Bulk
from reloader.pipeline.source import unreadable
from reloader.structs import encode
from reloader.wording.message import Message

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
        rows.problems.append(Problem.at(bulk.path, stop.message, stop.line))
    return rows


class _Stop(Exception):
    """What stands at this line makes the rest unreadable."""

    def __init__(self, line: int, message: Message) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def _too_long(line: int) -> _Stop:
    return _Stop(line, texts.LINE_TOO_LONG(limit=LONGEST >> 20))


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
            raise _Stop(line + data.count(b"\n", 0, error.start), texts.NOT_UTF8()) from error
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
            raise _Stop(0, texts.FILE_EMPTY())

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

    def _read_quoted(self, line: int, chunks: Iterable[str]) -> None:
        import csv

        first, fed = line, 0  # where the row at hand begins, and how long it is so far

        def pieces() -> Iterator[str]:
            nonlocal fed
            for text in chunks:
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
            raise _Stop(first, texts.NOT_CSV(why=error)) from error
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
                raise _Stop(line, texts.COLUMN_TWICE(column=_short(name)))
            self.columns.append(self._column(name, line))
        for side in ("key", "value"):
            if not any(c.side == side for c in self.columns):
                tree, _ = self.shape.side(side)
                fields = [m.name for m in tree.fields()] if tree and tree.aggregate else [side]
                raise _Stop(line, texts.COLUMNS_MISSING(side=side, fields=fields))

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
            raise _Stop(line, texts.COLUMN_UNCLEAR(column=name))
        known = [m.name for t in (self.shape.key, self.shape.value) if t and t.aggregate for m in t.fields()]
        hint = suggestion(name, known or ["key", "value"])
        raise _Stop(line, texts.NO_SUCH_COLUMN(column=_short(name), hint=hint))

    def _widths_fit(self, widths: Sequence[int], numbers: Sequence[int]) -> bool:
        """Whether all rows are as wide as the header."""
        wide = len(self.header)
        wrong = ((n, w) for n, w in zip(numbers, widths, strict=True) if w != wide)
        found = list(itertools.islice(wrong, ENOUGH - len(self.rows.problems)))
        for line, width in found:
            self.rows.problems.append(Problem.at(self.file, texts.ROW_WIDTH(given=width, wanted=wide), line))
        return not found

    def _encode(self, side: str, cells: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[bytes]:
        tree, size = self.shape.side(side)
        mine = {c.path: cells[i] for i, c in enumerate(self.columns) if c.side == side}
        start, end, orders = 0, len(numbers), self.shape.orders(side)
        while start < len(numbers) and len(self.rows.problems) < ENOUGH:
            whole = end - start == len(numbers)
            part = mine if whole else {path: column[start:end] for path, column in mine.items()}
            try:
                found = encode.encode_columns(
                    tree, part, size=size, byteorder=orders, complete=side == "key", side=side
                )
                if whole:
                    return found
                start = end
            except encode.RowProblem as wrong:
                line = numbers[start + wrong.index]
                path = _joined(side, wrong.path)
                self.rows.problems.append(Problem.at(self.file, wrong.message, line, path=path))
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
        except _Twice as error:
            return self._refuse(number, texts.FIELD_TWICE(field=error.field))
        except json.JSONDecodeError as error:
            return self._refuse(number, texts.NOT_JSON(why=error.msg), error.colno)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a thousand brackets
            return self._refuse(number, texts.NOT_JSON(why=error))
        if not isinstance(item, dict) or item.keys() != {"key", "value"}:
            return self._refuse(number, texts.NOT_AN_ENTRY())
        return self._encode(item, number)

    def _refuse(self, number: int, message: Message, column: int = 0) -> bool:
        self.rows.problems.append(Problem.at(self.file, message, number, column))
        return False

    def _encode(self, item: dict[str, Any], number: int) -> bool:
        encoded = {}
        for side in ("key", "value"):
            try:
                encoded[side] = encode_side(self.shape, side, item[side])
            except encode.ValueProblem as wrong:
                self.rows.problems += [
                    Problem.at(self.file, one.message, number, path=one.path) for one in wrong.each()
                ]
        if len(encoded) == 2:
            self.rows.keys.append(encoded["key"])
            self.rows.values.append(encoded["value"])
        return len(encoded) == 2


class _Twice(ValueError):
    """A field that stands in one object twice."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(n for n in names if names.count(n) > 1)
        raise _Twice(dotted((twin,)))
    return found
