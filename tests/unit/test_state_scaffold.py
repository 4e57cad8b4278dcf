"""`reloader state`: what `new` fills in and what it asks, and that `check`, `diff` and `show` say what is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reloader.cli import main
from reloader.errors import InputError
from reloader.kernel import MapType
from reloader.layouts.rules import LayoutVersion
from reloader.paths import shipped_dir
from reloader.pipeline.registry.next_version import first_version, next_version, text
from reloader.pipeline.registry.registry import QUESTION, file_name, load_registry
from reloader.pipeline.registry.suggest import merges
from reloader.structs.elf import ElfMap
from reloader.structs.tree import TypeTree
from tests.support.layout_pairs import changes, laid_out, structs
from tests.unit.test_state_rules import shaped, step, with_members

Run = Callable[..., tuple[int, str, str]]
U32 = TypeTree(kind="int", size=4)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["state", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def drafted(old: LayoutVersion, new: LayoutVersion) -> str:
    """The rules and merges of the file that `new` would write."""
    return text(new, old).partition("\nmerge:")[2] or text(new, old).partition("\nrules:")[2]


def next_of(old: str | TypeTree, new: str | TypeTree, **more: Any) -> str:
    return drafted(*step(old, new, **more))


# --- what is certain, and what is asked


def test_what_is_certain_is_filled_in() -> None:
    said = next_of("packets:u64 mark:u32 pad:u8*2", "mark:u64 packets:u64 first_ns:u64")
    assert QUESTION not in said.replace(f"{QUESTION}: how do two values of mark", "")
    for line in (
        "mark: {widen: true}",
        "pad: {drop: true, was: 0}",
        "first_ns: {default: 0}",
        "packets: sum",
        "first_ns: min",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("old", "new", "answers"),
    [
        (
            "bytes:u64",
            "octets:u64",
            ["octets: {rename: bytes}", "octets: {default: 0}; bytes: {drop: true, accept_loss: true}"],
        ),
        ("a:u64 b:u64", "c:u64", ["c: {rename: a}", "c: {rename: b}"]),
        ("a:u64", "a:u32", ["a: {narrow: true}"]),
        (
            "small:u16",
            "smallish:u32",
            [
                "smallish: {rename: small, widen: true}",
                "smallish: {default: 0}; small: {drop: true, accept_loss: true}",
            ],
        ),
        ("a:u32", "a:be32", ["a: {cast: true}"]),
        ("a:u8*4", "a:u8*2", ["a: {narrow: true}"]),
        ("a:u8*4", "a:u32", ["a: {cast: true}"]),
        ("a:u32*4", "a:u64*2", ["a: {cast: true}"]),
        ("a:u64 gone:u32", "a:u64", ["gone: {drop: true, accept_loss: true}"]),
    ],
)
def test_what_only_the_author_knows_is_asked(old: str, new: str, answers: list[str]) -> None:
    said = next_of(old, new, merge={"": "keep_new"}, merge_old={"": "keep_new"})
    assert said.count(QUESTION) == 1
    for answer in answers:
        assert f"    # {answer}\n" in said


def test_a_field_of_the_same_type_is_asked_for_first() -> None:
    said = next_of("x:u16 b:u64", "c:u64 y:u32", merge={"": "keep_new"}, merge_old={"": "keep_new"})
    assert "# c: {rename: b}\n" in said
    assert "# y: {rename: x, widen: true}\n" in said
    assert said.count(QUESTION) == 2


def test_a_key_is_never_guessed_at() -> None:
    said = next_of("n:u64", "n:u64", key_old="a:u32 b:u32", key_new="a:u32 c:u16")
    assert "# c: {const: 0}" in said
    assert "# b: {drop: true, was: 0}" in said
    assert "collide: merge" in said


def test_padding_is_no_candidate_for_a_rename() -> None:
    assert QUESTION not in next_of("n:u64 pad:u32 m:u32", "n:u64 m:u32 mark_ns_last:u32", merge_old={"": "keep_new"})


def test_what_cannot_be_done_is_told_in_the_same_place() -> None:
    timer = TypeTree(kind="struct", name="bpf_timer", size=16)
    said = next_of(with_members(16, ("t", 0, timer)), "n:u64")
    assert "bpf_timer" in said  # there is no rule to ask for: the version is recorded, and `--reset` gives entries up
    assert "rules:" not in said


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("rx_packets", "sum"),
        ("bytes", "sum"),
        ("last_seen", "max"),
        ("first_ns", "min"),
        ("flags", "or"),
        ("state", "?"),
    ],
)
def test_how_fields_merge_is_guessed_by_their_names(name: str, word: str) -> None:
    ((found, guess, certain),) = merges(shaped(f"{name}:u64"), {})
    assert (found, guess if certain else "?") == (name, word)


def test_what_was_said_of_merging_stays() -> None:
    assert list(merges(shaped("state:u64 x:u8"), {"state": "or"})) == [("state", "or", True)]


def unanswered(folder: Path, *versions: LayoutVersion) -> int:
    """Write the files of a history as `new` would; how many questions stand in the last."""
    place = folder / versions[0].schema
    place.mkdir(exist_ok=True)
    written = ""
    for before, made in zip([None, *versions], versions, strict=False):
        written = text(made, before)
        written = re.sub(r"  # QUESTION: how do two.*\n  # (.*): sum \|.*", r"  \1: keep_new", written)
        (place / file_name(made.map, made.version)).write_text(written)
    return written.count(QUESTION)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_draft_is_whole_or_asks(tmp_path: Path, data: st.DataObject) -> None:
    """Without a question it converts; with one, the registry refuses it."""
    change = data.draw(structs().flatmap(changes))
    trees = [laid_out(v) for v in (change.old, change.new)]
    old = ElfMap(name="m", type=MapType.HASH, key_size=4, value_size=0, max_entries=1, key=U32, value=trees[0])
    first = first_version("s", old)
    assert first
    second = next_version(first, ElfMap(**{**fields_of(old), "value": trees[1]}))
    assert second
    asked = unanswered(tmp_path, first, second)
    if not asked:
        assert load_registry("s", [tmp_path]).match("m", second.key, second.value)
        return
    with pytest.raises(InputError) as caught:
        load_registry("s", [tmp_path])
    assert any("open question" in p.message for p in caught.value.problems)


def fields_of(found: ElfMap) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ElfMap.__dataclass_fields__}


# --- the commands


@pytest.fixture
def recorded(objects: Callable[[str], Path], tmp_path: Path, run: Run) -> tuple[Path, Path]:
    """flow_count as version 1 of a registry of the test's own; (object, folder)."""
    found = objects("programs/flow_count/flow_count")
    code, said, _ = run("new", found, "--schema", "edge", "--dir", tmp_path)
    assert code == 0
    assert "questions to answer" in said
    for path in (tmp_path / "edge").iterdir():
        path.write_text(re.sub(r"  # QUESTION.*\n  # (.*): sum \|.*", r"  \1: sum", path.read_text()))
    return found, tmp_path


