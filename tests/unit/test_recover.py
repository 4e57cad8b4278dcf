"""decide(): what an unfinished journal asks for, at every length a journal can have. Pure; real plans' ops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reloader.disk import jsonable
from reloader.engine.journal import Journal, JournalLine, read_journal
from reloader.errors import NeedsHuman
from reloader.lifecycle.recover import after_restart, decide
from reloader.plan.model import Plan
from reloader.plan.planner import make_plan
from reloader.store.records import Current
from tests.plans.build import FOLDER, LAYOUT, Case, read_case

NAMES = ("first_apply", "entries_only", "object_changed", "state_converted", "two_attachments_swapped", "reboot")
CURRENT = Current(pipeline="edge", generation=2, last_generation=2, last_load=2)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return read_case(FOLDER / f"{request.param}.yaml")


def plan_of(case: Case) -> Plan:
    return make_plan(case.wish, case.seen, LAYOUT, case.request)


def begin_of(case: Case, made: Plan) -> dict[str, Any]:
    """What transaction.begin_body writes; the words are the journal's format and may not change unnoticed."""
    return {
        "pipeline": made.pipeline,
        "generation": made.generation,
        "boot_id": "before",
        "ops": jsonable.to_json(made.ops),
        "after": jsonable.to_json(made.after),
        "wish": jsonable.to_json(case.wish),
    }


def journal_of(case: Case, made: Plan, path: Path, *, undone: int = 0, commit: bool = True) -> list[JournalLine]:
    """The lines of a transaction that ran to its commit, or failed with all ops done and took `undone` back."""
    journal = Journal(path)
    journal.begin(begin_of(case, made))
    for index in range(len(made.ops)):
        journal.intent(index)
        journal.done(index)
    for index in range(undone):
        journal.undo(len(made.ops) - 1 - index)
    if commit:
        journal.commit(jsonable.to_json({"generation": case.seen.generation, "current": CURRENT}))
    journal.close()
    return read_journal(path)


def test_every_prefix_is_taken_back_until_the_commit(case: Case, tmp_path: Path) -> None:
    made = plan_of(case)
    lines = journal_of(case, made, tmp_path / "1.jsonl")
    for length in range(len(lines)):
        decision = decide(lines[:length])
        begun = sum(line.kind == "intent" for line in lines[:length])
        assert not decision.forward, length
        assert decision.ops == tuple(reversed(made.ops[:begun])), length
        assert decision.wish == (case.wish if length else None)
    decision = decide(lines)
    assert decision.forward
    assert decision.ops == made.after
    assert decision.commit == (case.seen.generation, CURRENT)


def test_going_back_is_gone_on_with_from_its_start(case: Case, tmp_path: Path) -> None:
    """Undos may be run again, so a way back that was cut short is taken whole."""
    made = plan_of(case)
    for undone in range(len(made.ops) + 1):
        lines = journal_of(case, made, tmp_path / f"{undone}.jsonl", undone=undone, commit=False)
        assert decide(lines).ops == tuple(reversed(made.ops))
        assert not decide(lines).forward


def test_a_commit_whose_sync_failed_is_no_commit_once_going_back_began(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    lines = journal_of(case, plan_of(case), path)
    journal = Journal(path, seq=len(lines))
    journal.undo(0)
    journal.close()
    assert not decide(read_journal(path)).forward


def test_nothing_was_begun(tmp_path: Path) -> None:
    decision = decide([])
    assert not decision.forward
    assert decision.ops == ()
    assert decision.wish is None


def test_every_op_to_be_taken_back_has_an_undo(case: Case, tmp_path: Path) -> None:
    lines = journal_of(case, plan_of(case), tmp_path / "1.jsonl")
    for op in decide(lines[:-1]).ops:
        op.undo()  # LookupError would leave recover without a way


def test_after_a_restart_only_the_disk_is_put_in_order(case: Case, tmp_path: Path) -> None:
    lines = journal_of(case, plan_of(case), tmp_path / "1.jsonl")
    for taken in (lines[:-1], lines):
        decision = decide(taken)
        assert after_restart(decision, taken, "before") == decision
        left = after_restart(decision, taken, "after").ops
        assert all(op.on_disk for op in left)
        assert [op for op in decision.ops if op.on_disk] == list(left)


@pytest.mark.parametrize(
    "damage",
    [
        {"ops": [{"is": "Teleport"}]},
        {"ops": [{"is": "Unpin"}]},
        {"ops": [{"is": "Unpin", "path": 7}]},
        {"ops": 7},
        {"after": None},
        {"wish": {"pipeline": "edge"}},
        {"wish": []},
    ],
    ids=str,
)
def test_a_journal_of_another_release_needs_a_human(damage: dict[str, Any], tmp_path: Path) -> None:
    """Sound lines that this release cannot read: never a guess, never a traceback."""
    case = read_case(FOLDER / "first_apply.yaml")
    body = {**begin_of(case, plan_of(case)), **damage}
    journal = Journal(tmp_path / "1.jsonl")
    journal.begin(body)
    journal.intent(0)
    journal.commit({"generation": None, "current": jsonable.to_json(CURRENT)})
    journal.close()
    lines = read_journal(tmp_path / "1.jsonl")
    for taken in (lines[:2], lines):
        if "after" in damage and len(taken) == 2:
            continue  # not read on the way back
        if "ops" in damage and len(taken) == 3:
            continue
        with pytest.raises(NeedsHuman, match="another version of reloader"):
            decide(taken)


def test_a_begin_without_its_words_needs_a_human(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "1.jsonl")
    journal.begin({"pipeline": "edge"})
    journal.close()
    with pytest.raises(NeedsHuman):
        decide(read_journal(tmp_path / "1.jsonl"))
