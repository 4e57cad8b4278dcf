"""A driver or the kernel refuses an attachment: named with its interface, why, and a way out that works."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from lab.sandbox import Sandbox
from lab.stage import Done, Stage, on_stage
from reloader import fault_points
from reloader.bpf import rawprog
from reloader.errors import KernelError
from reloader.kernel import Fd, LoadRequest, XdpMode

pytestmark = pytest.mark.kernel

XDP = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("{section}") int prog(struct xdp_md *ctx) {{ return XDP_PASS; }}
SEC("tc") int tprog(struct __sk_buff *skb) {{ return {verdict}; }}
char LICENSE[] SEC("license") = "GPL";
"""


class Driver:
    """A pipeline on interfaces of odd sorts."""

    def __init__(self, stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
        self.stage, self.compile = stage, compile_bpf

    def interface(self, kind: str) -> str:
        """Make one; its name."""
        rx = self.stage.sandbox.rx
        if kind == "lo":
            return "lo"
        more = {
            "veth": ("mtu", "8901", "type", "veth", "peer", "name", "odd1", "mtu", "8901"),
            "bridge": ("type", "bridge"),
            "macvlan": ("link", rx.interface, "type", "macvlan"),
        }[kind]
        rx.run("ip", "link", "add", "odd0", *more)
        return "odd0"

    def apply(self, *attachments: dict[str, Any], section: str = "xdp") -> Done:
        rx = self.stage.sandbox.rx
        path = self.compile(XDP.format(section=section, verdict=0))
        attach = [{"program": "prog", "type": "xdp", "netns": rx.netns, **one} for one in attachments]
        spec = {"objects": [self.stage.put(path, "odd.bpf.o")], "attach": attach, "maps": {}}
        self.stage.file.write_text(json.dumps(self.stage.document(spec)))
        return self.stage.run("apply", self.stage.file)


@pytest.fixture
def driver(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path, compile_bpf: Callable[[str], Path]
) -> Iterator[Driver]:
    with on_stage(sandbox, objects, tmp_path) as stage:
        yield Driver(stage, compile_bpf)
    fault_points.install(None)


@pytest.mark.parametrize(
    ("kind", "reason", "mtu"),
    [
        ("veth", "mtu_too_large", 8901),
        ("lo", "mode_unsupported", 65536),
        ("bridge", "mode_unsupported", 1500),
        ("macvlan", "mode_unsupported", 1500),
    ],
)
def test_f11_a_driver_that_takes_no_native_xdp_is_named_and_the_way_out_works(
    driver: Driver, kind: str, reason: str, mtu: int
) -> None:
    name = driver.interface(kind)
    done = driver.apply({"interface": name})
    assert done.code == 1, done.err
    assert (done.error["code"], done.error["reason"]) == ("nothing-swapped", reason)
    values = done.error["values"]
    assert (values["interface"], values["mtu"], values["mode"]) == (name, mtu, "native")
    assert values["kernel"], "the kernel's own words"
    assert "mode: skb" in done.error["hint"]
    assert driver.stage.standing().pins == ()
    assert driver.apply({"interface": name, "mode": "skb"}).code == 0


def test_f10_the_command_that_lowers_the_mtu_is_run_as_it_stands(driver: Driver) -> None:
    name = driver.interface("veth")
    done = driver.apply({"interface": name})
    (words,) = (w for w in re.findall(r"`([^`]+)`", done.error["hint"]) if w.startswith("ip "))
    assert "both ends" in done.error["hint"]
    for end in (name, "odd1"):
        driver.stage.sandbox.rx.run("sh", "-c", words.replace(name, end))
    assert driver.apply({"interface": name}).code == 0


def test_f11_frags_are_the_other_way_out_of_a_large_mtu_and_the_way_back_to_one_buffer_is_refused(
    driver: Driver,
) -> None:
    name = driver.interface("veth")
    assert driver.apply({"interface": name}, section="xdp.frags").code == 0
    serving = driver.stage.attached(name)
    done = driver.apply({"interface": name}, section="xdp")
    assert done.code == 1, done.err
    assert done.error["reason"] == "mtu_too_large"
    assert done.error["values"]["interface"] == name
    assert driver.stage.attached(name) == serving
    assert driver.stage.standing().generation == 1


def test_f11_a_refusal_behind_another_swap_is_rolled_back(driver: Driver) -> None:
    name = driver.interface("bridge")
    done = driver.apply({"interface": driver.stage.sandbox.rx.interface}, {"interface": name})
    assert done.code == 3
    assert (done.error["code"], done.error["reason"]) == ("rolled-back", "mode_unsupported")
    assert driver.stage.standing().pins == ()


def at_first_pin(action: Callable[[], object]) -> None:
    """Do it once the plan is made and before anything is attached."""
    done: list[str] = []

    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        if when == "after" and name.startswith("pin ") and "/progs/" in name and not done:
            done.append(name)
            action()

    fault_points.install(gate)


def test_f11_an_interface_that_went_since_the_plan(driver: Driver) -> None:
    name, rx = driver.interface("bridge"), driver.stage.sandbox.rx
    at_first_pin(lambda: rx.run("ip", "link", "delete", name))
    done = driver.apply({"interface": name, "mode": "skb"})
    assert done.code == 1, done.err
    assert (done.error["reason"], done.error["values"]["interface"]) == ("interface_missing", name)
    assert driver.stage.standing().pins == ()


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.SKB])
def test_f11_a_program_that_came_since_the_plan(driver: Driver, mode: XdpMode) -> None:
    """In the same mode, and in the other one."""
    stage = driver.stage
    name, netns = stage.sandbox.rx.interface, stage.sandbox.rx.netns
    path = driver.compile(XDP.format(section="xdp", verdict=2))
    loaded = stage.kernel.progs.load(LoadRequest(objects=(path.read_bytes(),), name="theirs", programs=("prog",)))
    there = stage.kernel.net.interface(name, netns)
    assert there
    with loaded.progs["prog"] as theirs:
        attach = stage.kernel.links.give_back_xdp
        at_first_pin(lambda: attach(theirs, ifindex=there.ifindex, mode=mode, netns=netns))
        done = driver.apply({"interface": name})
        assert done.code == 1, done.err
        assert (done.error["reason"], done.error["values"]["interface"]) == ("hook_busy", name)
        assert stage.attached() == stage.kernel.progs.info(theirs).id
    loaded.close()


