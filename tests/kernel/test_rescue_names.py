"""Trap `rescue-names`: the rescue script where names are words to a shell, or options to the tools that it calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.stage import Stage, wait_until
from tests.kernel.test_rescue import rescue, rescued, sweep

pytestmark = pytest.mark.kernel

NAMES = (
    "-q", "--help", "a;b", "$(x)", "`id`", "it's", 'q"q', "a&b|c", "\\n", "~", "#x", "-", "é", "dev", "{a,b}", "!1",
)  # fmt: skip


def rename(stage: Stage, name: str) -> None:
    """The receiving end's interface gets another name; as a user would, by ip."""
    rx = stage.sandbox.rx
    for words in (("dev", rx.interface, "down"), ("dev", rx.interface, "name", name), ("dev", name, "up")):
        rx.run("ip", "link", "set", *words)
    stage.sandbox.rx = replace(rx, interface=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_rescue_script_for_any_interface_name(stage: Stage, name: str) -> None:
    rename(stage, name)
    stage.apply(stage.spec("v1"))
    stage.assert_counts()
    before = stage.attached()
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    assert stage.attached() not in (0, before)
    stage.assert_counts()
    assert rescue(stage, 1).returncode == 0, "over what an earlier run put there"
    stage.assert_counts()
    sweep(stage)


@pytest.mark.parametrize("name", ["-q", "a;b", "$(x)", "it's", "dev", "-"])
def test_a_rescue_script_for_traffic_control(stage: Stage, name: str, compile_bpf: Callable[[str], Path]) -> None:
    source = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} seen SEC(".maps");
SEC("tc") int look(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero);
	if (count) __sync_fetch_and_add(count, 1);
	return TC_ACT_OK;
}
char _license[] SEC("license") = "GPL";
"""
    rename(stage, name)
    attach = {"program": "look", "type": "tcx", "interface": name, "netns": stage.sandbox.rx.netns}
    stage.apply({"objects": [stage.put(compile_bpf(source))], "attach": [attach], "maps": {"seen": {"role": "state"}}})
    shutil.copy(shutil.which("tc") or "/sbin/tc", stage.folder / "tc")
    (stage.folder / "bin").mkdir(exist_ok=True)
    (stage.folder / "tc").rename(stage.folder / "bin" / "tc")
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    count = int.from_bytes(rescued(stage, "seen")[bytes(4)], "little")
    stage.send(5)
    wait_until(lambda: int.from_bytes(rescued(stage, "seen")[bytes(4)], "little") >= count + 5)
    assert int.from_bytes(rescued(stage, "seen")[bytes(4)], "little") == count + 5
    stage.call("remove", "edge", "--state")
    assert not stage.sandbox.pins()


@pytest.mark.parametrize("odd", ["with space", "it's; $(touch x)", 'q"}b`', "-dash", "back\\nslash", "* ?"])
def test_a_rescue_script_for_any_path(stage: Stage, odd: str) -> None:
    """Pins and records in folders with such names, entries to fill in and state to take up."""
    stage.sandbox.bpffs = f"{Path(stage.sandbox.bpffs).parent}/{odd.replace('.', '')}"
    Path(stage.sandbox.bpffs).mkdir(mode=0o700)
    stage.records = stage.sandbox.dir / odd
    stage.records.mkdir(mode=0o700)
    entries = [{"key": f"192.0.2.{n}", "value": {"action": "XDP_DROP"}} for n in range(60, 80)]
    stage.apply(stage.spec("v1", maps={"blocklist": {"role": "config", "entries": entries}}))
    stage.assert_counts()
    wanted, before = stage.items("blocklist"), stage.attached()
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    assert stage.attached() not in (0, before)
    assert rescued(stage, "blocklist") == wanted
    stage.assert_counts()
    assert not (stage.folder / "x").exists()
    sweep(stage)


def test_a_rescue_script_of_relative_paths(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from anywhere, it finds records that were named relative to where reloader ran."""
    monkeypatch.chdir(stage.sandbox.dir)
    stage.records = Path("records")
    stage.apply(stage.spec("v1"))
    script = stage.paths.rescue_file("edge", 1).absolute()
    monkeypatch.chdir("/")
    stage.records = stage.sandbox.dir / "records"
    assert stage.paths.rescue_file("edge", 1) == script
    done = rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    stage.assert_counts()
    sweep(stage)
