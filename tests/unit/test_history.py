"""The rows of `history`: what a stored generation changed, and how its trial ended."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reloader.paths import Paths, shipped_dir
from reloader.plan.model import Line, Sign, sign_of
from reloader.report.history import HistoryRow, history
from reloader.store.records import OutcomeKind, TrialOutcome
from tests.records.make import PINS, TREE


@pytest.fixture
def row(tmp_path: Path) -> HistoryRow:
    shutil.copytree(TREE, tmp_path / "records")
    return history(Paths(bpffs=PINS, records=tmp_path / "records"), "edge")[-1]


def line(sign: Sign) -> str:
    return Line(sign=sign, kind="map", name="flows", action="-").text()


@pytest.mark.parametrize("sign", Sign)
def test_a_recorded_line_keeps_its_sign(sign: Sign) -> None:
    assert sign_of(line(sign)) is sign


def test_words_have_no_sign() -> None:
    assert sign_of("rebuilt by hand") is None


def test_the_newest_generation_is_the_current_one(row: HistoryRow) -> None:
    assert (row.generation.number, row.is_current) == (2, True)


def test_kept_parts_are_no_changes(row: HistoryRow) -> None:
    kept, changed = line(Sign.KEEP), [line(sign) for sign in Sign if sign is not Sign.KEEP]
    made = replace(row, generation=replace(row.generation, changes=(kept, *changed, "words")))
    assert made.changes() == (*changed, "words")
    assert made.to_json()["changes"] == [kept, *changed, "words"]


@pytest.mark.parametrize("kind", OutcomeKind)
def test_the_kind_of_an_outcome_stands_beside_its_words(row: HistoryRow, kind: OutcomeKind) -> None:
    ended = replace(row.generation, outcome=TrialOutcome(kind=kind, words="how it ended"))
    shown = replace(row, generation=ended).to_json()
    assert (shown["outcome"], shown["outcome_kind"]) == ("how it ended", kind.value)


def test_without_a_trial_both_are_empty(row: HistoryRow) -> None:
    shown = replace(row, generation=replace(row.generation, outcome=None)).to_json()
    assert (shown["outcome"], shown["outcome_kind"]) == ("", "")


@pytest.mark.parametrize(("document", "rows"), [("history", "generations"), ("result", "pipelines")])
def test_the_schemas_know_every_kind(document: str, rows: str) -> None:
    schema = json.loads((shipped_dir("schemas") / f"{document}.schema.json").read_text())
    fields = schema["properties"][rows]["items"]["properties"]
    assert set(fields["outcome_kind"]["enum"]) == {*OutcomeKind, ""}
