"""A place that can do only what it must: no packet count, no panic, no rescue script, no wake-up, no packet tests.

XDP plays it, without its methods for those. Places on cgroups are like that.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.stage import Stage
from tests.support import faults

pytestmark = pytest.mark.kernel


@pytest.fixture
def bare(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    faults.inject(monkeypatch, "panic at a place", staticmethod(lambda _: None))
    faults.inject(monkeypatch, "traffic at a place", lambda *_: None)
    faults.inject(monkeypatch, "rescue of a place", lambda *_: None)
    faults.inject(monkeypatch, "packets of a place", None)
    stage.apply(stage.spec("v1"))
    yield stage
    stage.call("remove", "edge", "--state")
    assert not stage.sandbox.pins()


def test_it_serves_all_the_same(bare: Stage) -> None:
    before = bare.attached()
    bare.apply(bare.spec("v2"))
    assert bare.attached() not in (0, before)
    bare.assert_counts()
    (shown,) = bare.call("status", "edge")["pipelines"]
    assert shown["state"] == "serving"
    bare.call("rollback", "edge")
    bare.assert_counts()


def test_doctor_says_nothing_of_packets_that_it_cannot_count(bare: Stage) -> None:
    found = bare.run("doctor").document["findings"]
    assert [f["reason"] for f in found if f["check"] == "pipeline"] == ["as-recorded"]
    assert not [f for f in found if f["check"] == "arrivals"]


def test_a_panic_leaves_it_and_says_so(bare: Stage) -> None:
    serving = bare.attached()
    done = bare.run("panic", "edge", "--open")
    assert done.code == 4
    assert "its program runs on" in done.err
    assert bare.attached() == serving
    assert not [pin for pin in bare.sandbox.pins() if "/panic/" in pin]


def test_the_rescue_script_leaves_its_link(bare: Stage) -> None:
    text = bare.paths.rescue_file("edge", 1).read_text()
    assert "plain tools cannot attach it" in text
    assert "rm -f" not in text
