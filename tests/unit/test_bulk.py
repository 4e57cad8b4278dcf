"""pipeline/entries/bulk.py: CSV and JSON Lines become encoded entries; whatever is wrong is told with its line."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reloader.errors import ENOUGH
from reloader.pipeline.entries.bulk import read_bulk
from reloader.pipeline.entries.row import Rows, Shape
from reloader.pipeline.model import Bulk, Mark
from reloader.structs.tree import Member, TypeTree
from tests.support import faults

U8 = TypeTree(kind="int", name="__u8", size=1)
U16 = TypeTree(kind="int", name="__u16", size=2)
U32 = TypeTree(kind="int", name="__u32", size=4)
BE32 = TypeTree(kind="int", name="__be32", size=4, order="big")
VERDICT = TypeTree(kind="enum", name="verdict", size=4, enumerators=(("PASS", 0), ("DROP", 1)))


def structure(name: str, size: int, **fields: tuple[int, TypeTree]) -> TypeTree:
    members = tuple(Member(name=n, offset_bits=at * 8, type=t) for n, (at, t) in fields.items())
    return TypeTree(kind="struct", name=name, size=size, members=members)


INNER = structure("inner", 4, a=(0, U16), b=(2, U16))
PAIR = structure("pair", 8, id=(0, U32), port=(4, U16))
POLICY = structure("policy", 12, verdict=(0, VERDICT), port=(4, U16), level=(6, U8), inner=(8, INNER))
PAIRS = Shape(key=PAIR, value=POLICY, key_size=8, value_size=12)
SCALARS = Shape(key=BE32, value=U32, key_size=4, value_size=4)


@pytest.fixture(params=[4 << 20, 7])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file in one piece, and in pieces of one line."""
    faults.inject(monkeypatch, "bulk chunk", request.param)


def rows(folder: Path, text: str | bytes, shape: Shape = SCALARS, kind: str = "csv") -> Rows:
    path = folder / f"x.{kind}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_bulk(Bulk(format=kind, path=str(path), mark=Mark(line=1, column=1)), shape)


def findings(folder: Path, text: str | bytes, shape: Shape = SCALARS, kind: str = "csv") -> list[tuple[int, str]]:
    return [(p.line, p.reason) for p in rows(folder, text, shape, kind).problems]


@pytest.mark.usefixtures("chunk")
class TestCsv:
    def test_scalars(self, tmp_path: Path) -> None:
        got = rows(tmp_path, "key,value\n192.0.2.1,7\n192.0.2.2,0x10\n")
        assert got.problems == []
        assert got.keys == [bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])]
        assert got.values == [struct.pack("<I", 7), struct.pack("<I", 16)]
        assert [got.line(0), got.line(1)] == [2, 3]

    def test_fields_by_name_in_any_order_nested_and_told_apart(self, tmp_path: Path) -> None:
        text = "value.port,key.port,id,verdict,inner.b\n443,80,1,DROP,9\n"
        got = rows(tmp_path, text, PAIRS)
        assert got.problems == []
        assert got.keys == [struct.pack("<IHxx", 1, 80)]
        assert got.values == [struct.pack("<IHBxHH", 1, 443, 0, 0, 9)]

    @pytest.mark.parametrize(
        "text",
        [
            "\ufeffkey,value\r\n192.0.2.1,7\r\n",
            "key,value\n\n192.0.2.1,7",
            " key , value \n 192.0.2.1 ,\t7 \n",
            '"key","value"\n"192.0.2.1","7"\n',
            'key,value\n192.0.2.1,"7"\n\n',
            "key,value\n192.0.2.1,7\n\n\n",
        ],
    )
    def test_the_dialects_of_spreadsheets_and_people(self, tmp_path: Path, text: str) -> None:
        got = rows(tmp_path, text)
        assert got.problems == []
        assert (got.keys, got.values) == ([bytes([192, 0, 2, 1])], [struct.pack("<I", 7)])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", [(0, "file-empty")]),
            ("\n\n", [(0, "file-empty")]),
            ("key,key\n", [(1, "column-twice")]),
            ("key\n1\n", [(1, "columns-missing")]),
            ("key,valeu\n", [(1, "no-such-column")]),
            ("key,value.x\n", [(1, "no-such-column")]),
            ("key,value\n192.0.2.1\n192.0.2.2,7,8\n", [(2, "row-width"), (3, "row-width")]),
            ("key,value\n192.0.2.1,7\n\n192.0.2.300,7\n192.0.2.1,-1\n", [(4, "not-of-type"), (5, "out-of-range")]),
            ("key,value\n192.0.2.1,7\n192.0.2.2,x\n192.0.2.3,4294967296\n", [(3, "not-of-type"), (4, "out-of-range")]),
            (b"key,value\n192.0.2.1,7\n\xff,1\n", [(3, "not-utf8")]),
            ('key,value\n192.0.2.1,7\n"192.0.2.2,7\n', [(3, "not-csv")]),
            ('key,value\n"192.0.2.1",7\n"x"y,7\n', [(3, "not-csv")]),
            ('key,value\n"192.0.2.1","\n7"\n\n192.0.2.2,x\n', [(5, "not-of-type")]),
        ],
    )
    def test_what_is_wrong_has_its_line(
        self, tmp_path: Path, text: str | bytes, expected: list[tuple[int, str]]
    ) -> None:
        got = findings(tmp_path, text)
        assert [line for line, _ in got] == [line for line, _ in expected], got
        assert got == expected

    def test_an_ambiguous_column(self, tmp_path: Path) -> None:
        got = rows(tmp_path, "id,port\n1,2\n", PAIRS).problems
        assert [(p.reason, p.hint) for p in got] == [("column-unclear", "write key.port or value.port")]

    def test_a_key_needs_all_its_fields(self, tmp_path: Path) -> None:
        ((line, code),) = findings(tmp_path, "id,verdict\n1,DROP\n", PAIRS)
        assert code == "column-missing"
        assert line <= 2

    def test_the_path_names_side_and_field(self, tmp_path: Path) -> None:
        (problem,) = rows(tmp_path, "id,key.port,verdict\n1,2,NO\n", PAIRS).problems
        assert (problem.line, problem.path) == (2, "value.verdict")

    @pytest.mark.parametrize("row", ["x,1", "1,2,3", '"x",1'])
    def test_regress_a_million_wrong_rows_end_with_enough_findings(self, tmp_path: Path, row: str) -> None:
        assert len(findings(tmp_path, "key,value\n" + f"{row}\n" * 1000)) == ENOUGH

    def test_said_byte_order(self, tmp_path: Path) -> None:
        shape = Shape(key=U32, value=U32, key_size=4, value_size=4, byteorder={"key": "network"})
        got = rows(tmp_path, "key,value\n192.0.2.1,1\n", shape)
        assert got.problems == []
        assert got.keys == [bytes([192, 0, 2, 1])]

    def test_without_types_hex_is_taken(self, tmp_path: Path) -> None:
        shape = Shape(key=None, value=None, key_size=3, value_size=4)
        got = rows(tmp_path, "key,value\nhex:010203,5\n", shape)
        assert got.problems == []
        assert (got.keys, got.values) == ([b"\1\2\3"], [struct.pack("<I", 5)])


