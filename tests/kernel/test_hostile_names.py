"""Trap V10 on the real kernel: hostile names of interfaces, processes, files, tests and source lines.

Trap F20: what `watch` says of a refused change is what `apply` says.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.stage import ROOT, Done, Stage, wait_until
from tests.kernel.test_watch import Watch
from tests.unit.test_hostile_text import FAKE, HOSTILE, assert_clean

pytestmark = pytest.mark.kernel

REPORTS = (("status",), ("history", "edge"), ("show", "edge"), ("doctor",), ("show", "edge", "--map", "blocklist"),
           ("diff", "edge", "--live"), ("show", "edge", "--map", "blocklist", "--live"))  # fmt: skip
HOLDER = """
import sys, time
from reloader.bpf.live import LiveKernel
from reloader.kernel import XdpMode
open("/proc/self/comm", "wb").write(b"\\x1b[31m\\n\\xffho")
kernel = LiveKernel()
pin, name, netns = sys.argv[1:]
prog = kernel.pins.get(pin)
index = kernel.net.interface(name, netns).ifindex
link = kernel.links.create_xdp(prog, ifindex=index, mode=XdpMode.NATIVE, netns=netns)
print("held", flush=True)
sys.stdin.read()
"""


def clean(stage: Stage, *words: str | Path) -> Done:
    """A command in words, whose output a terminal can show."""
    done = stage.run(*words, json_too=False)
    assert_clean(done.out, done.err)
    return done


@pytest.mark.parametrize("name", ["r\u202ex", "r\x7fx", "r\x9b31m", "r\u200b\u2066x", "r\ufeffx"])
def test_v10_an_interface_of_any_name(stage: Stage, name: str) -> None:
    """From its name in the YAML to plan, records and reports; -o json keeps it."""
    rx = stage.sandbox.rx
    for words in (("dev", rx.interface, "down"), ("dev", rx.interface, "name", name), ("dev", name, "up")):
        rx.run("ip", "link", "set", *words)
    stage.sandbox.rx = replace(rx, interface=name)
    stage.write(stage.spec("v1"))
    assert clean(stage, "plan", stage.file).code == 0
    assert clean(stage, "apply", stage.file).code == 0
    for report in REPORTS:
        clean(stage, *report)
    (attachment,) = stage.call("status", "edge")["pipelines"][0]["attachments"]
    assert name in attachment["id"]
    stage.write(stage.spec("v2"))
    assert clean(stage, "plan", stage.file, "--ops").code == 0
    assert clean(stage, "remove", "edge", "--state").code == 0


def test_v10_a_file_of_any_name_in_the_records(stage: Stage) -> None:
    path = stage.folder / f"p{HOSTILE.replace('/', '')}.yaml"
    odd = f"o{HOSTILE.replace('/', '')}.o"
    (stage.folder / stage.put("v1")).rename(stage.folder / odd)
    stage.write(stage.spec("v1", objects=[odd])).rename(path)
    assert clean(stage, "apply", path).code == 0
    for report in REPORTS:
        assert FAKE not in [line.strip() for line in clean(stage, *report).out.split("\n")]
    assert odd in str(stage.call("show", "edge")["objects"][0]["path"])


def test_v10_a_process_of_any_name(stage: Stage) -> None:
    """Somebody else's process, named with an escape and a line break, holds the link on the hook."""
    rx, pin = stage.sandbox.rx, f"{Path(stage.sandbox.bpffs).parent}/theirs"
    source = str(stage.objects("programs/flow_count/flow_count"))
    subprocess.run(["bpftool", "prog", "load", source, pin, "type", "xdp"], check=True, capture_output=True)
    command = [sys.executable, "-c", HOLDER, pin, rx.interface, rx.netns]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "held\n"
            stage.write(stage.spec("v1"))
            done = clean(stage, "apply", stage.file)
            assert done.code == 65
            assert str(holder.pid) in done.err
            error = stage.run("apply", stage.file).error
            assert "\x1b[31m" in error["detail"]
            clean(stage, "plan", stage.file)
        finally:
            assert holder.stdin
            holder.stdin.close()
    Path(pin).unlink()
    wait_until(lambda: not stage.attached())


def test_v10_the_lines_of_a_refused_program(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    """The verifier's explanation shows the author's source, and that may hold anything."""
    source = f"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int count_flows(struct xdp_md *ctx)
{{
	char *data = (char *)(long)ctx->data; /* \x1b[2J \u202e \u200b */
	return data[7]; /* {chr(27)}]0;x{chr(7)} \u2066 */
}}
char _license[] SEC("license") = "GPL";
"""
    stage.write({"objects": [stage.put(compile_bpf(source))], "attach": [stage.attach()]})
    done = clean(stage, "apply", stage.file)
    assert done.code == 1
    assert "data[7]" in done.err
    said = stage.run("apply", stage.file).error["rejection"]["source"]
    assert "\u2066" in said["text"] + "".join(said["around"])


def test_v10_a_test_of_any_name(stage: Stage) -> None:
    case = {"name": f"n{HOSTILE}", "packet": {"udp": {"dport": 53}}, "expect": {"verdict": "XDP_TX"}}
    stage.write(stage.spec("v1", test=[case]))
    report = stage.folder / "junit.xml"
    assert clean(stage, "test", stage.file, "--junit", report).code == 1
    assert clean(stage, "apply", stage.file).code == 1
    assert stage.run("test", stage.file).document["pipelines"][0]["tests"][0]["name"] == case["name"]


def test_f20_watch_says_of_a_refusal_what_apply_says(
    sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path
) -> None:
    watch = Watch(sandbox, objects, tmp_path)
    try:
        watch.file.write_text(watch.text())
        watch.start()
        first = watch.attached()
        watch.install("lab/bpf/flow_count_v3")  # its flows have another layout, and no rules are named
        command = [sys.executable, "-m", "reloader", "apply", "-q", str(watch.file), *watch.where]
        watch.hears("edge.yaml: ")
        wait_until(lambda: any("hint: " in line for line in watch.lines))
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 65
        wanted = [line.removeprefix("error: ").strip() for line in told.stderr.strip().split("\n")]
        assert len(wanted) > 2
        said = [line.removeprefix("edge.yaml: ").strip() for line in watch.lines]
        assert said[-len(wanted) :] == wanted
        assert watch.attached() == first
        (problem,) = watch.status()["problems"]
        assert wanted[1] in problem, "status has the first reason too"
        watch.stop()
    finally:
        watch.close()
