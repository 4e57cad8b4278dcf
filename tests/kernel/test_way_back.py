"""Going back takes away what we did, all of it and nothing else: not what others wrote, not by half."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.kernel.test_main_job import Stage, stage
from tests.support import faults

pytestmark = pytest.mark.kernel
__all__ = ["stage"]

OURS, THEIRS, NEXT = (bytes([192, 0, 2, n]) for n in (1, 2, 3))


def shared(stage: Stage, *blocked: str) -> Path:
    """The pipeline with a blocklist into which others write too."""
    head = stage.write("v1").read_text().partition("    blocklist:")[0]
    entries = ", ".join(f"{{key: {b}, value: {{action: XDP_DROP}}}}" for b in blocked)
    stage.file.write_text(f"{head}    blocklist: {{role: config, prune: false, entries: [{entries}]}}\n")
    return stage.file


def held(stage: Stage) -> set[bytes]:
    with stage.pub("blocklist") as fd:
        return set(stage.kernel.maps.items(fd))


def test_the_way_back_leaves_what_others_wrote_meanwhile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.call("apply", shared(stage, "192.0.2.1"))

    def written_and_failed(*_: Any) -> NoReturn:
        with stage.pub("blocklist") as fd:
            size = stage.kernel.maps.info(fd).value_size
            assert NEXT in held(stage)
            stage.kernel.maps.update_many(fd, [THEIRS], [bytes(size)])
            stage.kernel.maps.delete_many(fd, [OURS])
        raise OSError(5, "injected")

    faults.inject(monkeypatch, "records of a commit", written_and_failed)
    stage.call("apply", shared(stage, "192.0.2.1", "192.0.2.3"), code=3)
    assert held(stage) == {THEIRS}, "what others wrote and deleted stays so; what we added is gone"


class Mistake(Exception):
    """What nobody thought of."""


@pytest.mark.parametrize("where", ["an op", "the commit"])
def test_a_mistake_of_ours_takes_all_back_and_is_not_hidden(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    stage.apply("v1", "192.0.2.1")
    serving, pins = stage.attached(), stage.sandbox.pins()
    changed = stage.write("v2")

    point = "swap a link" if where == "an op" else "records of a commit"
    true, calls = faults.real(point), itertools.count()

    def mistaken(*given: Any) -> Any:
        if next(calls):
            return true(*given)
        assert stage.sandbox.pins() != pins
        raise Mistake

    faults.inject(monkeypatch, point, mistaken)
    with pytest.raises(Mistake):
        stage.call("apply", changed)
    monkeypatch.undo()
    assert (stage.attached(), stage.sandbox.pins()) == (serving, pins)
    assert stage.call("status")["pipelines"][0]["state"] == "serving"


def test_rollback_passes_over_what_is_the_same(stage: Stage) -> None:
    """Removed and applied again, the same stands there twice; going back to itself is no going back."""
    stage.apply("v1")
    stage.apply("v1", "192.0.2.1")
    stage.call("remove", "edge")
    stage.apply("v1", "192.0.2.1")
    assert stage.call("rollback", "edge")["pipelines"][0]["changed"] is True
    assert held(stage) == set()
    assert stage.call("rollback", "edge", code=65)["error"]["reason"] == "nothing-to-roll-back-to"
