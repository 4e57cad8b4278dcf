"""F5 on the real kernel: flags and unions whose members change are converted under their new names, and back."""

from __future__ import annotations

import re
import shutil
import struct
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
struct conn { __u64 packets; %s __u16 nat; };
/* One connection, as the first packet found it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct conn);
} conns SEC(".maps");
SEC("xdp") int track(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct conn first = { .packets = 1, .nat = 7, %s }, *conn = bpf_map_lookup_elem(&conns, &key);

	if (conn)
		__sync_fetch_and_add(&conn->packets, 1);
	else
		bpf_map_update_elem(&conns, &key, &first, BPF_NOEXIST);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
OLD = ("__u16 rx:1, tx:1, seen:1, reserved:13;", ".tx = 1, .seen = 1")
NEW = ("__u16 rx:1, tx:1, seen:1, dsr:1, reserved:12;", ".tx = 1, .seen = 1, .dsr = 1")
UNION = ("union { __u64 bytes; __u64 x; };", ".bytes = 5000")
ALONE = ("__u64 bytes;", ".bytes = 1")


def spec(stage: Stage, name: str) -> dict[str, Any]:
    maps = {"conns": {"role": "state"}}
    return {"objects": [name], "attach": [stage.attach("track")], "maps": maps, "stateSchema": "conns"}


def record(stage: Stage, path: Path, name: str, answer: int = 0) -> None:
    """`state new`, with one answer to its questions; without one it is refused."""
    shutil.copyfile(path, stage.folder / name)
    words = ["--schema", "conns", "--dir", str(stage.folder / "state")]
    assert main(["state", "new", str(stage.folder / name), *words]) == 0
    file = max((stage.folder / "state" / "conns").iterdir())
    text = re.sub(r"\n *# QUESTION: how do two values.*\n.*keep_old", "", file.read_text())
    if QUESTION in text:
        assert stage.run("validate", stage.write(spec(stage, name)), where=False).code == 65
    head, _, asked = text.partition(f"    {QUESTION}")
    answers = [line.strip(" #").split("; ") for line in asked.splitlines()[1:]]
    file.write_text(head + "".join(f"    {part}\n" for part in answers[answer]) if asked else text)
    assert main(["state", "check", str(stage.folder / name), *words]) == 0


def conn(stage: Stage) -> tuple[int, bytes]:
    """(packets, the bytes behind them)."""
    (value,) = stage.items("conns").values()
    return struct.unpack_from("<Q", value)[0], value[8:]


def counted(stage: Stage, packets: int) -> None:
    stage.send(10)
    wait_until(lambda: conn(stage)[0] == packets)
    assert conn(stage)[0] == packets


@pytest.mark.parametrize("pair", [(OLD, NEW), (UNION, ALONE)], ids=["flags", "union"])
def test_f5_flags_and_unions_survive_the_change_of_a_member_and_the_way_back(
    stage: Stage, compile_bpf: Callable[[str], Path], pair: tuple[tuple[str, str], tuple[str, str]]
) -> None:
    old, new = (compile_bpf(SOURCE % words) for words in pair)
    record(stage, old, "old.bpf.o")
    stage.apply(spec(stage, "old.bpf.o"))
    stage.send(1)
    wait_until(lambda: bool(stage.items("conns")))
    counted(stage, 11)
    _, before = conn(stage)
    record(stage, new, "new.bpf.o")
    stage.apply(spec(stage, "new.bpf.o"))
    counted(stage, 21)
    assert conn(stage)[1] == before
    stage.call("rollback", "edge")
    counted(stage, 31)
    assert conn(stage)[1] == before


def test_f5_a_loss_that_was_accepted_is_named_field_by_field(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    record(stage, compile_bpf(SOURCE % OLD), "old.bpf.o")
    stage.apply(spec(stage, "old.bpf.o"))
    record(stage, compile_bpf(SOURCE % NEW), "new.bpf.o", answer=1)
    file = stage.write(spec(stage, "new.bpf.o"))
    assert stage.run("apply", file).code == 65
    (line,) = [x for x in stage.call("plan", file, "--allow-lossy-rollback")["pipelines"][0]["lines"] if x["state"]]
    lost = [note.split()[1] for note in line["notes"] if note.startswith("lost: ")]
    assert lost == ["value.rx", "value.tx", "value.seen", "value.reserved"]
