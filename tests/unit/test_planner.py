"""make_plan: cases as data files in tests/plans/, and what must hold of every plan whatever was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reloader.disk import jsonable
from reloader.errors import MissingFeature, RefusedChange
from reloader.kernel import MapType
from reloader.pipeline.model import Role
from reloader.plan import ops
from reloader.plan.model import Plan
from reloader.plan.planner import make_plan
from reloader.plan.removal import make_removal
from tests.plans.build import FOLDER, LAYOUT, Case, case_of, op_text, pair_of, read_case

CASES = sorted(FOLDER.glob("*.yaml"))


def plan_of(case: Case) -> Plan:
    return make_plan(case.wish, case.seen, LAYOUT, case.request)


def texts(case: Case, listed: tuple[ops.Op, ...]) -> list[str]:
    return [op_text(op, case.digests) for op in listed]


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_case(path: Path) -> None:
    case = read_case(path)
    if "refused" in case.expect:
        judge_refusal(case)
    elif "missing" in case.expect:
        with pytest.raises(MissingFeature) as caught:
            plan_of(case)
        assert caught.value.message == case.expect["missing"]
        assert caught.value.exit_code == 69
    else:
        judge_plan(case, plan_of(case))


def judge_refusal(case: Case) -> None:
    with pytest.raises(RefusedChange) as caught:
        plan_of(case)
    assert caught.value.detail == case.expect["refused"]
    assert caught.value.exit_code == 65
    reasons = [row["reason"] for row in caught.value.refusals]
    assert reasons == case.expect.get("reasons", reasons)
    assert case.expect.get("hint", caught.value.hint) == caught.value.hint


def judge_plan(case: Case, made: Plan) -> None:
    unknown = set(case.expect) - {"why", "ops", "after", "lines", "load"}
    assert not unknown, f"unknown words: {unknown}"
    assert made.why == case.expect["why"]
    assert made.load == case.expect.get("load", made.load)
    assert texts(case, made.ops) == case.expect.get("ops", texts(case, made.ops))
    assert texts(case, made.after) == case.expect.get("after", texts(case, made.after))
    lines = [line.text() for line in made.lines]
    assert lines == case.expect.get("lines", lines)


def test_there_are_cases_and_each_says_what_it_shows() -> None:
    assert len(CASES) >= 25
    for path in CASES:
        assert read_case(path).about.endswith("."), path.name


# what must hold of every plan

STATE = [{"role": "state", "layout": x, "max": m} for x in ("flow", "flow-turned", "flow-long") for m in (16, 8)]
LISTS: list[dict[int, int]] = [{}, {1: 2}, {1: 3, 2: 2}, {0: 0, 3: 3, 4: 4, 5: 5}]
CONFIG = [
    {"role": "config", "layout": "flow", "max": 4, "entries": e, "prune": p} for e in LISTS for p in (True, False)
]
VERSIONS: dict[str, list[dict[str, Any] | None]] = {
    "flows": [*STATE, *STATE, *CONFIG, {"role": "scratch", "layout": "flow"}, None],
    "totals": [*STATE[:1], *CONFIG[:2], None],
    "blocklist": [*CONFIG, *({**c, "apply": "program"} for c in CONFIG), None],
    "seen": [{"role": "scratch"}, None],
    "events": [{"role": "stream", "type": "ringbuf"}, None],
    "jumps": [{"role": "live", "type": "prog_array"}, None],
}
HOOKS = [{"eth0": "main"}, {"eth1": "main"}, {"eth0": "tail"}, {"eth0": "main", "eth1": "tail"}]
THERE: list[dict[str, Any]] = [
    {},
    *({"entries": {"blocklist": e}} for e in LISTS),
    *({word: True} for word in ("removed", "rebooted", "programs gone")),
    *({"gone": names} for names in (["flows"], ["blocklist", "seen"])),
    *({"hooks": {"eth0": word}} for word in ("recreated", "no interface")),
]


@st.composite
def texts_of_cases(draw: st.DrawFn) -> dict[str, Any]:
    """Two versions of a pipeline; the second often keeps the maps of the first. Few draws, as these cost most."""
    was, wish = ({n: draw(st.sampled_from(v)) for n, v in VERSIONS.items()} for _ in range(2))
    wish = {n: draw(st.sampled_from([m, was[n]])) for n, m in wish.items()}
    return {
        "about": "",
        "was": {"maps": {n: m for n, m in was.items() if m}, "attach": draw(st.sampled_from(HOOKS))},
        "wish": {
            "maps": {n: m for n, m in wish.items() if m},
            "attach": draw(st.sampled_from(HOOKS)),
            "objects": draw(st.sampled_from("ab")),
        },
        "there": draw(st.sampled_from(THERE)),
        "reset": draw(st.sampled_from([(), (), (), ("flows",), ("flows", "totals")])),
        "expect": {},
    }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case; often with rules for the state maps whose layout changes."""
    case = case_of(draw(texts_of_cases()))
    return with_rules(case) if draw(st.booleans()) else case


def with_rules(case: Case) -> Case:
    """The same with a conversion for every state map that was one."""
    wanted = {m.name: pair_of() for m in case.wish.maps if m.role is Role.STATE}
    return replace(case, request=replace(case.request, conversions=wanted))


