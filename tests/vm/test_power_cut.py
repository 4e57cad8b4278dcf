"""The boot after a power cut in the middle of a reload: the last good generation is loaded from stored objects.

Runs in the machine only, see power_cut.py. In order: each test goes on where the one before it stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab.stage import checked
from reloader import cli
from tests.vm.power_cut import PACKETS, Place

pytestmark = [pytest.mark.kernel, pytest.mark.vm]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["RELOADER_VM_FOLDER"])


@pytest.fixture(scope="module")
def place(folder: Path) -> Place:
    return Place(folder / "power")


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    """What was true a moment before."""
    found: dict[str, Any] = json.loads((folder / "held.facts").read_text())
    return found


def report(place: Place, *words: str) -> Any:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main([*words, *place.where, "-o", "json"]) == 0
    return checked(out.getvalue())


def test_the_power_went_in_the_middle(place: Place, facts: dict[str, Any]) -> None:
    """The swap was done, the commit was not; nothing of it is in this kernel."""
    assert facts["boot_id"] != place.kernel.boot_id()
    assert [journal for journal in facts["journals"] if Path(journal).exists()], "the journal did not outlive the cut"
    assert place.interface().xdp_prog_id == 0
    assert report(place, "status")["pipelines"][0]["state"] == "unfinished"


@pytest.fixture(scope="module")
def loaded(place: Place) -> list[str]:
    """The sources are gone; only the records are left."""
    for source in place.folder.glob("*.*"):
        source.unlink()
    lines: list[str] = report(place, "recover", "--boot")["recovered"]
    return lines


def test_the_last_good_generation_serves_again(place: Place, loaded: list[str]) -> None:
    assert loaded
    serving = place.interface().xdp_prog_id
    assert place.kernel.progs.metadata(serving)["pipeline"] == "edge"
    pipeline = report(place, "status")["pipelines"][0]
    assert pipeline["attachments"][0]["reason"] == "as-recorded"
    assert report(place, "show", "edge")["objects"][0]["path"].endswith("v1.bpf.o"), "not version 1"
    assert not list(place.records.glob("pipelines/edge/journal/*"))


def test_status_says_that_state_started_empty(place: Place, loaded: list[str]) -> None:
    notes = "\n".join(report(place, "status")["pipelines"][0]["notes"])
    assert "state map flows started empty" in notes
    place.send()
    assert place.wait_for(PACKETS) == PACKETS, "not the packets of this boot and no others"


def test_the_reload_can_be_done_now(place: Place, loaded: list[str]) -> None:
    before = place.counted()
    assert place.apply("v2") == 0
    place.send()
    assert place.wait_for(before + PACKETS) == before + PACKETS
    assert cli.main(["remove", "edge", "--state", *place.where]) == 0
    assert place.interface().xdp_prog_id == 0