def test_an_object_is_recorded_then_checked(recorded: tuple[Path, Path], run: Run) -> None:
    found, folder = recorded
    code, said, _ = run("check", found, "--schema", "edge", "--dir", folder)
    assert code == 0
    assert "flows: version 1, the recorded head" in said
    code, said, told = run("new", found, "--schema", "edge", "--dir", folder)
    assert (code, "nothing to write" in said) == (0, True)
    assert "--same" in told


def test_another_layout_is_told_refused_and_recorded(
    recorded: tuple[Path, Path], run: Run, objects: Callable[[str], Path]
) -> None:
    other = objects("lab/bpf/flow_count_v3")
    where = ("--schema", "edge", "--dir", recorded[1])
    code, said, _ = run("diff", other, *where)
    assert code == 0
    assert "  value.packets: offset 0 → 8 (u64)\n  value.bytes: offset 8 → 0 (u64)\n" in said
    code, _, told = run("check", recorded[0], other, *where)
    assert code == 65
    assert "flow_count_v3.bpf.o: flows: value.packets: offset 0 → 8 (u64)" in told
    assert run("new", other, *where)[0] == 0
    assert run("check", other, *where)[0] == 0
    code, said, _ = run("diff", recorded[0], *where)
    assert "flows: differs from version 2, the recorded head; it is version 1" in said
    code, said, _ = run("show", "edge", "--dir", recorded[1], "--map", "flows")
    assert "flows: version 1 (16 → 16 bytes), version 2 (16 → 16 bytes)" in said
    assert "  value.bytes (u64): offset 8 → 0, sum\n" in said


