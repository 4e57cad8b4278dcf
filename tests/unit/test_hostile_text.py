"""Trap V10: escape sequences, line breaks and direction marks from outside reach no terminal; JSON keeps them.

A corpus of hostile texts goes through every place that needs no kernel: YAML keys and values, file names, arguments,
bulk files, test names, names in objects. Nothing but printable text and line breaks of ours may come out.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.fuzz import inputs
from reloader import cli
from reloader.commands.environment import Output
from reloader.commands.test import _write_junit
from reloader.errors import InputError, Problem, ReloaderError
from reloader.packet_tests.run import Result
from reloader.wording.printable import Block, counted, printable
from tests.support import faults

FAKE = "error: FAKE"
MARKS = (
    "\n" + FAKE, "\r" + FAKE, "\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\x08\x08", "\t", "\x7f", "\x85" + FAKE,
    "\u2028" + FAKE, "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\u200b", "\u2060", "\u00ad",
    "\U000e0041",
)  # fmt: skip
BYTES = (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf")  # of file names and arguments, which no text need be
HOSTILE = "".join(MARKS)
REPORTS = frozenset({"validate", "plan", "state", "show", "history", "diff", "status"})
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def run(*words: str | Path) -> tuple[int, str, str]:
    """One command in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as left:  # argparse
            code = int(left.code or 0)
    return code, out.getvalue(), err.getvalue()


def assert_clean(*texts: str) -> None:
    for text in texts:
        wrong = {c for c in text if c != "\n" and unicodedata.category(c) in FORBIDDEN}
        assert not wrong, f"{wrong!r} in {text!r}"
        assert not [line for line in text.split("\n") if line.startswith(FAKE)], text