def test_f11_a_tcx_hook_that_is_full(driver: Driver) -> None:
    stage = driver.stage
    name, netns = stage.sandbox.rx.interface, stage.sandbox.rx.netns
    there = stage.kernel.net.interface(name, netns)
    assert there
    progs = [
        Fd(rawprog.load(rawprog.ProgType.SCHED_CLS, rawprog.returns(-1))) for _ in range(63)
    ]  # BPF_MPROG_MAX without its end
    create = stage.kernel.links.create_tcx
    links = [create(prog, ifindex=there.ifindex, direction="ingress", netns=netns) for prog in progs]
    attach = {"program": "tprog", "type": "tcx", "interface": name}
    done = driver.apply(attach)
    for fd in (*links, *progs):
        fd.close()
    assert done.code == 1, done.err
    assert (done.error["reason"], done.error["values"]["interface"]) == ("hook_full", name)
    assert driver.apply(attach).code == 0


def test_f11_any_other_errno_keeps_its_name_and_number(driver: Driver) -> None:
    """A fault that is no refusal of the kernel's is still taken for one that may have been seen."""
    failed = []

    def gate(when: Literal["before", "after", "failed"], name: str) -> None:
        if when == "before" and name.startswith("link.create"):
            failed.append(name)
            raise KernelError("test", errno.EIO)

    fault_points.install(gate)
    assert driver.apply({"interface": driver.stage.sandbox.rx.interface}).code == 3
    assert failed
