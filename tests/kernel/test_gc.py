"""gc removes what is ours and dead, and nothing else: foreign pins and programs stay, and all that serves."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import run
from lab.stage import Stage, wait_until
from reloader.kernel import Fd, LoadRequest, XdpMode

pytestmark = pytest.mark.kernel

OTHERS = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int others(struct xdp_md *ctx) { return XDP_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.apply(stage.spec())
    stage.assert_counts()
    return stage


@pytest.fixture
def theirs(stage: Stage, compile_bpf: Callable[[str], Path]) -> Iterator[Fd]:
    request = LoadRequest(objects=(compile_bpf(OTHERS).read_bytes(),), name="others", programs=("others",))
    loaded = stage.kernel.progs.load(request)
    yield loaded.progs["others"]
    loaded.close()


def everything(stage: Stage) -> list[str]:
    return [*stage.sandbox.pins(), *sorted(str(p.relative_to(stage.records)) for p in stage.records.rglob("*"))]


def collected(stage: Stage, *words: str) -> tuple[list[tuple[str, str]], list[str]]:
    document = stage.call("gc", *words)
    return [(d["kind"], d["path"]) for d in document["removed"]], [k["why"] for k in document["kept"]]


def pin(stage: Stage, source: str, *targets: str) -> list[str]:
    """The object of one pin at other places of the tree too."""
    root, made = stage.sandbox.bpffs, []
    with stage.kernel.pins.get(f"{root}/{source}") as fd:
        for target in targets:
            stage.kernel.pins.mkdir(os.path.dirname(f"{root}/{target}"))
            stage.kernel.pins.pin(fd, f"{root}/{target}")
            made.append(f"{root}/{target}")
    return made


def test_a_sound_host_has_nothing_dead(stage: Stage) -> None:
    before = everything(stage)
    assert collected(stage) == ([], [])
    assert everything(stage) == before


def test_what_is_dead_goes_and_what_is_not_ours_stays(stage: Stage, theirs: Fd) -> None:
    pins, root = stage.kernel.pins, stage.sandbox.bpffs
    foreign = [f"{root}/theirs", f"{root}/edge/theirs", f"{root}/edge/loads/8/progs/others"]
    for path in foreign:
        pins.mkdir(os.path.dirname(path))
        pins.pin(theirs, path)
    (stage.records / "cache").mkdir(exist_ok=True)
    before = everything(stage)
    (program,) = (p for p in stage.sandbox.pins() if "/progs/count" in p)
    dead = pin(stage, "edge/pub/blocklist", "edge/loads/7/maps/blocklist", "edge/pub/gone", "edge/import/flows")
    stray = stage.records / "objects" / ("0" * 64)
    stray.write_bytes(b"x")
    fragment = stage.records / "objects" / ".half.abc.tmp"
    fragment.write_bytes(b"x")
    cached = stage.records / "cache" / "0.json"
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(b"0\n{}")
    dead += [str(stray), str(fragment), str(cached)]
    with_dead = everything(stage)
    planned, kept = collected(stage, "--dry-run")
    assert sorted(path for _, path in planned) == sorted(dead)
    assert everything(stage) == with_dead, "a dry run touches nothing"
    removed, _ = collected(stage)
    assert removed == planned
    assert kept == ["it holds a program of another owner"]
    assert everything(stage) == before
    assert program in stage.sandbox.pins()
    for path in foreign:
        pins.unpin(path)
    shutil.rmtree(f"{root}/edge/loads/8")
    stage.assert_counts()


def test_a_link_that_is_attached_is_never_dead(stage: Stage) -> None:
    """Not even when no record knows it: its pin may be the only one. Once its interface is gone it is."""
    rx, root = stage.sandbox.rx, stage.sandbox.bpffs
    run("ip", "-n", rx.name, "link", "add", "extra0", "type", "veth", "peer", "name", "extra1")
    interface = stage.kernel.net.interface("extra0", rx.netns)
    assert interface
    with (
        stage.kernel.pins.get(stage.paths.prog_pin("edge", 1, "count_flows")) as program,
        stage.kernel.links.create_xdp(program, ifindex=interface.ifindex, mode="native", netns=rx.netns) as link,  # type: ignore[arg-type]
    ):
        stage.kernel.pins.pin(link, f"{root}/edge/links/xdp:extra0")
    assert collected(stage) == ([], ["the link is not in a record, but it is attached"])
    assert stage.attached("extra0")
    run("ip", "-n", rx.name, "link", "del", "extra0")
    assert collected(stage)[0] == [("pin", f"{root}/edge/links/xdp:extra0")]
    stage.assert_counts()


def test_a_program_that_netlink_attached_is_not_dead(stage: Stage) -> None:
    """Somebody attached ours by hand, without a link, and its records are gone."""
    stage.apply(stage.spec("v2"))
    rx, root = stage.sandbox.rx, stage.sandbox.bpffs
    (link,) = (p for p in stage.sandbox.pins() if "/links/" in p)
    stage.kernel.pins.unpin(f"{root}/{link}")
    wait_until(lambda: not stage.attached())
    interface = stage.kernel.net.interface(rx.interface, rx.netns)
    assert interface
    with stage.kernel.pins.get(stage.paths.prog_pin("edge", 2, "count_flows")) as program:
        stage.kernel.links.give_back_xdp(program, ifindex=interface.ifindex, mode=XdpMode.NATIVE, netns=rx.netns)
    shutil.rmtree(stage.records / "pipelines")
    removed, kept = collected(stage)
    assert not [path for kind, path in removed if kind == "pin"]
    assert "`reloader recover edge`" in kept[0]


def test_lost_records_make_nothing_dead_that_serves(stage: Stage) -> None:
    for entry in stage.records.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    before = stage.sandbox.pins()
    removed, kept = collected(stage)
    assert removed == []
    assert "`reloader recover edge`" in kept[0]
    assert stage.sandbox.pins() == before
    stage.assert_counts()


def test_state_that_holds_something_is_never_dead(stage: Stage) -> None:
    """Parked, and its records lost: a pin that only a person may remove. Empty, it goes."""
    stage.call("remove", "edge")
    shutil.rmtree(stage.records / "pipelines")
    removed, kept = collected(stage)
    assert {kind for kind, _ in removed} <= {"blob", "cache"}
    assert len([why for why in kept if "it holds" in why]) == 2
    root, folder = stage.sandbox.bpffs, "edge/state"
    for name in stage.kernel.pins.listdir(f"{root}/{folder}"):
        if name.startswith("flows"):
            with stage.kernel.pins.get(f"{root}/{folder}/{name}") as fd:
                stage.kernel.maps.delete_many(fd, list(stage.kernel.maps.items(fd)))
        else:
            stage.kernel.pins.unpin(f"{root}/{folder}/{name}")
    (gone,) = collected(stage)[0]
    assert "/state/flows" in gone[1]
    assert stage.sandbox.pins() == []


def test_an_open_transaction_and_damaged_records_are_left_alone(stage: Stage) -> None:
    pin(stage, "edge/pub/blocklist", "edge/loads/7/maps/blocklist")
    journal = stage.paths.journal_file("edge", "00000000000000000001-1")
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(b"")
    assert collected(stage) == ([], ["a transaction is open; run `reloader recover edge` first"])
    journal.unlink()
    current = stage.paths.current_file("edge")
    sound = current.read_bytes()
    current.write_bytes(b"{}")
    removed, kept = collected(stage)
    assert removed == []
    assert "cannot be read" in kept[0]
    current.write_bytes(sound)
    assert len(collected(stage)[0]) == 1


def test_a_compiled_wish_that_is_being_written_stays(stage: Stage) -> None:
    fragment = stage.records / "cache" / ".x.tmp"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_bytes(b"x")
    assert collected(stage)[0] == []
    os.utime(fragment, (time.time() - 7200,) * 2)
    assert collected(stage)[0] == [("fragment", str(fragment))]
