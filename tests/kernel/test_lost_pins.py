"""A pin somebody removed, while a running program holds the map: seen at once, and put back with all it holds."""

from __future__ import annotations

import pytest

from lab.traffic import Generator, settle
from tests.kernel.test_main_job import Stage, stage

pytestmark = pytest.mark.kernel
__all__ = ["stage"]


def lose(stage: Stage, part: str) -> list[str]:
    """Remove every pin whose path has this part."""
    pins = [p for p in stage.sandbox.pins() if part in p]
    assert pins
    for pin in pins:
        stage.kernel.pins.unpin(f"{stage.sandbox.bpffs}/{pin}")
    return pins


def count(stage: Stage, packets: int) -> None:
    with Generator(stage.sandbox.tx, flows=4) as generator:
        generator.send(packets)
        settle(generator, lambda: stage.seen().packets)


@pytest.mark.parametrize("part", ["/state/flows", "/pub/flows", "/maps/events", "/maps/blocklist", "/progs/"])
def test_apply_puts_a_lost_pin_back(stage: Stage, part: str) -> None:
    stage.apply("v1", "10.0.0.1")
    count(stage, 100)
    serving, pins = stage.attached(), stage.sandbox.pins()
    lose(stage, part)
    assert "restores the pin" in stage.call("status")["pipelines"][0]["problems"][0]
    result = stage.apply("v1", "10.0.0.1")["pipelines"][0]
    assert "restored" in result["why"]
    assert (stage.attached(), stage.sandbox.pins()) == (serving, pins), "the same program serves on"
    assert stage.seen().in_flows == 100
    assert stage.apply("v1", "10.0.0.1")["pipelines"][0]["changed"] is False
    assert stage.call("status")["pipelines"][0]["problems"] == []


@pytest.mark.parametrize("part", ["/state/", "/progs/"])
def test_another_version_takes_over_what_lost_its_pin(stage: Stage, part: str) -> None:
    stage.apply("v1")
    count(stage, 100)
    lose(stage, part)
    stage.apply("v2")
    assert stage.seen().in_flows == 100


def test_state_whose_pin_was_lost_is_parked_all_the_same(stage: Stage) -> None:
    stage.apply("v1")
    count(stage, 100)
    lose(stage, "/state/")
    stage.call("remove", "edge")
    stage.apply("v1")
    assert stage.seen().in_flows == 100
