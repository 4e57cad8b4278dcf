"""What `make soak` looks at must see a leak: an object that the kernel keeps, a descriptor, a lost count."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import soak
from lab.demo import Demo, stage
from lab.sandbox import LabError
from lab.stage import wait_until
from lab.traffic import Generator

pytestmark = pytest.mark.kernel


@pytest.fixture
def demo(_no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Demo]:
    monkeypatch.setattr(soak, "SETTLING", 1)
    monkeypatch.setitem(soak.MOST, "files", 100)  # until twenty generations are stored
    monkeypatch.setattr(soak, "ROUND", ("v2", "v3", "rollback", "v1"))
    with stage() as opened:
        yield opened
        soak.quietly(opened, "remove", "edge", "--state")


def test_reloads_are_counted_and_what_is_held_stays(demo: Demo) -> None:
    with Generator(demo.sandbox.tx, flows=100) as generator:
        done = soak.soak(demo, generator, 0, 12)
    assert (done.rounds, done.reloads) == (3, 12)
    assert [count for count, _ in done.held] == [4, 8, 12]
    assert done.packets > 0
    first, last = done.held[0][1], done.held[-1][1]
    assert last.grown(first) == []
    assert (last.programs, last.links) == (1, 1)


def test_sabotage_a_program_that_is_kept_is_seen(demo: Demo) -> None:
    soak.quietly(demo, "apply", str(demo.write("v1", "192.0.2.66")))
    before = soak.objects(demo)
    (pin,) = (p for p in demo.sandbox.pins() if "/progs/" in p)
    with demo.kernel.pins.get(f"{demo.sandbox.bpffs}/{pin}"):
        soak.quietly(demo, "apply", str(demo.write("v2", "192.0.2.66")))
        kept = soak.objects(demo)
        assert kept["programs"] == before["programs"] + 1
        assert kept["maps"] > before["maps"]
    wait_until(lambda: soak.objects(demo)["programs"] == before["programs"], 10)
    assert soak.objects(demo)["programs"] == before["programs"]


def test_sabotage_a_descriptor_more_each_round_ends_it(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, one_round = [], soak.one_round

    def leaking(on: Demo) -> None:
        one_round(on)
        opened.append(os.open("/dev/null", os.O_RDONLY))

    monkeypatch.setattr(soak, "one_round", leaking)
    monkeypatch.setattr(soak, "FREED", 0.1)
    try:
        with Generator(demo.sandbox.tx, flows=100) as generator, pytest.raises(LabError) as ended:
            soak.soak(demo, generator, 0, 80)
    finally:
        for fd in opened:
            os.close(fd)
    assert "descriptors: 1 more" in str(ended.value)
