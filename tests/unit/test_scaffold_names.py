"""Trap `init-odd-names`: what init writes of an object with odd names loads and validates, or init refuses by name."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.fuzz import inputs, mutate
from reloader.errors import InputError
from reloader.pipeline.compile import compile_file
from reloader.pipeline.document import quoted, read_documents
from reloader.pipeline.scaffold import first_yaml
from reloader.structs.elf import BtfError, ElfError, read_object
from reloader.wording.printable import printable
from tests.support import faults

ODD = (
    "yes", "no", "1e3", "~", "null", "-x", "- x", "a: b", "a #b", "#", "'", '"', "\\", "{a}", "[a]", "a,b", "&a", "*a",
    "!a", "|", ">", "%x", "@x", "`x", "?", ": ", "é", "\u00a0", "\n", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "\u2028",
    "\u202e", "\u200b", "\ufeff", "\U0001f600", "\ufffe", "0x1f", "0o7", ".5", ".inf", "=", "<<", "CHANGE-ME", " a",
    "a ", "…", "2001-01-01", "1_000", "12:30:45",
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(ODD), st.text(min_size=1, max_size=12), st.lists(st.sampled_from(ODD)).map("".join))


def renamed(data: bytes, old: str, new: str) -> bytes:
    """Every string table entry `old`, in ELF and BTF, as `new`, cut or padded to the same length."""
    raw, wanted = old.encode(), new.encode(errors="surrogatepass")
    return data.replace(b"\0" + raw + b"\0", b"\0" + wanted[: len(raw)].ljust(len(raw), b"x") + b"\0")


def names_of(data: bytes) -> list[str]:
    found = read_object(data)
    trees = [t for m in found.maps for t in (m.key, m.value) if t is not None]
    types = [t.name for t in trees] + [f.name for t in trees if t.aggregate for f in t.fields()]
    sections = [p.section for p in found.programs]
    return sorted({*(p.name for p in found.programs), *(m.name for m in found.maps), *found.rodata, *types, *sections})


def judge(folder: Path, *objects: Path) -> str:
    """What came of it: "written" when init's text validates with all names chosen, else the refusal's reason."""
    try:
        text = first_yaml(objects)
    except InputError as refused:
        (problem, *_) = refused.problems
        assert problem.reason
        assert problem.message
        return problem.reason
    assert all(printable(line) == line for line in text.split("\n")), "a terminal would not show it as it is"
    path = folder / "made.yaml"
    text = re.sub(r"interface: CHANGE-ME(-[0-9]+)?", lambda m: f"interface: eth{(m[1] or '-1')[1:]}", text)
    text = re.sub(r"cgroup: CHANGE-ME(-[0-9]+)?", lambda m: f"cgroup: slice{m[1] or '-1'}", text)
    path.write_text(text.replace("role: TODO", "role: state"))
    (one,) = compile_file(path)
    assert one.wish.attachments[0].id.endswith((":eth1", "slice-1")), "the first place has the first name"
    assert yaml.safe_load(path.read_bytes())["metadata"]["name"] == one.wish.pipeline, "another reader reads the same"
    return "written"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@settings(max_examples=150)
@given(data=st.data(), number=st.integers(0, 3))
def test_init_of_any_name_loads_or_is_refused(data: st.DataObject, number: int, scratch: Path) -> None:
    sound = inputs.OBJECT.read_bytes()
    hurt = sound
    for _ in range(number + 1):
        hurt = renamed(hurt, data.draw(st.sampled_from(names_of(sound))), data.draw(NAMES))
    path = scratch / "my.bpf.o"
    path.write_bytes(hurt)
    judge(scratch, path)


@pytest.mark.parametrize("odd", ODD)
def test_each_odd_name_of_each_sort(odd: str, tmp_path: Path) -> None:
    """One name at a time: a map, a program, a variable, a struct and a field."""
    sound, path = inputs.OBJECT.read_bytes(), tmp_path / "my.bpf.o"
    outcomes = set()
    for old in ("blocklist", "count_flows", "sample_rate", "flow_counters", "truncated", "XDP_PASS"):
        path.write_bytes(renamed(sound, old, odd))
        outcomes.add(judge(tmp_path, path))
    assert outcomes <= {"written", "no-valid-yaml", "unusable-object", "object", "btf"}


def test_mutated_objects(tmp_path: Path) -> None:
    """As they were found: objects with fields of their tables exchanged."""
    dice, sound, path = random.Random(8), inputs.every_object(), tmp_path / "my.bpf.o"
    outcomes = []
    for _ in range(250):
        hurt = dice.choice((mutate.elf, mutate.damaged))(dice, dice.choice(sound))
        path.write_bytes(hurt)
        outcomes.append(judge(tmp_path, path))
    assert {"written", "object"} <= set(outcomes)


FILE_NAMES = (
    b"yes", b"~", b"1e3", b"-x.o", b"a b.o", b'q".o', b"it's.o", b"#.o", b"a: b.o", b"{x}.o", b"n\nl.o", b"e\x1b[2J.o",
    "rtl\u202e.o".encode(), "zw\u200b.o".encode(), "é.o".encode(), b"\\n.o", b"a,b.o",
    b"x" * 250, b".o", b"..o", b"\x7f",
)  # fmt: skip


@pytest.mark.parametrize("name", FILE_NAMES)
def test_odd_file_names(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(inputs.OBJECT.read_bytes())
    assert judge(tmp_path, path) == "written"
    (one,) = compile_file(tmp_path / "made.yaml")
    assert one.files == (str(path),)


def test_a_file_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.o")
    path.write_bytes(inputs.OBJECT.read_bytes())
    assert judge(tmp_path, path) == "path-not-utf8"


def test_a_name_that_the_schema_refuses_is_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "my.bpf.o"
    path.write_bytes(renamed(inputs.OBJECT.read_bytes(), "blocklist", "bl: {ck}"))
    with pytest.raises(InputError) as caught:
        first_yaml([path])
    (problem,) = caught.value.problems
    assert problem.reason == "no-valid-yaml"
    assert problem.values
    assert "bl: {ck}" in str(problem.values["path"])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example("a\u0085b")
@example("x" * 2000)
@example("\ufeff")
def test_a_quoted_text_reads_back(text: str) -> None:
    """By this reader and by another, as a key, a value and in a list."""
    value = f"{{k: {quoted(text)}, l: [{quoted(text)}]}}" + (f"\n---\n{{{quoted(text)}: 1}}" if len(text) < 900 else "")
    documents, problems = read_documents(value.encode(), "x")
    assert not problems, [str(p) for p in problems]
    assert documents[0].value == {"k": text, "l": [text]}
    assert list(yaml.safe_load_all(value)) == [d.value for d in documents]


def test_the_property_can_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sabotage: without quoting and the check of what was written, odd names go into the YAML as they are."""

    faults.inject(monkeypatch, "scaffold quotes", lambda text: text)
    faults.inject(monkeypatch, "scaffold check", lambda *_: None)
    path = tmp_path / "my.bpf.o"
    path.write_bytes(renamed(inputs.OBJECT.read_bytes(), "count_flows", "a: {b, c"))
    with pytest.raises(InputError):
        judge(tmp_path, path)


def test_objects_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    with pytest.raises((ElfError, BtfError)):
        read_object(renamed(inputs.OBJECT.read_bytes(), "blocklist", "\x1b[31mxxx"))