def judged(*words: str | Path) -> int:
    """The command in words and, where it has such, as JSON: clean both times, and the JSON is one document."""
    code, out, err = run(*words)
    assert_clean(out, err)
    assert "Traceback" not in err
    if words[0] in REPORTS and words[:2] != ("state", "new"):
        json_code, document, err = run(*words, "-o", "json")
        assert json_code == code
        assert_clean(err)
        if json_code != 64:
            json.loads(document)
            document.encode("ascii")
    return code


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A pipeline with all it needs; the working directory, so that relative names are few."""
    inputs._rich(tmp_path)
    (tmp_path / "records").mkdir()
    with inputs.inside(tmp_path):
        yield tmp_path


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    steps = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    for step in steps:
        yield tree, step
        yield from places(tree[step])


def test_v10_every_key_and_value_of_a_yaml(folder: Path) -> None:
    """One after the other made hostile, key and value; and every file named with hostile text."""
    sound = yaml.safe_load(inputs.RICH.read_bytes())
    path = folder / f"p{HOSTILE.replace('/', '')}.yaml"
    refused = 0
    for number in range(len(list(places(sound)))):
        for of_key in (False, True):
            hurt = copy.deepcopy(sound)
            holder, step = list(places(hurt))[number]
            if of_key and isinstance(holder, dict):
                holder[f"{step}{HOSTILE}"] = holder.pop(step)
            elif not of_key:
                holder[step] = f"{holder[step]}{HOSTILE}" if isinstance(holder[step], str) else HOSTILE
            else:
                continue
            path.write_text(yaml.safe_dump(hurt))
            code, out, err = run("validate", path)
            assert code in (0, 65), err
            refused += code == 65
            assert_clean(out, err)
    assert refused > 100


@pytest.mark.parametrize("mark", MARKS)
def test_v10_arguments(folder: Path, mark: str) -> None:
    odd = f"odd{mark}"
    made = str(inputs.OBJECT)
    for words in (
        ("validate", odd), ("validate", "--" + odd), (odd,), ("init", odd), ("plan", odd, "--reset", odd),
        ("state", odd), ("state", "diff", odd), ("state", "diff", odd, "--schema", odd), ("state", "show", odd),
        ("state", "check", odd, "--schema", "flow-count"), ("state", "show", "flow-count", "--map", odd),
        ("state", "new", odd, "--schema", odd), ("state", "new", made, "--schema", "flow-count", "--map", odd),
        ("state", "new", made, "--schema", "fresh", "--dir", odd), ("apply", odd), ("watch", f"{odd}/no"),
        ("apply", "x.yaml", "--confirm-timeout", odd), ("show", "edge", odd), ("rollback", "edge", "--to", odd),
        ("status", "--records", odd, odd), ("history", odd, "--records", odd), ("panic", "edge", f"--{odd}"),
        ("show", odd, "1", "--records", "records"), ("diff", odd, "1", "2", "--records", "records"),
    ):  # fmt: skip
        assert judged(*words) in (0, 64, 65, 69, 77), words


@pytest.mark.parametrize("raw", BYTES)
def test_v10_bytes_that_are_no_text(folder: Path, raw: bytes) -> None:
    odd = os.fsdecode(b"odd" + raw)
    shutil.copyfile(folder / "pipeline.yaml", folder / f"{odd}.yaml")
    shutil.copyfile(inputs.OBJECT, folder / f"{odd}.o")
    for words in (("validate", f"{odd}.yaml"), ("validate", odd), ("init", f"{odd}.o"), (odd,), ("state", "show", odd),
                  ("state", "check", f"{odd}.o", "--schema", "flow-count")):  # fmt: skip
        assert judged(*words) in (0, 64, 65), words


def test_v10_defaults_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELOADER_BPFFS", f"/b{HOSTILE}")
    monkeypatch.setenv("RELOADER_RECORDS", f"/r{HOSTILE}")
    for words in (("apply", "--help"), ("apply",), ("status", "-x")):
        _, out, err = run(*words)
        assert_clean(out, err)


@pytest.mark.parametrize("mark", MARKS)
def test_v10_bulk_files(folder: Path, mark: str) -> None:
    spec = yaml.safe_load(inputs.PIPELINE.read_bytes())
    for kind, text in (
        ("csv", f"key,action{mark}\n10.0.0.1,XDP_DROP\n"), ("csv", f'key,action\n"10.0.0.1{mark}",XDP_DROP\n'),
        ("csv", f'key,action\n10.0.0.1,"XDP{mark}"\n'), ("jsonl", json.dumps({"key": f"a{mark}", "value": 1}) + "\n"),
        ("jsonl", json.dumps({f"k{mark}": 1}) + "\n"), ("jsonl", f"{{{mark}\n"),
    ):  # fmt: skip
        name = f"listed{mark}.{kind}"
        (folder / name).write_text(text)
        spec["spec"]["maps"]["blocklist"] = {"role": "config", "from": {kind: name}}
        (folder / "bulk.yaml").write_text(yaml.safe_dump(spec))
        assert judged("validate", "bulk.yaml") in (0, 65)  # a reader may trim a blank


def test_v10_json_keeps_what_was_written(folder: Path) -> None:
    """What people read is masked; what programs read is the text itself, and round-trips."""
    name = f"p{HOSTILE}.yaml"
    spec = yaml.safe_load(inputs.RICH.read_bytes())
    spec["spec"]["maps"][f"m{HOSTILE}"] = {"role": "state"}
    (folder / name).write_text(yaml.safe_dump(spec))
    code, out, err = run("validate", name, "-o", "json")
    assert code == 65
    problem = json.loads(out)["error"]["problems"][0]
    assert problem["file"] == name
    assert HOSTILE in problem["path"] + problem["message"]
    assert_clean(err)


def test_v10_a_file_name_of_bytes_in_json(folder: Path) -> None:
    name = os.fsdecode(b"\xff\x1b.yaml")
    _, out, _ = run("validate", name, "-o", "json")
    assert os.fsencode(json.loads(out)["error"]["problems"][0]["file"]) == b"\xff\x1b.yaml"


def test_v10_junit_stays_xml(tmp_path: Path) -> None:
    said = (f"first{HOSTILE}\x00\ufffe", f"second{HOSTILE}\udcff")
    results = tuple(
        Result(name=f"n{HOSTILE}", program="p\x01", outcome=o, place=f"f{HOSTILE}:1:2", seconds=0.1, said=said)
        for o in ("passed", "failed", "skipped")
    )
    _write_junit(tmp_path / "x.xml", [("edge", results)])
    cases = Xml.parse(tmp_path / "x.xml").getroot().findall(".//testcase")
    assert len(cases) == 3
    assert len((cases[0].findtext("system-out") or "").split("\n")) == 2


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_v10_line_breaks_of_ours_survive_and_theirs_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    output = Output(colour=True)
    output.print((f"a{HOSTILE}", "red"), " b")
    output.table(("X",), [(f"c{HOSTILE}",)], colours=["green"])
    output.tell(
        ReloaderError(f"m{HOSTILE}", detail=[f"one{HOSTILE}", Block("two", f"three{HOSTILE}")], hint=f"h{HOSTILE}")
    )
    output.tell(
        InputError([Problem(file=f"f{HOSTILE}", line=1, column=1, path="p", message="m", hint=Block("h", "paste"))])
    )
    shown, told = out.getvalue(), err.getvalue()
    for colour in ("\033[31m", "\033[32m", "\033[1m", "\033[0m"):
        shown, told = shown.replace(colour, ""), told.replace(colour, "")
    assert_clean(shown, told)
    assert len(shown.splitlines()) == 3
    assert len(told.splitlines()) == 5 + 2


def test_v10_the_corpus_can_fail(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Sabotage: without the mask the same command prints it."""
    faults.inject(monkeypatch, "printable output", lambda text: text)
    code, out, err = run("validate", f"no{HOSTILE}.yaml")
    assert code == 65
    with pytest.raises(AssertionError):
        assert_clean(out, err)


@given(st.text())
def test_a_printable_text_is_one_line_and_stays_so(text: str) -> None:
    masked = printable(text)
    assert_clean(masked)
    assert "\n" not in masked
    assert printable(masked) == masked


@pytest.mark.parametrize(
    ("count", "words", "expected"),
    [(1, ("entry",), "1 entry"), (2000, ("entry",), "2,000 entries"), (0, ("key",), "0 keys"), (1, ("map",), "1 map"),
     (3, ("more entry", "more entries"), "3 more entries")],
)  # fmt: skip
def test_plural_forms(count: int, words: tuple[str, ...], expected: str) -> None:
    assert counted(count, *words) == expected
