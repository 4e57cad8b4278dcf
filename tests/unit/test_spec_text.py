"""pipeline/document.py: the YAML 1.2 core resolver, and everything that may be wrong with a text, by line and
column.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reloader.pipeline import document as text
from reloader.pipeline.document import read_documents
from reloader.pipeline.source import MAX_BYTES
from tests.support import faults


def value(source: str) -> Any:
    documents, problems = read_documents(source.encode(), "t.yaml")
    assert problems == []
    (document,) = documents
    return document.value


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test with both parsers: libyaml may be missing where reloader is installed."""
    if request.param == "pure":
        faults.inject(monkeypatch, "YAML parser", text._pure_parser)
    return str(request.param)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("10:20:30:40:50:59", "10:20:30:40:50:59"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+7", 7),
        ("-7", -7),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("2024-01-02", "2024-01-02"),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("NULL", None),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("!!str 7", "7"),
        ("|\n  7\n", "7\n"),
        ("'<<'", "<<"),
    ],
)
def test_core_resolver(source: str, expected: object) -> None:
    got = value(f"a: {source}")["a"]
    assert got == expected
    assert type(got) is type(expected)


BAD = [
    ("a: 1\nb: 2\na: 3\n", "3:1", "duplicate-key"),
    ("a: {x: 1, x: 2}\n", "1:11", "duplicate-key"),
    ("1: a\n", "1:1", "key-not-text"),
    ("true: a\n", "1:1", "key-not-text"),
    ("a: {~: 1}\n", "1:5", "key-not-text"),
    ("? [a]\n: b\n", "1:3", "collection-as-key"),
    ("a: !x 1\n", "1:4", "unknown-tag"),
    ("a: !!python/object:os.system {}\n", "1:4", "unknown-tag"),
    ("a: !!int '3'\n", "1:4", "unknown-tag"),
    ("a: *b\n", "1:4", "unknown-alias"),
    ("a: &b [*b]\n", "1:8", "alias-loop"),
    ("x: &x {a: 1}\ny: {<<: *x}\n", "2:5", "merge-key"),
    ("a:\n\tb: 1\n", "2:1", "tab"),
    ("a: b: c\n", "1:5", "not-yaml"),
    ("a: [1, 2\n", "2:1", "not-yaml"),
    ("a: 'x\n", "2:1", "not-yaml"),
    ("a: @x\n", "1:4", "not-yaml"),
    ("a: }\n", "1:4", "not-yaml"),
    ("a: 1\n b: 2\n", "2:3", "not-yaml"),
    ("- a\nb: 1\n", "2:1", "not-yaml"),
    ('a: "\\0"\n', "1:4", "unfit-text"),
    ("a: x\x07y\n", "1:5", "forbidden-character"),
    ("a: x\x85y\n", "1:5", "forbidden-character"),
    ("ok: 1\na: x\u2028y\n", "2:5", "forbidden-character"),
    ("a: \ufeffx\n", "1:4", "forbidden-character"),
    ("a: " + "9" * 200, "1:4", "number-too-long"),
    ("a: " + "[" * 100 + "]" * 100, "1:67", "too-deep"),
    ("%YAML 3.0\n---\na: 1\n", "1:1", "not-yaml"),
]


@pytest.mark.parametrize(("source", "place", "reason"), BAD)
def test_bad_text(source: str, place: str, reason: str) -> None:
    _, problems = read_documents(source.encode(), "t.yaml")
    first = problems[0]
    assert f"{first.line}:{first.column}" == place, first
    assert first.reason == reason, first


@pytest.mark.parametrize(
    ("data", "place", "reason"),
    [
        (b"\xef\xbb\xbfa: 1\n", (1, 1), "byte-order-mark"),
        ("a: 1\n".encode("utf-16"), (1, 1), "byte-order-mark"),
        (b"a: 1\nb: x\xff\n", (2, 5), "not-utf8"),
        (b"a: \xed\xa0\x80\n", (1, 4), "not-utf8"),
        (b"", (0, 0), "empty-file"),
        (b"# only a comment\n---\n", (0, 0), "empty-file"),
        (b"#" * (MAX_BYTES + 1), (0, 0), "document-too-large"),
    ],
)
def test_bad_bytes(data: bytes, place: tuple[int, int], reason: str) -> None:
    documents, (problem,) = read_documents(data, "t.yaml")
    assert documents == ()
    assert (problem.line, problem.column) == place
    assert problem.reason == reason


def test_several_findings_at_once() -> None:
    _, problems = read_documents(b"a: 1\na: 2\nb: !t x\n7: c\n", "t.yaml")
    assert [(p.line, p.column) for p in problems] == [(2, 1), (3, 4), (4, 1)]


def test_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    documents, problems = read_documents("\n".join(lines).encode(), "t.yaml")
    assert documents == ()
    assert (problems[0].reason, problems[0].values) == ("too-many-values", {"limit": 500_000})


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 [[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]"]
    lines += [f"a{i}: &a{i} [[[[[[[[[[[[[[[[[[[[*a{i - 1}]]]]]]]]]]]]]]]]]]]]" for i in range(1, 100)]
    _, problems = read_documents("\n".join(lines).encode(), "t.yaml")
    assert (problems[0].reason, problems[0].values) == ("too-deep", {"limit": 64})


def test_aliases_are_values_with_the_place_of_their_anchor() -> None:
    documents, problems = read_documents(b"x: &x\n  k: 1\ny: *x\nz: [*x]\n", "t.yaml")
    assert problems == []
    assert documents[0].value == {"x": {"k": 1}, "y": {"k": 1}, "z": [{"k": 1}]}
    assert documents[0].mark(("z", 0, "k")).line == 2


def test_documents_and_marks() -> None:
    documents, problems = read_documents(b"---\na:\n  - b: 1\n---\n...\n---\nc: 'd'\n", "t.yaml")
    assert problems == []
    first, second = documents
    assert (first.mark(("a", 0, "b")).line, first.mark(("a", 0, "b")).column) == (3, 8)
    assert first.mark(("a", 0, "b"), key=True).column == 5
    assert first.mark(("a", 0, "nothing", "here")).line == 3
    assert second.value == {"c": "d"}
    assert second.mark(("c",)).line == 7


def test_dotted() -> None:
    assert text.dotted(("spec", "maps", ".bss", "entries", 3, "key")) == 'spec.maps[".bss"].entries[3].key'


@given(st.text() | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t0.<~\\x"))
def test_no_text_raises(source: str) -> None:
    read_documents(source.encode("utf-8", "surrogatepass"), "t.yaml")


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    read_documents(data, "t.yaml")
