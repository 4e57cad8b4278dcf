"""Sound values edited by hypothesis, which finds the smallest edit that breaks a reader."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.fuzz import inputs, mutate
from lab.fuzz.harness import command, limit, times
from reloader.disk import jsonable
from reloader.engine.journal import JournalLine
from reloader.errors import NeedsHuman, ReloaderError
from reloader.lifecycle.recover import after_restart, decide
from reloader.pipeline.wish import Wish
from reloader.plan.ops import Op
from reloader.plan.planner import make_plan
from reloader.store.records import Current
from tests.plans.build import FOLDER, LAYOUT, read_case

CASE = read_case(FOLDER / "state_converted.yaml")
PLAN = make_plan(CASE.wish, CASE.seen, LAYOUT, CASE.request)
BEGIN = {
    "pipeline": PLAN.pipeline,
    "generation": PLAN.generation,
    "boot_id": "before",
    "ops": jsonable.to_json(PLAN.ops),
    "after": jsonable.to_json(PLAN.after),
    "wish": jsonable.to_json(CASE.wish),
}
CURRENT = jsonable.to_json(Current(pipeline="edge", generation=2, last_generation=2, last_load=2, entries={"/p": "d"}))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 66), 1 << 66)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from([one for one in mutate.HOSTILE if isinstance(one, (str, int))])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
edits = st.lists(
    st.tuples(st.integers(0, 2000), st.sampled_from(("put", "drop", "name")), values), min_size=1, max_size=3
)
often = settings(
    max_examples=120 * times(),
    deadline=None,
    derandomize=times() == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def edited(sound: Any, wanted: list[tuple[int, str, Any]]) -> Any:
    """A copy with each edit done at the place of its number."""
    out = copy.deepcopy(sound)
    for number, way, value in wanted:
        places = list(mutate._places(out))
        if not places:
            return value
        holder, step = places[number % len(places)]
        if way == "drop":
            del holder[step]
        elif way == "name" and isinstance(holder, dict):
            holder[str(value)[:8]] = holder.pop(step)
        else:
            holder[step] = copy.deepcopy(value)
    return out


@often
@given(edits)
def test_a_pipeline(wanted: list[tuple[int, str, Any]]) -> None:
    sound = yaml.safe_load(inputs.PIPELINE.read_bytes())
    with tempfile.TemporaryDirectory() as folder, limit():
        (Path(folder) / inputs.OBJECT.name).symlink_to(inputs.OBJECT)
        try:
            inputs.validate(Path(folder), inputs.dumped(edited(sound, wanted)))
        except ReloaderError:
            return


@often
@given(edits)
def test_a_state_layout(wanted: list[tuple[int, str, Any]]) -> None:
    sound = yaml.safe_load((inputs.REGISTRY / "flows.2.yaml").read_bytes())
    with tempfile.TemporaryDirectory() as folder, limit(), inputs.inside(Path(folder)):
        state = Path(folder) / "state" / "flow-count"
        state.mkdir(parents=True)
        (state / "flows.1.yaml").write_bytes((inputs.REGISTRY / "flows.1.yaml").read_bytes())
        (state / "flows.2.yaml").write_bytes(inputs.dumped(edited(sound, wanted)))
        try:
            command("state", "show", "flow-count")
        except ReloaderError:
            return


@often
@given(edits)
def test_a_record(wanted: list[tuple[int, str, Any]]) -> None:
    """What store/records.py takes for damage, and nothing else."""
    for kind, sound in ((Current, CURRENT), (Wish, BEGIN["wish"]), (tuple[Op, ...], BEGIN["ops"])):
        try:
            jsonable.from_json(kind, edited(sound, wanted))
        except (ValueError, TypeError, KeyError):
            continue


@often
@given(edits, st.integers(0, 4))
def test_a_journal_that_is_sound_as_lines(wanted: list[tuple[int, str, Any]], length: int) -> None:
    """As another release, or an enemy, may have written it: a decision, or a human."""
    commit = {"generation": None, "current": CURRENT}
    bodies = [("begin", BEGIN), ("intent", {"op": 0}), ("intent", {"op": 1}), ("commit", commit), ("undo", {"op": 1})]
    whole = edited([body for _, body in bodies], wanted)
    if not isinstance(whole, list):
        return
    kinds = [kind for kind, _ in bodies]
    lines = [
        JournalLine(seq=i + 1, kind=kinds[i], body=body)
        for i, body in enumerate(whole[: length + 1])
        if isinstance(body, dict)
    ]
    try:
        decision = decide(lines)
        after_restart(decision, lines, "after")
    except NeedsHuman:
        return
    assert isinstance(decision.ops, tuple)
    assert decision.commit is None or isinstance(decision.commit[1], Current)
