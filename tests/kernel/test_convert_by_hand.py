"""State maps that no BTF describes: the registry says by hand what lies where, and they move by rules like others."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader.errors import InputError, RefusedChange
from reloader.wording.message import code_of
from tests.support.conversions import Shifting

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct flow { %(fields)s };
/* Packets and bytes by length; declared by size, as older objects do. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(key_size, 4);
	__uint(value_size, %(size)s);
} flows SEC(".maps");
SEC("xdp") int count_flows(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	struct flow first = {}, *flow;

	bpf_map_update_elem(&flows, &length, &first, BPF_NOEXIST);
	flow = bpf_map_lookup_elem(&flows, &length);
	if (!flow)
		return XDP_DROP;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
FIELDS = {"v1": "__u64 packets; __u64 bytes;", "v2": "__u64 bytes; __u64 packets;"}
ORDER = {"v1": ("packets", "bytes"), "v2": ("bytes", "packets")}


def version(names: tuple[str, str]) -> str:
    fields = ", ".join(f"{{name: {name}, type: u64, at: {at}}}" for name, at in zip(names, (0, 8), strict=True))
    return f"""
    layout: {{key: u32, value: {{struct: flow, size: 16, fields: [{fields}]}}}}
    merge: {{packets: sum, bytes: sum}}
"""


@pytest.fixture
def stage(sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path) -> Shifting:
    sources = {v: SOURCE % {"fields": fields, "size": "sizeof(struct flow)"} for v, fields in FIELDS.items()}
    made = Shifting(sandbox, tmp_path, {v: compile_bpf(text) for v, text in sources.items()})
    made.attached = {"count_flows": sandbox.rx}
    made.record("flows", version(ORDER["v1"]), version(ORDER["v2"]))
    return made


def apply(stage: Shifting, name: str) -> None:
    stage.maps = f"flows: {{role: state, layout: {name[1:]}}}"
    stage.apply(name)


def counts(stage: Shifting) -> dict[str, int]:
    (value,) = stage.contents("flows").values()
    return dict(zip(ORDER[stage.version], struct.unpack("=2Q", value), strict=True))


def test_fields_that_only_the_registry_knows_change_places_under_traffic(stage: Shifting) -> None:
    apply(stage, "v1")
    with Generator(stage.sandbox.tx, flows=10) as generator:
        generator.start(rate=100_000)
        for name in ("v2", "v1", "v2"):
            time.sleep(0.05)
            apply(stage, name)
        sent = generator.stop().delivered
        end = time.monotonic() + 2
        while counts(stage)["packets"] < sent and time.monotonic() < end:
            time.sleep(0.01)
    assert sent > 5_000
    assert counts(stage) == {"packets": sent, "bytes": 64 * sent}


def test_the_same_version_is_the_very_same_map(stage: Shifting) -> None:
    apply(stage, "v1")
    before = stage.pins_of("flows")
    stage.object("v1", _again(stage))
    apply(stage, "v1")
    assert stage.pins_of("flows") == before


def _again(stage: Shifting) -> Path:
    """The same object with other bytes: debug sections that nobody reads."""
    path = stage.folder / "again.bpf.o"
    path.write_bytes((stage.folder / "v1.bpf.o").read_bytes() + bytes(8))
    return path


def test_two_versions_of_one_size_are_not_guessed_between(stage: Shifting) -> None:
    stage.maps = "flows: {role: state}"
    with pytest.raises(InputError) as wrong:
        stage.apply("v1")
    (problem,) = wrong.value.problems
    assert code_of(problem.message) == "layout-not-chosen"
    assert "the versions 1, 2" in problem.message


def test_without_a_word_in_the_registry_it_is_refused(stage: Shifting) -> None:
    stage.schema, stage.maps = "", "flows: {role: state}"
    stage.apply("v1")
    with pytest.raises(RefusedChange) as refused:
        stage.apply("v2")
    assert refused.value.reason == "undescribed"
    assert "write its layout into a state schema" in refused.value.detail