def planned(case: Case) -> Plan | None:
    """The plan; None when it is refused, which keeps everything too."""
    try:
        return plan_of(case)
    except (RefusedChange, MissingFeature):
        return None


def gone_by(op: ops.Op, pin: str) -> bool:
    """Whether an op takes a pin away, or makes its map unwritable."""
    match op:
        case ops.Unpin() | ops.Freeze():
            return op.path == pin
        case ops.DropLoad() | ops.DropFolder():
            return pin.startswith(f"{op.path}/")
    return False


def moved(made: Plan, pin: str) -> bool:
    """Whether the contents were taken to another map, which stays."""
    targets = [op.target for op in made.ops if isinstance(op, ops.Drain) and op.source == pin]
    pinned = [op.path for op in made.ops if isinstance(op, ops.PinMap)]
    return bool(targets) and all(t in pinned and not any(gone_by(op, t) for op in made.after) for t in targets)


@settings(max_examples=300)
@given(cases())
def test_state_is_never_silently_dropped(case: Case) -> None:
    """A state map's pin goes only where --reset names the map, or where its contents went to another map."""
    made, current = planned(case), case.seen.current
    if made is None or current is None:
        return
    undos = [u for op in made.ops if (u := op.undo()) is not None]
    for name, kept in current.state.items():
        if name in case.seen.lost or name in case.request.reset or moved(made, kept.pin):
            continue
        takers = [op for op in (*made.ops, *made.after, *undos) if gone_by(op, kept.pin)]
        assert not takers, f"{name}: {takers}"


@given(cases())
def test_state_serves_the_next_load(case: Case) -> None:
    """A state map that is wished for is the one the new load uses, or is moved to the one it uses, or is reset."""
    made = planned(case)
    loads = [op for op in made.ops if isinstance(op, ops.Load)] if made else []
    if made is None or not loads or case.seen.current is None:
        return
    for wanted in (m for m in case.wish.maps if m.role is Role.STATE):
        kept = case.seen.current.state.get(wanted.name)
        if kept is None or wanted.name in case.seen.lost or wanted.name in case.request.reset:
            continue
        assert loads[0].reuse.get(wanted.name) == kept.pin or moved(made, kept.pin), wanted.name


@given(cases())
def test_every_op_before_the_commit_can_be_taken_back(case: Case) -> None:
    made = planned(case)
    for op in made.ops if made else ():
        assert isinstance(op, ops.NothingOwed) or op.undo() is not None, op


@given(cases())
def test_nothing_that_serves_is_taken_away_before_the_commit(case: Case) -> None:
    """Forward, ops only add, swap and write differences; what they pin is new, so that an undo hits nothing old."""
    made = planned(case)
    old = {m.pin for m in case.seen.maps.values()}
    for op in made.ops if made else ():
        assert not isinstance(op, ops.Unpin | ops.DropLoad | ops.DropFolder | ops.Publish | ops.Freeze), op
        assert not isinstance(op, ops.PinMap) or op.path not in old, op


@given(cases())
def test_after_the_commit_the_record_comes_first_and_the_new_load_stays(case: Case) -> None:
    made = planned(case)
    if made is None or not made.changes:
        return
    assert isinstance(made.after[0], ops.PutRecord)
    assert isinstance(made.after[-1], ops.Prune)
    mine = LAYOUT.load_pins(case.wish.pipeline, made.load)
    assert not [op for op in made.after if isinstance(op, ops.DropLoad) and op.path == mine]


@given(cases())
def test_a_wished_attachment_keeps_its_pin(case: Case) -> None:
    """A link's only pin is never removed while the attachment is wanted."""
    made = planned(case)
    pins = {LAYOUT.link_pin(case.wish.pipeline, a.id) for a in case.wish.attachments}
    assert not [op for op in (made.after if made else ()) if isinstance(op, ops.Unpin) and op.path in pins]


@given(cases())
def test_regress_prog_array_reused(case: Case) -> None:
    """Shared by two loads, packets ran half old, half new; dropped too early, it emptied itself under them."""
    made = planned(case)
    if made is None or case.seen.generation is None:
        return
    arrays = {m.name for m in case.seen.generation.wish.maps if m.type == MapType.PROG_ARRAY}
    assert not [op for op in made.ops if isinstance(op, ops.Load) and op.stage == "clean" and arrays & set(op.reuse)]
    kinds = [type(op) for op in made.after]
    if arrays and ops.DropLoad in kinds:
        assert ops.Barrier in kinds[: kinds.index(ops.DropLoad)]


@given(cases())
def test_a_plan_travels_as_json(case: Case) -> None:
    """What the journal holds is what was planned."""
    made = planned(case)
    for op in (*made.ops, *made.after) if made else ():
        assert jsonable.from_json(ops.Op, json.loads(json.dumps(jsonable.to_json(op)))) == op


@given(cases(), st.booleans())
def test_remove_drops_state_only_when_told(case: Case, drop_state: bool) -> None:
    current = case.seen.current
    if current is None:
        return
    made, after = make_removal(case.seen, current, LAYOUT, drop_state=drop_state)
    dropped = {n: m.pin for n, m in current.state.items() if any(gone_by(op, m.pin) for op in made.after)}
    assert set(dropped) == (set(current.state) if drop_state else set())
    assert after.state == ({} if drop_state else current.state)
    assert not made.ops