def test_a_change_of_meaning_has_to_say_what_changed(recorded: tuple[Path, Path], run: Run) -> None:
    found, folder = recorded
    where = ("--schema", "edge", "--dir", folder, "--map", "flows")
    code, _, _ = run("new", found, "--same", *where)
    assert code == 0
    code, _, told = run("check", found, *where)
    assert (code, "what has another meaning now" in told) == (65, True)
    path = folder / "edge" / "flows.2.yaml"
    path.write_text(re.sub(r"# QUESTION.*\n# meaning: …", "meaning: bytes count the link layer too", path.read_text()))
    code, said, _ = run("check", found, *where)
    assert (code, "version 2, the recorded head" in said) == (0, True)


def test_unanswered_questions_stop_every_command(objects: Callable[[str], Path], tmp_path: Path, run: Run) -> None:
    found = objects("programs/flow_count/flow_count")
    where = ("--schema", "edge", "--dir", tmp_path)
    assert run("new", found, *where)[0] == 0
    for words in (("check", found), ("diff", found), ("new", found)):
        code, _, told = run(*words, *where)
        assert code == 65
        assert "counters.1.yaml" in told
        assert "open question: how do two values of not_ip become one?" in told


def test_reports_are_as_published(recorded: tuple[Path, Path], run: Run, objects: Callable[[str], Path]) -> None:
    where = ("--dir", recorded[1], "-o", "json")
    for word, words in {
        "check": (recorded[0], "--schema", "edge"),
        "diff": (objects("lab/bpf/flow_count_v3"), "--schema", "edge"),
        "show": ("edge",),
    }.items():
        code, said, _ = run(word, *words, *where)
        assert code == 0
        published = json.loads((shipped_dir("schemas") / f"state-{word}.schema.json").read_text())
        Draft7Validator.check_schema(published)
        assert not list(Draft7Validator(published).iter_errors(json.loads(said)))


BY_SIZE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(key_size, 4);
	__uint(value_size, %d);
} flows SEC(".maps");
"""


def test_a_map_without_btf_is_written_down_by_hand(
    compile_bpf: Callable[[str], Path], tmp_path: Path, run: Run
) -> None:
    """`new` says what is missing; once its author wrote it, sizes are checked."""
    path, wider = compile_bpf(BY_SIZE % 16), compile_bpf(BY_SIZE % 24)
    words = ("--schema", "edge", "--dir", tmp_path, "--map", "flows")
    assert run("new", path, *words)[0] == 0
    file = tmp_path / "edge" / file_name("flows", 1)
    code, _, err = run("check", path, *words)
    assert code == 65
    assert "BTF does not describe flows; write the fields" in err
    written = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    fields = "    fields: [{name: packets, type: u64, at: 0}, {name: bytes, type: u64, at: 8}]"
    file.write_text("\n".join(fields if line.strip() == "fields: []" else line for line in written) + "\n")
    assert run("check", path, *words)[0] == 0
    code, _, err = run("check", wider, *words)
    assert code == 65
    assert "value: size 16 → 24" in err
    assert "value: size 16 → 24" in run("diff", wider, *words)[1]


def test_an_error_that_nobody_reads_is_no_traceback() -> None:
    """The reader of `-o json` has left before the error document comes."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = [sys.executable, "-m", "reloader", "state", "show", "no-such-schema", "-o", "json"]
        done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert done.returncode == 65
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["Bad Name", "../elsewhere", ""])
def test_a_schema_has_a_name_that_a_pipeline_can_say(recorded: tuple[Path, Path], run: Run, name: str) -> None:
    path, folder = recorded
    code, _, err = run("new", path, "--schema", name, "--dir", folder)
    assert code == 64
    assert "is not a name for a schema" in err


def test_odd_words_are_told(recorded: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    found, folder = recorded
    where = ("--schema", "edge", "--dir", folder)
    assert run("check", found, "--schema", "other", "--dir", folder)[0] == 65
    code, _, told = run("check", found, "--map", "nothing", *where)
    assert (code, "does not have a map nothing" in told) == (65, True)
    code, _, told = run("new", tmp_path / "edge" / "flows.1.yaml", *where)
    assert (code, "clang -target bpf -g" in told) == (65, True)
    assert run("check", tmp_path / "missing.o", *where)[0] == 65
    with pytest.raises(SystemExit) as caught:
        run("frob")
    assert caught.value.code == 64


def test_the_shipped_registry_is_shown(run: Run) -> None:
    code, said, _ = run("show", "flow-count")
    assert code == 0
    assert "flows: version 1" in said