@pytest.mark.usefixtures("chunk")
class TestJsonLines:
    def test_entries(self, tmp_path: Path) -> None:
        text = '{"key": {"id": 1, "port": 80}, "value": {"verdict": "DROP", "inner": {"b": 9}}}\n\n'
        got = rows(tmp_path, text, PAIRS, "jsonl")
        assert got.problems == []
        assert got.keys == [struct.pack("<IHxx", 1, 80)]
        assert got.values == [struct.pack("<IHBxHH", 1, 0, 0, 0, 9)]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ('{"key": 1, "value"}', "not-json"),
            ("[1, 2]", "not-an-entry"),
            ('{"key": 1}', "not-an-entry"),
            ('{"key": "192.0.2.1", "value": 1, "x": 2}', "not-an-entry"),
            ('{"key": "192.0.2.1", "key": "192.0.2.2", "value": 1}', "field-twice"),
            ('{"key": "192.0.2.1", "value": -1}', "out-of-range"),
            ('{"key": "192.0.2.1", "value": ' + "9" * 5000 + "}", "not-json"),
            ("[" * 100_000, "not-json"),
            ('{"key": "192.0.2.1", "value": NaN}', "not-of-type"),
        ],
    )
    def test_what_is_wrong_has_its_line(self, tmp_path: Path, line: str, code: str) -> None:
        text = '{"key": "192.0.2.9", "value": 1}\n\n' + line + "\n"
        ((number, found),) = findings(tmp_path, text, kind="jsonl")
        assert number == 3
        assert code == found


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    missing = Bulk(format=kind, path=str(tmp_path / "no"), mark=Mark(line=1, column=1))
    assert "no such file" in read_bulk(missing, SCALARS).problems[0].message
    folder = Bulk(format=kind, path=str(tmp_path), mark=Mark(line=1, column=1))
    assert "directory" in read_bulk(folder, SCALARS).problems[0].message
    device = Bulk(format=kind, path="/dev/zero", mark=Mark(line=1, column=1))
    assert "regular" in read_bulk(device, SCALARS).problems[0].message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.binary() | st.text(alphabet='key,value\n\r" 1.{}[]:').map(str.encode), st.sampled_from(["csv", "jsonl"]))
def test_nothing_raises(tmp_path: Path, data: bytes, kind: str) -> None:
    head = b"key,value\n" if kind == "csv" else b""
    rows(tmp_path, head + data, kind=kind)
    rows(tmp_path, data, PAIRS, kind=kind)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_v8_a_line_without_an_end(tmp_path: Path, kind: str) -> None:
    """The file is sparse and has a terabyte; files of any size are read, lines are not."""
    path = tmp_path / f"x.{kind}"
    path.touch()
    os.truncate(path, 1 << 40)
    got = read_bulk(Bulk(format=kind, path=str(path), mark=Mark(line=1, column=1)), SCALARS)
    assert [(p.line, p.reason) for p in got.problems] == [(1, "line-too-long")]


def test_v8_a_row_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its lines is short."""
    faults.inject(monkeypatch, "longest bulk line", 10_000)
    got = rows(tmp_path, 'key,value\n"1","2"\n"a\n' + '","b\n' * 10_000)
    assert [(p.line, p.reason) for p in got.problems] == [(3, "line-too-long")]


def test_rows_are_counted_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "bulk batch", 3)
    got = rows(tmp_path, "key,value\n" + "".join(f'"192.0.2.{i}",{i}\n' for i in range(10)))
    assert got.problems == []
    assert [got.line(i) for i in range(10)] == list(range(2, 12))
    assert [v[0] for v in got.values] == list(range(10))
