"""F8: `--reset` of a state map needs no rule and no record of its layout, there and back; other maps keep theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Stage, wait_until
from reloader.cli import main
from reloader.pipeline.registry.registry import QUESTION

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 verdict = XDP_DROP;
struct element { __u64 packets; %s struct bpf_timer timer; };
/* Elements that time out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct element);
} timers SEC(".maps");
/* Packets in all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} all SEC(".maps");
static int fired(void *map, __u32 *key, struct element *element) { return 0; }
SEC("xdp") int look(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&all, &key);
	struct element *element, empty = {};

	if (count)
		__sync_fetch_and_add(count, 1);
	bpf_map_update_elem(&timers, &key, &empty, BPF_NOEXIST);
	element = bpf_map_lookup_elem(&timers, &key);
	if (element) {
		bpf_timer_init(&element->timer, &timers, 1);
		bpf_timer_set_callback(&element->timer, fired);
		__sync_fetch_and_add(&element->packets, 1);
	}
	return verdict;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def stage(stage: Stage, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Stage:
    shutil.copyfile(compile_bpf(SOURCE % ""), tmp_path / "old.bpf.o")
    shutil.copyfile(compile_bpf(SOURCE % "__u32 extra;"), tmp_path / "new.bpf.o")
    assert record(stage, "old.bpf.o") == 0
    stage.apply(spec(stage, "old.bpf.o"))
    counted(stage, 10)
    return stage


def record(stage: Stage, name: str) -> int:
    done = main(["state", "new", str(stage.folder / name), "--schema", "timed", "--dir", str(stage.folder / "state")])
    for file in (stage.folder / "state" / "timed").iterdir():
        kept = [x for x in file.read_text().splitlines() if QUESTION not in x and "keep_old" not in x]
        file.write_text("\n".join(kept) + "\n")
    return done


def spec(stage: Stage, name: str, **rodata: Any) -> dict[str, Any]:
    maps = {"timers": {"role": "state"}, "all": {"role": "state"}}
    more = {"rodata": rodata} if rodata else {}
    return {
        "objects": [name], "attach": [stage.attach("look")], "maps": maps, "stateSchema": "timed", **more,
    }  # fmt: skip


def total(stage: Stage) -> int:
    return int.from_bytes(stage.items("all")[bytes(4)], "little")


def counted(stage: Stage, packets: int) -> None:
    before = total(stage)
    stage.send(packets)
    wait_until(lambda: total(stage) == before + packets)
    assert total(stage) == before + packets


def refused(stage: Stage, *words: str | Path) -> Any:
    before = stage.attached()
    done = stage.run(*words)
    assert done.code == 65
    assert stage.attached() == before
    return done.error


def test_f8_reset_needs_no_record_of_the_layout_there_and_back(stage: Stage) -> None:
    file = stage.write(spec(stage, "new.bpf.o"))
    (problem,) = refused(stage, "apply", file)["problems"]
    assert (problem["reason"], problem["values"]) == ("layout-unrecorded", {"map": "timers", "schema": "timed"})
    assert "--reset timers" in problem["hint"]
    assert stage.run("validate", file, where=False).code == 65
    assert stage.call("apply", file, "--reset", problem["values"]["map"])["pipelines"][0]["generation"] == 2
    counted(stage, 10)
    assert total(stage) == 20  # what is not reset is kept
    assert stage.call("apply", file)["pipelines"][0]["changed"] is False
    assert stage.apply(spec(stage, "new.bpf.o", verdict=2))["generation"] == 3  # the very same map serves on
    counted(stage, 10)

    file = stage.write(spec(stage, "old.bpf.o"))
    refused(stage, "apply", file)
    assert stage.call("apply", file, "--reset", "timers")["pipelines"][0]["generation"] == 4
    counted(stage, 10)
    assert total(stage) == 40


def test_f8_a_rollback_past_a_timer_takes_the_same_word(stage: Stage) -> None:
    stage.call("apply", stage.write(spec(stage, "new.bpf.o")), "--reset", "timers")
    refused(stage, "rollback", "edge")
    stage.call("rollback", "edge", "--reset", "timers")
    counted(stage, 10)
    assert total(stage) == 20


def test_f8_a_layout_with_a_timer_can_be_recorded_and_the_old_object_stays_good(stage: Stage) -> None:
    assert record(stage, "new.bpf.o") == 0
    words = ["--schema", "timed", "--dir", str(stage.folder / "state")]
    assert main(["state", "check", str(stage.folder / "new.bpf.o"), *words]) == 0
    assert stage.run("validate", stage.write(spec(stage, "old.bpf.o")), where=False).code == 0
    stage.apply(spec(stage, "old.bpf.o", verdict=2))
    file = stage.write(spec(stage, "new.bpf.o"))
    refused(stage, "apply", file)
    stage.call("apply", file, "--reset", "timers")
    counted(stage, 10)


@pytest.mark.parametrize("text", [f"{QUESTION}: what of it?\n", "layout: [\n", ""])
def test_f8_reset_needs_no_good_file_of_that_map(stage: Stage, text: str) -> None:
    draft = stage.folder / "state" / "timed" / "timers.2.yaml"
    draft.write_text(text)
    file = stage.write(spec(stage, "new.bpf.o"))
    refused(stage, "apply", file)
    stage.call("apply", file, "--reset", "timers")
    counted(stage, 10)


def test_f8_a_bad_file_of_another_map_is_still_refused(stage: Stage) -> None:
    (stage.folder / "state" / "timed" / "all.2.yaml").write_text(f"{QUESTION}: what of it?\n")
    refused(stage, "apply", stage.write(spec(stage, "new.bpf.o")), "--reset", "timers")


def test_f8_without_a_word_a_layout_that_was_never_recorded_is_refused_at_the_first_apply_too(stage: Stage) -> None:
    stage.call("remove", "edge", "--state")
    refused_problems = stage.run("apply", stage.write(spec(stage, "new.bpf.o"))).error["problems"]
    assert [p["reason"] for p in refused_problems] == ["layout-unrecorded"]
    stage.call("apply", stage.file, "--reset", "timers")
    counted(stage, 10)
