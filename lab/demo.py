"""`make demo`: the main job in a sandbox of its own, under full traffic, beside the naive way in the same run.

Everything is done by the command line a user has. Writes build/demo.json; exits 1 when anything was lost.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.naive import naive_swaps
from lab.sandbox import LabError, Sandbox
from lab.traffic import ROOT, Generator, Seen, read_seen, settle
from reloader import cli
from reloader.bpf.live import LiveKernel

FLOWS = 10_000
SWAPS = 200
NAIVE_SWAPS = 20
BUILT = ROOT / "build" / "bpf"
OBJECTS = {
    "v1": BUILT / "programs/flow_count/flow_count.bpf.o",
    "v2": BUILT / "lab/bpf/flow_count_v2.bpf.o",
    "v3": BUILT / "lab/bpf/flow_count_v3.bpf.o",
    "broken": BUILT / "lab/bpf/flow_count_broken.bpf.o",
}
YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge}}
spec:
  objects: [{version}.bpf.o]
  stateSchema: flow-count
  rodata: {{default_verdict: XDP_DROP}}
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
  maps:
    flows: {{role: state}}
    counters: {{role: state}}
    events: {{role: stream}}
{more}    blocklist:
      role: config
      entries:
{entries}
"""


@dataclass(slots=True)
class Demo:
    sandbox: Sandbox
    folder: Path
    kernel: LiveKernel = field(default_factory=LiveKernel)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def where(self) -> list[str]:
        return ["--bpffs", self.sandbox.bpffs, "--records", str(self.sandbox.records)]

    def write(self, version: str, *blocked: str) -> Path:
        """edge.yaml for an object version and a blocklist."""
        rx = self.sandbox.rx
        lines = "\n".join(f"        - {{key: {b}, value: {{action: XDP_DROP}}}}" for b in blocked)
        more = "    sizes: {role: scratch}\n" if version == "v2" else ""
        path = self.folder / "edge.yaml"
        path.write_text(YAML.format(version=version, interface=rx.interface, netns=rx.netns, entries=lines, more=more))
        return path

    def step(self, title: str, *words: str | Path, code: int = 0) -> None:
        """A command as a user would type it, timed, its words shown; LabError unless it exits with `code`."""
        print(f"\n── {title}\n$ reloader {' '.join(Path(w).name if isinstance(w, Path) else w for w in words)}")
        started = time.monotonic()
        command = [sys.executable, "-m", "reloader", *map(str, words), *self.where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.steps.append({"name": title, "seconds": round(time.monotonic() - started, 4)})
        said = (done.stdout + done.stderr).replace(str(self.sandbox.records), "RECORDS")
        print("\n".join(f"  {line}" for line in said.rstrip().splitlines()[:14]))
        if done.returncode != code:
            raise LabError(f"{title}: exit {done.returncode}, {code} expected")

    def seen(self) -> Seen:
        pins, pub = self.kernel.pins, f"{self.sandbox.bpffs}/edge/pub"
        with pins.get(f"{pub}/flows") as flows, pins.get(f"{pub}/counters") as counters:
            return read_seen(self.kernel.maps, flows, counters)

    def swap_many(self) -> None:
        """v1 and v2 in turn, in this process, so that the swaps follow each other closely."""
        title = f"{SWAPS} swaps in a row"
        print(f"\n── {title}")
        started = time.monotonic()
        for number in range(SWAPS):
            words = ["apply", str(self.write("v2" if number % 2 else "v1", "192.0.2.66")), *self.where, "-q"]
            with open("/dev/null", "w") as nowhere, contextlib.redirect_stdout(nowhere):
                if cli.main(words):
                    raise LabError(f"swap {number} failed")
        took = time.monotonic() - started
        self.steps.append({"name": title, "seconds": round(took, 4)})
        print(f"  {SWAPS} loads, swaps and commits, {took / SWAPS * 1000:.0f} ms each")


@contextlib.contextmanager
def stage() -> Iterator[Demo]:
    with Sandbox() as sandbox:
        folder = sandbox.dir / "yaml"
        folder.mkdir()
        for version, path in OBJECTS.items():
            shutil.copyfile(path, folder / f"{version}.bpf.o")
        yield Demo(sandbox, folder)


def main_job(demo: Demo, generator: Generator) -> dict[str, Any]:
    """The story under traffic; returns the balance of packets and state."""
    generator.start()
    demo.step("first apply, packets already flowing", "apply", demo.write("v1", "192.0.2.66"))
    generator.stop()  # what came before the first program is nobody's loss: count from here
    time.sleep(0.2)
    before, start = generator.traffic(), demo.seen()
    generator.start()
    time.sleep(1)
    warm = demo.seen().unknown
    demo.step("a configuration change", "apply", demo.write("v1", "192.0.2.66", "192.0.2.67"))
    demo.step("what would v2 change?", "plan", demo.write("v2", "192.0.2.66", "192.0.2.67"))
    demo.step("v1 → v2, the flow table is kept", "apply", demo.folder / "edge.yaml")
    demo.step("v3 keeps its flows in another layout: what would it do?", "plan", demo.write("v3", "192.0.2.66"))
    demo.step("v2 → v3, every entry converted under traffic", "apply", demo.folder / "edge.yaml")
    demo.step("rollback to v2, every entry converted back", "rollback", "edge")
    demo.step("a version that the verifier rejects", "apply", demo.write("broken", "192.0.2.66"), code=1)
    demo.step("rollback to v1", "rollback", "edge")
    demo.swap_many()
    demo.step("where it stands", "status", "edge")
    generator.stop()
    balance = settle(generator, lambda: demo.seen().packets - start.packets + before.delivered)
    seen = demo.seen()
    expected, counted = seen.packets - seen.uncounted, seen.in_flows
    return {
        "packets": {
            "sent": balance.traffic.delivered - before.delivered,
            "seen": seen.packets - start.packets,
            "lost": balance.lost,
        },
        "state": {"expected": expected, "counted": counted, "lost": expected - counted},
        "unknown_established": seen.unknown - warm,
        "swaps": SWAPS + 7,
        "steps": demo.steps,
    }


def table(figures: dict[str, Any]) -> None:
    packets, state, naive = figures["packets"], figures["state"], figures["naive"]
    print("\n" + "─" * 78)
    print(f"{'':38}{'reloader':>18}{'detach + attach':>20}")
    rows = [
        ("swaps", figures["swaps"], naive["swaps"]),
        ("packets sent", packets["sent"], naive["packets_sent"]),
        ("packets seen by a program", packets["seen"], naive["packets_sent"] - naive["packets_lost"]),
        ("packets lost", packets["lost"], naive["packets_lost"]),
        ("counts owed to the flow table", state["expected"], naive["state_expected"]),
        ("counts found in it", state["counted"], naive["state_expected"] - naive["state_lost"]),
        ("counts lost", state["lost"], naive["state_lost"]),
        ("packets of established flows unknown", figures["unknown_established"], naive["unknown_established"]),
    ]
    for name, ours, theirs in rows:
        print(f"{name:38}{ours:>18,}{theirs:>20,}")
    print("─" * 78)
    for step in figures["steps"]:
        print(f"{step['name']:<58}{step['seconds'] * 1000:>12,.0f} ms")


def main() -> int:
    """The demo; 0 when nothing was lost."""
    with stage() as demo:
        print(f"A veth pair of its own, {FLOWS:,} UDP flows at full rate into an XDP flow counter.")
        with Generator(demo.sandbox.tx, flows=FLOWS) as generator:
            figures = main_job(demo, generator)
            demo.step("let go of all of it", "remove", "edge", "--state")
            print(f"\n── the naive way: detach, load with fresh maps, attach, {NAIVE_SWAPS} times")
            figures["naive"] = naive_swaps(demo.kernel, demo.sandbox, generator, OBJECTS["v1"], NAIVE_SWAPS)
    table(figures)
    (ROOT / "build" / "demo.json").write_text(json.dumps(figures, indent=2) + "\n")
    lost = figures["packets"]["lost"] or figures["state"]["lost"] or figures["unknown_established"]
    print("\nSomething was lost." if lost else "\nNothing was lost.", "Figures: build/demo.json")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
