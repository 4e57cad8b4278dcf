"""A real transaction's journal, cut and hurt at every byte: a true beginning of it, or a human is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.fuzz.harness import dice_of
from lab.stage import ROOT, Stage
from reloader import fault_points
from reloader.engine.journal import JournalLine, journal_lines
from reloader.errors import NeedsHuman
from reloader.lifecycle.recover import decide
from tests.support import faults

pytestmark = pytest.mark.kernel


def record(stage: Stage, work: Callable[[], object]) -> tuple[str, bytes]:
    """The journal that a transaction wrote from begin to end: its name and its bytes."""
    found: list[tuple[str, bytes]] = []

    def look(when: str, name: str) -> None:
        if (when, name) == ("before", "journal.end"):
            (path,) = stage.paths.journal_file(stage.name, "").parent.glob("*.jsonl")
            found.append((path.name, path.read_bytes()))

    fault_points.install(look)
    try:
        work()
    finally:
        fault_points.install(None)
    ((name, data),) = found
    return name, data


def reread(path: Path, data: bytes) -> list[JournalLine] | None:
    """What a reader makes of these bytes; None when it asks for a human. Any other exception fails the test."""
    try:
        return journal_lines(data, path)
    except NeedsHuman:
        return None


def check_every_byte(path: Path, data: bytes, step: int = 1) -> None:
    whole = reread(path, data)
    assert whole is not None
    # What is decided depends on the lines alone, so that every cut that gives these lines is decided for by one.
    forward = [decide(whole[:length]).forward for length in range(len(whole) + 1)]
    assert forward == [False] * len(whole) + [True]  # the commit is the last line
    wrong = []
    for at in range(0, len(data), step):
        kept = data[:at].count(b"\n") + (data[at : at + 1] == b"\n")  # all of a line but its newline is the line
        found = reread(path, data[:at])
        if found != whole[:kept]:
            wrong.append(f"cut at {at}: {found and len(found)} lines, not {kept}")
        hurt = bytearray(data)
        hurt[at] ^= 1 << at % 8
        found = reread(path, bytes(hurt))
        torn = at == len(data) - 1  # without its newline the last line is a torn tail, and was not written
        if found is not None and not (torn and found == whole[:-1]):
            wrong.append(f"turned at {at}: passes as {len(found)} lines")
    assert not wrong, "\n".join(wrong[:10])


def test_every_byte_of_a_real_journal(stage: Stage, tmp_path: Path) -> None:
    stage.apply(stage.spec("v1"))
    spec = stage.spec("v1", maps={"blocklist": entries("192.0.2.1")})
    for work in (lambda: stage.apply(spec), lambda: stage.apply(stage.spec("v2"))):
        name, data = record(stage, work)
        assert data.count(b"\n") > 3
        check_every_byte(tmp_path / name, data)


def entries(*addresses: str) -> dict[str, object]:
    return {"role": "config", "entries": [{"key": a, "value": {"action": "XDP_DROP"}} for a in addresses]}


def test_a_checksum_that_is_always_the_same_is_caught(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: lines that are believed as soon as they are JSON."""
    faults.inject(monkeypatch, "journal checksum", SimpleNamespace(crc32=lambda _text: 0))
    name, data = record(stage, lambda: stage.apply(stage.spec("v1")))
    with pytest.raises(AssertionError, match="passes as"):
        check_every_byte(tmp_path / name, data, step=9)


def test_a_damaged_journal_changes_nothing(stage: Stage) -> None:
    """Through the command line, over a serving pipeline: exit 4 for each, and all is as it was."""
    stage.apply(stage.spec("v1"))
    name, data = record(stage, lambda: stage.apply(stage.spec("v2")))
    path = stage.paths.journal_file(stage.name, "").parent / name
    path.parent.mkdir(exist_ok=True)
    dice = dice_of("journal")
    before = stage.standing()
    for _ in range(12):
        hurt = bytearray(data)
        hurt[dice.randrange(len(data) - 1)] ^= 1 << dice.randrange(8)
        path.write_bytes(hurt)
        for words in (["recover"], ["apply", stage.file], ["rollback", stage.name], ["remove", stage.name, "--state"]):
            done = stage.run(*words)
            assert done.code == 4, done.err
            assert "the journal is damaged" in done.err
        path.unlink()
        assert stage.standing() == before
    stage.assert_counts()


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_torn_tail_of_a_killed_transaction_is_dropped(stage: Stage, cut: int) -> None:
    """Killed before the swap with its last line half written: recover takes it back, and generation 1 serves."""
    stage.apply(stage.spec("v1"))
    before = stage.standing()
    words = ["kill", "before", "1 link.update", "--", "apply", str(stage.write(stage.spec("v2"))), *stage.where]
    done = subprocess.run([sys.executable, "-m", "lab.crash.gated", *words], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -9
    (path,) = stage.paths.journal_file(stage.name, "").parent.glob("*.jsonl")
    os.truncate(path, path.stat().st_size - cut)
    assert stage.call("recover")["recovered"] == [f"{stage.name}: an interrupted transaction was rolled back"]
    assert stage.standing() == before
    stage.assert_counts()
