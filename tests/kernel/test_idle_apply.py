"""An apply that finds nothing to do: the short way says what the long way says, and loads next to nothing."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from bench.stage import Stage, stage
from lab.traffic import ROOT
from reloader.bpf.live import LiveKernel
from reloader.commands.idle import _unchanged
from reloader.commands.render import result_json
from reloader.lifecycle.carry_out import Result

pytestmark = pytest.mark.kernel

LISTED = "entries: [{key: 192.0.2.66, value: {action: XDP_DROP}}]"
LONG_WAY = {
    "reloader.lifecycle.apply",
    "reloader.plan.planner",
    "reloader.pipeline.compile",
    "reloader.structs.btf",
    "reloader.places.place",
    "reloader.places.interface.xdp",
    "yaml",
}


@pytest.fixture
def applied(_no_leaks: None) -> Iterator[Stage]:
    with stage() as opened:
        time.sleep(0.1)  # objects written a moment before they are read are not cached
        opened.seconds("apply", opened.write(entries=LISTED))
        opened.seconds("apply", opened.folder / "edge.yaml")
        yield opened


def again(opened: Stage, *more: str) -> tuple[dict[str, object], set[str]]:
    """The result of another apply, and the modules it loaded."""
    python, *words = opened.reloader("apply", opened.folder / "edge.yaml", *more, "-o", "json")
    done = subprocess.run([python, "-X", "importtime", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return json.loads(done.stdout)["pipelines"][0], loaded


def test_nothing_to_do_loads_no_engine(applied: Stage) -> None:
    result, loaded = again(applied)
    assert result == result_json(Result(pipeline="edge", changed=False, generation=1, plan=None))
    assert "reloader.observe.in_force" in loaded
    assert not LONG_WAY & loaded


def test_an_entry_changed_behind_our_back_goes_the_long_way(applied: Stage) -> None:
    maps, pins = LiveKernel().maps, LiveKernel().pins
    with pins.get(f"{applied.sandbox.bpffs}/edge/pub/blocklist") as fd:
        maps.update_many(fd, [bytes(4)], [bytes(4)])
        result, loaded = again(applied, "--prune")
        assert result["changed"] is True
        assert loaded >= {"reloader.lifecycle.apply", "reloader.plan.planner"}
        assert bytes(4) not in maps.items(fd)


def test_the_short_answer_is_the_long_one() -> None:
    long = Result(pipeline="edge", changed=False, generation=7, plan=None)
    assert _unchanged("edge", 7) == result_json(long)
