"""Contents changed by hand are drift: shown by field name, beside what the generation lists, and mended by apply."""

from __future__ import annotations

import socket

import pytest

from lab.stage import Stage

pytestmark = pytest.mark.kernel
DROP, PASS = (n.to_bytes(4, "little") for n in (1, 2))


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.apply(stage.spec(maps={"blocklist": {"role": "config", "entries": [entry(n) for n in (1, 2, 3)]}}))
    return stage


def entry(last: int) -> dict[str, object]:
    return {"key": f"203.0.113.{last}", "value": {"action": "XDP_DROP"}}


def address(last: int) -> bytes:
    return socket.inet_aton(f"203.0.113.{last}")


def by_hand(stage: Stage) -> None:
    """One changed, one added, one deleted."""
    value = next(iter(stage.items("blocklist").values()))
    stage.put_entries("blocklist", {address(1): PASS.ljust(len(value), b"\0"), address(9): value})
    with stage.pub("blocklist") as fd:
        stage.kernel.maps.delete_many(fd, [address(2)])


def test_the_entries_that_a_generation_lists(stage: Stage) -> None:
    shown = stage.call("show", "edge", "--map", "blocklist")
    assert [(e["key"], e["value"]["action"]) for e in shown["entries"]] == [
        (f"203.0.113.{n}", "XDP_DROP") for n in (1, 2, 3)
    ]
    assert shown["live"] is False


def test_what_was_changed_by_hand_is_marked_and_mended(stage: Stage) -> None:
    clean = stage.call("show", "edge", "--map", "blocklist", "--live")
    assert (clean["differing"], len(clean["entries"])) == (0, 3)
    assert stage.call("diff", "edge", "--live")["lines"] == []
    by_hand(stage)
    shown = stage.call("show", "edge", "--map", "blocklist", "--live")
    states = {e["key"]: e["state"] for e in shown["entries"]}
    assert states == {"203.0.113.1": "changed", "203.0.113.2": "missing", "203.0.113.3": "same", "203.0.113.9": "extra"}
    changed = shown["entries"][0]
    assert (changed["value"]["action"], changed["listed"]["action"]) == ("XDP_PASS", "XDP_DROP")
    text = stage.run("show", "edge", "--map", "blocklist", "--live", json_too=False).out.splitlines()
    assert [line[0] for line in text] == ["~", "-", " ", "+"]
    lines = stage.call("diff", "edge", "--live")["lines"]
    assert len(lines) == 3
    assert lines[0].startswith("~ map blocklist: 203.0.113.1: {action: XDP_PASS")
    assert "listed is {action: XDP_DROP" in lines[0]
    assert stage.run("apply", stage.file).code == 65, "an entry that reloader did not write"
    stage.call("apply", stage.file, "--prune")
    assert stage.call("diff", "edge", "--live")["lines"] == []


def test_state_and_per_cpu_maps_are_shown_by_field(stage: Stage) -> None:
    stage.assert_counts(20)
    (flow,) = stage.call("show", "edge", "--map", "flows", "--live")["entries"]
    assert (flow["state"], flow["value"]["packets"]) == ("same", 20)
    (counters,) = stage.call("show", "edge", "--map", "counters", "--live")["entries"]
    each = counters["value"] if isinstance(counters["value"], list) else [counters["value"]]
    assert sum(one["packets"] for one in each) == 20
    assert stage.call("diff", "edge", "--live")["lines"] == [], "what state holds is no drift"


def test_pins_and_programs_that_are_not_as_recorded(stage: Stage) -> None:
    root = stage.sandbox.bpffs
    stage.kernel.pins.unpin(f"{root}/edge/pub/flows")
    stage.kernel.pins.unpin(stage.paths.prog_pin("edge", 1, "count_flows"))
    with stage.pub("counters") as other:
        stage.kernel.pins.unpin(f"{root}/edge/pub/blocklist")
        stage.kernel.pins.pin(other, f"{root}/edge/pub/blocklist")
    lines = stage.call("diff", "edge", "--live")["lines"]
    assert "~ program count_flows: pin missing; the program is still in use" in lines
    assert "~ map flows: pub/flows is missing" in lines
    assert any(line.startswith("~ map blocklist: pub/blocklist is another map") for line in lines)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "edge", "--live"), "live-needs-map"),
        (("show", "edge", "1", "--map", "flows", "--live"), "live-is-now"),
        (("diff", "edge"), "two-generations"),
        (("diff", "edge", "1"), "two-generations"),
        (("diff", "edge", "1", "1", "--live"), "live-has-no-numbers"),
    ],
)
def test_words_that_make_no_sense(stage: Stage, words: tuple[str, ...], reason: str) -> None:
    done = stage.run(*words)
    assert (done.code, done.error["reason"]) == (64, reason)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "edge", "--map", "nothing"), "does not have a map nothing"),
        (("show", "edge", "--map", "flows"), "does not list entries"),
        (("show", "edge", "--map", "events", "--live"), "ringbuf"),
    ],
)
def test_maps_that_cannot_be_shown(stage: Stage, words: tuple[str, ...], told: str) -> None:
    done = stage.run(*words)
    assert (done.code, told in done.err) == (65, True), done.err
