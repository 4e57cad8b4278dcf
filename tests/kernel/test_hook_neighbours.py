"""Others on the tcx hook and in classic traffic control: named, removed on purpose only, and given back."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from lab.sandbox import Sandbox
from lab.stage import ROOT, Stage, on_stage, wait_until
from reloader import fault_points
from reloader.bpf import netlink
from reloader.errors import KernelError
from tests.kernel.test_state_transfer import KILLER
from tests.support import faults

pytestmark = pytest.mark.kernel

OURS = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }}
n SEC(".maps");
SEC("tc") int ours(struct __sk_buff *skb)
{{
    __u32 key = 0;
    __u64 *count = bpf_map_lookup_elem(&n, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    return {verdict};
}}
char LICENSE[] SEC("license") = "GPL";
"""
THEIRS = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int guard(struct __sk_buff *skb) { return 2; }
SEC("tc") int first(struct __sk_buff *skb) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


class Hook:
    """Both sides of one tcx hook: our pipelines, and filters made with plain `tc`."""

    def __init__(self, stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
        self.stage, self.compile = stage, compile_bpf
        self.theirs = compile_bpf(THEIRS)

    def document(self, verdict: int = 0, name: str = "edge", program: str = "ours", **more: Any) -> Path:
        rx = self.stage.sandbox.rx
        path = self.compile(OURS.format(verdict=verdict)) if program == "ours" else self.theirs
        attach = {"program": program, "type": "tcx", "interface": rx.interface, "netns": rx.netns, **more}
        maps = {"n": {"role": "state"}} if program == "ours" else {}
        spec = {"objects": [self.stage.put(path, f"{name}.bpf.o")], "attach": [attach], "maps": maps}
        text = json.dumps(self.stage.document(spec, name))
        file = self.stage.folder / f"{name}.yaml"
        file.write_text(text)
        return file

    def tc(self, *words: str) -> str:
        return self.stage.sandbox.rx.run("tc", *words)

    def add_filter(self, *where: str, direction: str = "ingress", program: str = "guard", da: bool = True) -> None:
        device = self.stage.sandbox.rx.interface
        folder = str(Path(self.stage.sandbox.bpffs).parent / "theirs")
        self.tc("qdisc", "replace", "dev", device, "clsact")
        self.stage.sandbox.rx.run("bpftool", "prog", "loadall", str(self.theirs), folder)
        how = ["da"] if da else []
        self.tc("filter", "add", "dev", device, direction, *where, "bpf", *how, "pinned", f"{folder}/{program}")
        for name in ("guard", "first"):
            self.stage.kernel.pins.unpin(f"{folder}/{name}")
        self.stage.kernel.pins.rmdir(folder)

    def filters(self, direction: str = "ingress") -> list[dict[str, Any]]:
        """As `tc -j` lists them, those with a program."""
        listed = json.loads(self.tc("-j", "filter", "show", "dev", self.stage.sandbox.rx.interface, direction))
        return [one for one in listed if one.get("options", {}).get("prog")]

    def line(self, *words: str | Path) -> dict[str, Any]:
        (planned,) = self.stage.call("plan", *words)["pipelines"]
        (line,) = (one for one in planned["lines"] if one["kind"] == "attachment")
        return dict(line)


@pytest.fixture
def hook(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, compile_bpf: Callable[[str], Path]
) -> Iterator[Hook]:
    with on_stage(sandbox, objects, tmp_path) as stage:
        yield Hook(stage, compile_bpf)
    fault_points.install(None)


def test_f3_a_classic_filter_beside_ours_is_named_in_plan_status_and_doctor(hook: Hook) -> None:
    hook.add_filter("pref", "7", "handle", "3")
    path = hook.document()
    (seen,) = hook.line(path)["neighbours"]
    assert (seen["hook"], seen["effect"], seen["program"]) == ("classic", "runs_after", "guard")
    assert seen["filter"] == {"kind": "bpf", "pref": 7, "handle": 3, "chain": 0}
    hook.stage.call("apply", path)
    (status,) = hook.stage.call("status")["pipelines"]
    assert status["state"] == "serving"
    assert status["attachments"][0]["neighbours"] == [seen]
    assert any("guard" in note for note in status["notes"])
    found = hook.stage.run("doctor").document["findings"]
    (told,) = (f for f in found if f.get("reason") == "neighbour")
    assert told["values"] == {"pipeline": "edge", "attachment": status["attachments"][0]["id"], **seen}
    assert len(hook.filters()) == 1, "named, and left alone"


def test_f3_every_sort_of_filter_is_named_and_only_what_can_be_given_back_is_removed(hook: Hook) -> None:
    device = hook.stage.sandbox.rx.interface
    hook.add_filter("pref", "7", "handle", "3")
    hook.add_filter("pref", "9", "handle", "1", program="first", da=False)
    hook.tc("filter", "add", "dev", device, "ingress", "pref", "10", "u32", "match", "u32", "0", "0", "flowid", "1:1")
    hook.add_filter("pref", "8", "chain", "4", "handle", "5", program="first")
    path = hook.document()
    seen = hook.line(path, "--take-over")["neighbours"]
    by_pref = {n["filter"]["pref"]: n for n in seen}
    assert len(by_pref) == len(seen)
    assert {p: (n["filter"]["kind"], n["effect"]) for p, n in by_pref.items()} == {
        7: ("bpf", "removed"), 8: ("bpf", "removed"), 9: ("bpf", "runs_after"),
        10: ("u32", "runs_after"),
    }  # fmt: skip
    assert by_pref[8]["filter"]["chain"] == 4
    hook.stage.call("apply", path, "--take-over")
    assert [one["pref"] for one in hook.filters()] == [9]
    assert "clsact" in hook.tc("qdisc", "show", "dev", device)


def test_f3_the_other_direction_is_no_neighbour(hook: Hook) -> None:
    hook.add_filter("pref", "7", "handle", "3", direction="egress")
    assert hook.line(hook.document())["neighbours"] == []
    assert len(hook.line(hook.document(direction="egress"))["neighbours"]) == 1


def test_f3_take_over_removes_the_filter_also_from_a_version_that_serves(hook: Hook) -> None:
    path = hook.document()
    hook.stage.call("apply", path)
    hook.add_filter("pref", "7", "handle", "3")
    assert hook.stage.call("apply", path)["pipelines"][0]["changed"] is False
    assert hook.stage.call("apply", path, "--take-over")["pipelines"][0]["changed"] is True
    assert hook.filters() == []
    assert hook.stage.call("apply", path, "--take-over")["pipelines"][0]["changed"] is False
    assert not [pin for pin in hook.stage.sandbox.pins() if "/taken/" in pin]


def test_f3_a_program_before_ours_that_ends_the_list(hook: Hook) -> None:
    """Ours never runs; said before, and measured after."""
    hook.stage.call("apply", hook.document(name="wall", program="first"))
    path = hook.document()
    (seen,) = hook.line(path)["neighbours"]
    assert (seen["hook"], seen["effect"], seen["program"], seen["pipeline"]) == ("tcx", "runs_before", "first", "wall")
    hook.stage.call("apply", path)
    done = sampled(hook)
    assert done.code == 69
    (bad,) = (f for f in done.document["findings"] if f.get("reason") == "no_packet_seen")
    assert (bad["values"]["pipeline"], bad["values"]["runs"]) == ("edge", 0)
    assert bad["values"]["packets"] >= 3
    other = {one["pipeline"]: one for one in hook.stage.call("status")["pipelines"]}["wall"]["attachments"][0]
    assert [n["effect"] for n in other["neighbours"]] == ["runs_after"]


def test_f3_a_program_before_ours_that_passes_on_is_no_fault(hook: Hook) -> None:
    hook.stage.call("apply", hook.document(name="edge", verdict=-1))
    hook.stage.call("apply", hook.document(name="next", verdict=0))
    done = sampled(hook)
    reasons = {f.get("reason") for f in done.document["findings"]}
    assert "no_packet_seen" not in reasons
    idle = hook.stage.run("doctor").document["findings"]
    assert {f["values"]["pipeline"] for f in idle if f.get("reason") == "not_measurable"} == {"edge", "next"}


def sampled(hook: Hook) -> Any:
    """`doctor` while packets come in."""
    import threading

    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.005):
            hook.stage.send(1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return hook.stage.run("doctor")
    finally:
        ended.set()
        sender.join()


@pytest.mark.parametrize("chain", [(), ("chain", "4")])
@pytest.mark.parametrize("effect", ["tc.remove", "pin", "journal.commit"])
def test_f3_a_filter_that_was_removed_is_given_back(hook: Hook, effect: str, chain: tuple[str, ...]) -> None:
    hook.add_filter("pref", "7", *chain, "handle", "3")
    before, failed = hook.filters(), list[str]()

    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        ours = name.startswith("pin ") and "/links/" in name
        if when == "after" and (ours if effect == "pin" else name.startswith(effect)) and not failed:
            failed.append(name)
            raise KernelError("test", errno.ENOMEM)

    fault_points.install(gate)
    done = hook.stage.run("apply", hook.document(), "--take-over")
    assert failed
    assert done.code == 3, done.err
    assert [place(one) for one in hook.filters()] == [place(one) for one in before]
    assert hook.stage.standing().pins == ()


def place(one: dict[str, Any]) -> tuple[object, ...]:
    options = one["options"]
    return (
        one["protocol"], one["pref"], one["chain"], options["handle"], options["bpf_name"], options["direct-action"],
        options["prog"]["id"],
    )  # fmt: skip


def test_f3_killed_while_removing_a_filter(hook: Hook) -> None:
    """Theirs or ours after `recover`, at every point."""
    path, ends = hook.document(), set()
    for at in range(12, 80, 5):
        if not hook.filters():
            hook.add_filter("pref", "7", "handle", "3")
        done = hook.stage.spawn(
            "apply", path, "--take-over", "-q", code=KILLER,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KILL_AT": str(at)},
        )  # fmt: skip
        hook.stage.call("recover")
        serves = bool([p for p in hook.stage.sandbox.pins() if "/links/" in p])
        assert serves is not bool(hook.filters()), f"killed at {at}"
        assert not [p for p in hook.stage.sandbox.pins() if "/taken/" in p]
        ends.add(serves)
        if serves:
            hook.stage.call("remove", "edge", "--state")
        if done.code == 0:
            break
    assert ends == {True, False}, "both ways were to be taken"


def test_f3_another_filter_that_came_to_the_place_stays(hook: Hook) -> None:
    """The plan's filter was exchanged before it was to be removed."""
    hook.add_filter("pref", "7", "handle", "3")
    device, exchanged = hook.stage.sandbox.rx.interface, list[str]()

    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        if when == "before" and name.startswith("tc.remove") and not exchanged:
            hook.tc("filter", "delete", "dev", device, "ingress", "pref", "7")
            hook.add_filter("pref", "7", "handle", "3", program="first")
            exchanged.append(name)

    fault_points.install(gate)
    done = hook.stage.run("apply", hook.document(), "--take-over")
    assert exchanged
    assert done.code == 3
    assert [one["options"]["prog"]["name"] for one in hook.filters()] == ["first"]
    wait_until(lambda: not hook.stage.standing().pins)
    assert hook.stage.standing().pins == ()


def test_f3_a_trial_removes_no_filter(hook: Hook) -> None:
    """What is taken over is kept until the commit only."""
    hook.add_filter("pref", "7", "handle", "3")
    done = hook.stage.run("apply", hook.document(), "--take-over", "--confirm-timeout", "1s")
    assert done.code == 65
    assert len(hook.filters()) == 1
    assert hook.stage.standing().pins == ()


def test_f3_a_program_in_hardware_beside_ours_on_xdp(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes one in hardware beside a native one. Devices with it are rare, so its answer is made up here."""
    stage = hook.stage
    stage.apply(stage.spec("v1"))
    theirs = f"{stage.sandbox.bpffs}/theirs"
    stage.sandbox.rx.run("bpftool", "prog", "load", str(stage.folder / "v1.bpf.o"), theirs)
    with stage.kernel.pins.get(theirs) as fd:
        number = stage.kernel.progs.info(fd).id
    asked = faults.real("netlink attributes")
    ours = stage.attached()

    def answer(data: bytes) -> dict[int, bytes]:
        found: dict[int, bytes] = asked(data)
        if found.get(netlink.IFLA_XDP_DRV_PROG_ID) == ours.to_bytes(4, "little"):
            found[netlink.IFLA_XDP_HW_PROG_ID] = number.to_bytes(4, "little")
        return found

    faults.inject(monkeypatch, "netlink attributes", answer)
    assert stage.attached() == ours
    (seen,) = hook.line(stage.file)["neighbours"]
    assert (seen["hook"], seen["effect"], seen["prog_id"], seen["filter"]) == ("xdp", "runs_before", number, None)
    (status,) = stage.call("status")["pipelines"]
    assert status["attachments"][0]["neighbours"] == [seen]
    assert "drift" not in status["states"]
    found = [f for f in stage.run("doctor").document["findings"] if f.get("reason") == "neighbour"]
    assert [f["values"]["prog_id"] for f in found] == [number]
    stage.kernel.pins.unpin(theirs)
