"""What becomes of a map on a new load, where its role or the owner of its contents decides."""

from __future__ import annotations

from dataclasses import replace

from reloader.kernel import MapInfo, MapType
from reloader.observe.pipeline import Observed, SeenMap
from reloader.paths import Paths
from reloader.pipeline.model import Role
from reloader.pipeline.wish import EntriesRef, Wish, WishMap, WishObject
from reloader.plan import ops, texts
from reloader.plan.model import Line, Plan
from reloader.plan.planner import PlanInputs, make_plan
from reloader.store.records import Current, Generation, MapRecord
from reloader.structs.btf import TypeTree

LAYOUT = Paths()
U32 = TypeTree(name="__u32", kind="int", size=4)
U64 = TypeTree(name="__u64", kind="int", size=8)
PIN = LAYOUT.map_pin("edge", 1, "limits")
STATE_PIN = LAYOUT.state_pin("edge", "limits", "0", 1)


def limits(role: Role, **words: object) -> WishMap:
    return replace(
        WishMap(
            name="limits", role=role, type=MapType.HASH, key_size=4, value_size=4, max_entries=8, map_flags=0,
            key=U32, value=U32,
        ),
        **words,  # type: ignore[arg-type]
    )  # fmt: skip


def wish(*maps: WishMap, code: str = "new") -> Wish:
    return Wish(
        pipeline="edge", source_revision="file:0", objects=(WishObject(digest=code, path=""),), programs=("p",),
        rodata={}, maps=maps, attachments=(),
    )  # fmt: skip


def seen(before: WishMap | None, *, pin: str = PIN, state: bool = False) -> Observed:
    """The kernel as it is after load 1, which served `before`; None: removed since."""
    known = {"limits": MapRecord(pin=pin, id=7)}
    info = MapInfo(id=7, type=MapType.HASH, name="limits", key_size=4, value_size=4, max_entries=8, map_flags=0)
    generation = Generation(
        number=1, load=1, wish=wish(before, code="old"), created="", reason="apply", boot_id="b", progs={"p": 1},
        maps=known,
    ) if before else None  # fmt: skip
    current = Current(
        pipeline="edge", generation=1 if before else 0, last_generation=1, last_load=1, state=known if state else {}
    )
    return Observed(
        boot_id="b", current=current, generation=generation, progs={"p": 1},
        maps={"limits": SeenMap(pin=pin, info=info, key=U32, value=U32)},
    )  # fmt: skip


def planned(wanted: WishMap, there: Observed, *, reset: bool = False) -> Plan:
    return make_plan(wish(wanted), there, LAYOUT, PlanInputs(reset=["limits"] if reset else []))


def line(made: Plan) -> Line:
    return next(one for one in made.lines if one.kind == "map")


def reused(made: Plan) -> dict[str, str]:
    return next(op for op in made.ops if isinstance(op, ops.Load)).reuse


def touched(made: Plan) -> set[str]:
    """Pins that something after the commit freezes or takes away."""
    return {op.path for op in made.after if isinstance(op, (ops.Freeze, ops.Unpin))}


def test_config_without_entries_is_reused() -> None:
    config = limits(Role.CONFIG)
    made = planned(config, seen(config))
    assert reused(made) == {"limits": PIN}
    assert PIN not in touched(made)
    assert line(made).notes == ("the very same map",)


def test_config_with_entries_is_made_anew() -> None:
    config = limits(Role.CONFIG, entries=EntriesRef(digest="e", count=0))
    made = planned(config, seen(config))
    assert reused(made) == {}
    assert PIN in touched(made)


def test_config_without_entries_of_another_shape_is_replaced_and_said_so() -> None:
    made = planned(limits(Role.CONFIG, value=U64, value_size=8), seen(limits(Role.CONFIG)))
    assert reused(made) == {}
    assert line(made).action == "config: replace"
    assert line(made).notes[0] == texts.STARTS_EMPTY_DECLARATION()
    assert "value_size: 4 → 8 bytes" in line(made).notes


def test_state_that_becomes_config_is_parked_untouched() -> None:
    for entries in (None, EntriesRef(digest="e", count=0)):
        made = planned(limits(Role.CONFIG, entries=entries), seen(limits(Role.STATE), pin=STATE_PIN, state=True))
        assert reused(made) == {}
        assert STATE_PIN not in touched(made)
        assert "the state it held is parked" in line(made).notes


def test_parked_state_is_not_written_by_a_config_map_of_its_name() -> None:
    made = planned(limits(Role.CONFIG, prune=False), seen(None, pin=STATE_PIN, state=True))
    assert reused(made) == {}


def test_parked_state_comes_back() -> None:
    made = planned(limits(Role.STATE), seen(None, pin=STATE_PIN, state=True))
    assert reused(made) == {"limits": STATE_PIN}


def test_reset_of_parked_state_leaves_no_pin_behind() -> None:
    made = planned(limits(Role.STATE), seen(None, pin=STATE_PIN, state=True), reset=True)
    assert reused(made) == {}
    assert STATE_PIN in touched(made)


def test_a_queue_has_no_key_to_describe() -> None:
    queue = limits(Role.STATE, type=MapType.QUEUE, key=None, key_size=0)
    there = seen(queue, pin=STATE_PIN, state=True)
    live = there.maps["limits"]
    info = replace(live.info, type=MapType.QUEUE, key_size=0)
    made = planned(queue, replace(there, maps={"limits": replace(live, info=info, key=None)}))
    assert reused(made) == {"limits": STATE_PIN}
