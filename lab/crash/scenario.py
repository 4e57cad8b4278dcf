"""The place where reloader is killed, and what must hold there at once and after `recover`."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.crash import filled
from lab.crash.filled import NETS_YAML, TENANTS_YAML
from lab.sandbox import Sandbox
from lab.traffic import Generator
from reloader import cli
from reloader.bpf.live import LiveKernel
from reloader.kernel import ARRAY_TYPES, Fd, Loaded, LoadRequest, XdpMode
from reloader.kernel.host import Host
from reloader.paths import BLOBS, Paths
from reloader.pipeline.model import Role
from reloader.store import records
from reloader.store.records import open_journals

PIPELINE = "flow-count"
BATCH = 20  # packets per look

YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: flow-count}}
spec:
  objects: [{object}]
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
  maps:
    flows: {{role: state}}
    counters: {{role: state}}
    events: {{role: stream}}
{scratch}    blocklist:
      role: config
      entries: [{entries}]
"""
STATE_YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: flow-count}}
spec:
  objects: [{object}]
  stateSchema: flow-state
  attach:
    - {{program: count_flows, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
  maps:
    flows: {{role: state}}
    counters: {{role: state}}
"""
FLIP_YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: flow-count}}
spec:
  objects: [{object}]
  rodata: {{first_key: 192.0.2.1, last_key: 192.0.2.1}}
  attach:
    - {{program: watch, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
  maps:
    seen: {{role: state}}
    classes: {{role: config, apply: map, keep: [hits], entries: [{{key: 1, value: {{stamp: {stamp}}}}}]}}
    rules: {{role: config, apply: map, keep: [hits], entries: [{{key: 192.0.2.1, value: {{stamp: {stamp}}}}}]}}
"""
GATE_YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: flow-count}}
spec:
  objects: [{object}]
  rodata: {{version: {stamp}}}
  gate: true
  attach:
    - {{program: enter, type: xdp, interface: {interface}, netns: {netns}, mode: native}}
    - {{program: leave, type: tcx, interface: {interface}, netns: {netns}}}
  maps:
    pairs: {{role: state}}
"""
TESTED_YAML = (
    YAML
    + """\
  test:
    - {{packet: {{udp: {{}}}}, repeat: 3, expect: {{verdict: XDP_PASS, maps: {{flows: {{count: 1}}}}}}}}
    - {{packet: {{icmp: {{}}}}, expect: {{maps: {{flows: {{count: 0}}}}}}}}
"""
)
TEXTS = {
    "flip": FLIP_YAML, "gate": GATE_YAML, "s1": STATE_YAML, "s2": STATE_YAML, "tested": TESTED_YAML,
    "nets1": NETS_YAML, "nets2": NETS_YAML, "tenants1": TENANTS_YAML, "tenants2": TENANTS_YAML,
}  # by version; else YAML  # fmt: skip
LAYOUTS = Path(__file__).resolve().parent.parent.parent / "bench" / "layouts"  # flow-state: how s1 becomes s2
PACKETS_AT = {16: 0, 32: 16}  # struct flow by its size
ENTRY = "{{key: {}, value: {{action: XDP_DROP}}}}"


class Violation(Exception):
    """Something that must hold did not."""


def require(holds: bool, text: str) -> None:
    if not holds:
        raise Violation(text)


class Scene:
    """One pipeline in a sandbox, with versions of its YAML and a socket that sends frames to it."""

    def __init__(self, sandbox: Sandbox, objects: Callable[[str], Path], folder: Path, generator: Generator) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.kernel = LiveKernel()
        self.paths = Paths(bpffs=sandbox.bpffs, records=sandbox.records)
        self.host = Host(kernel=self.kernel, paths=self.paths)
        self.where = ["--bpffs", sandbox.bpffs, "--records", str(sandbox.records), "-q"]
        self._objects = {
            "v1": objects("programs/flow_count/flow_count"),
            "v2": objects("lab/bpf/flow_count_v2"),
            "s1": objects("lab/bpf/flow_state_v1"),  # by the state calls; s2 has another layout
            "s2": objects("lab/bpf/flow_state_v2"),
            "tested": objects("lab/bpf/flow_count_v2"),
            "flip": objects("lab/bpf/config_pair"),
            "gate": objects("lab/bpf/gate_pair"),
            "nets1": objects("lab/bpf/nets_v1"),
            "nets2": objects("lab/bpf/nets_v2"),
            "tenants1": objects("lab/bpf/tenants_v1"),
            "tenants2": objects("lab/bpf/tenants_v2"),
        }
        self.generator = generator
        shutil.copytree(LAYOUTS, folder / "state")
        filled.record(folder / "state")
        self.theirs: Loaded | None = None  # somebody else's program with maps of its own, on the interface

    def yaml(self, version: str, *blocked: str) -> str:
        """A YAML file for an object version and its blocklist."""
        path = self.folder / f"{version}-{len(blocked)}.yaml"
        copied = self.folder / f"{version}.bpf.o"
        if not copied.exists():
            shutil.copyfile(self._objects[version], copied)
        path.write_text(
            TEXTS.get(version, YAML).format(
                object=copied.name,
                stamp=len(blocked),
                interface=self.sandbox.rx.interface,
                netns=self.sandbox.rx.netns,
                entries=", ".join(ENTRY.format(b) for b in blocked),
                scratch="    sizes: {role: scratch}\n" if version in ("v2", "tested") else "",
            )
        )
        return str(path)

    def call(self, *words: str) -> None:
        """A command in this process; it must succeed."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            code = cli.main([*words, *self.where])
        require(code == 0, f"{words[0]}: exit {code}: {said.getvalue()}")

    def recover(self) -> None:
        self.call("recover")

    def reset(self) -> None:
        """Away with all of it, so that the next point starts from nothing."""
        if records.read_current(self.paths, PIPELINE) is not None:
            self.call("remove", PIPELINE, "--state")
        self.detach_theirs()
        require(not self.sandbox.pins(), f"pins are left: {self.sandbox.pins()}")
        shutil.rmtree(self.sandbox.records)  # folders and the cache stay otherwise, and would not be made again
        self.sandbox.records.mkdir()

    def attached(self) -> int:
        """The id of the program on the interface; 0 for none."""
        interface = self.kernel.net.interface(self.sandbox.rx.interface, self.sandbox.rx.netns)
        require(interface is not None, "the interface is gone")
        return interface.xdp_prog_id if interface else 0

    def counted(self) -> int:
        """Packets in the state map; while it moves to another layout in both, wherever each count is."""
        folder = f"{self.sandbox.bpffs}/{PIPELINE}/state"
        pins = [p for p in self.kernel.pins.listdir(folder) if p.startswith("flows-")]
        require(len({p.split("-")[1] for p in pins}) == len(pins), f"two flows maps of one layout are pinned: {pins}")
        others = [f"{folder}/{p}" for p in self.kernel.pins.listdir(folder) if p.startswith(("nets-", "tenants-"))]
        elsewhere = self._counted_in_config() + self._counted_in_pairs(folder) + filled.counted(self.kernel, others)
        elsewhere += self._counted_by(self.theirs.maps["flows"]) if self.theirs else 0
        return sum(self._counted_in(f"{folder}/{pin}") for pin in pins) + elsewhere

    def _counted_in_pairs(self, folder: str) -> int:
        """Packets that came to the second of two hooks; none of them may have met two versions."""
        found = 0
        for pin in (p for p in self.kernel.pins.listdir(folder) if p.startswith("pairs-")):
            with self.kernel.pins.get(f"{folder}/{pin}") as fd:
                seen = self.kernel.maps.lookup(fd, bytes(4)) or b""
            found += int.from_bytes(seen[8:16], "little")
            require(not any(seen[16:24]), "packets met two versions at two hooks")
        return found

    def _counted_in_config(self) -> int:
        """Hits in the rules of a flip, whose counts move from the old map to the new one."""
        loads, found = f"{self.sandbox.bpffs}/{PIPELINE}/loads", 0
        for folder in (f"{loads}/{load}/maps" for load in self.kernel.pins.listdir(loads)):
            for pin in (p for p in self.kernel.pins.listdir(folder) if p.startswith("rules")):
                with self.kernel.pins.get(f"{folder}/{pin}") as fd:
                    found += sum(int.from_bytes(v[8:16], "little") for v in self.kernel.maps.items(fd).values())
        return found

    def _counted_in(self, pin: str) -> int:
        with self.kernel.pins.get(pin) as fd:
            return self._counted_by(fd)

    def _counted_by(self, flows: Fd) -> int:
        at = PACKETS_AT[self.kernel.maps.info(flows).value_size]
        return sum(int.from_bytes(v[at : at + 8], "little") for v in self.kernel.maps.items(flows).values())

    def attach_theirs(self) -> None:
        """A flow counter that reloader did not load, attached by netlink."""
        rx, data = self.sandbox.rx, self._objects["v1"].read_bytes()
        self.theirs = self.kernel.progs.load(LoadRequest(objects=(data,), name="theirs", programs=("count_flows",)))
        interface = self.kernel.net.interface(rx.interface, rx.netns)
        require(interface is not None, "the interface is gone")
        assert interface is not None
        program = self.theirs.progs["count_flows"]
        self.kernel.links.give_back_xdp(program, ifindex=interface.ifindex, mode=XdpMode.NATIVE, netns=rx.netns)

    def detach_theirs(self) -> None:
        """Whether or not it is still attached."""
        if self.theirs is None:
            return
        if self.attached():
            self.sandbox.rx.run("ip", "link", "set", "dev", self.sandbox.rx.interface, "xdp", "off")
        self.theirs.close()
        self.theirs = None

    def send(self, counted: int) -> None:
        """Send a batch and wait until it is counted on top of `counted`, or clearly is not."""
        self.generator.send(BATCH)
        self.wait_for(counted + BATCH)

    def wait_for(self, counted: int) -> None:
        """Until so many are counted, or clearly are not."""
        deadline = time.monotonic() + 1
        while self.counted() < counted and time.monotonic() < deadline:
            time.sleep(0.005)

    def view(self) -> dict[str, Any]:
        current = records.read_current(self.paths, PIPELINE)
        return {
            "attached": self.attached(),
            "counted": self.counted(),
            "generation": current.generation if current else 0,
            "pins": self.sandbox.pins(),
        }

    def check_traffic(self, before: dict[str, Any], *, removing: bool = False) -> None:
        """What served before still does, or its successor; and every packet is counted once."""
        serving = self.attached()
        may_be_bare = not before["attached"] or removing
        require(bool(serving) or may_be_bare, "nothing is attached any more")
        if not serving:
            return
        owner = self.kernel.progs.metadata(serving).get("pipeline")
        require(owner == PIPELINE or self.is_theirs(serving), f"program {serving} of {owner} is attached")
        counted = self.counted()
        require(counted >= before["counted"] or may_be_bare, f"{before['counted']} counted before, {counted} now")
        self.send(counted)
        gone = may_be_bare and not self.attached()  # the kernel takes a program off some time after its link is closed
        require(self.counted() - counted == BATCH or gone, f"{BATCH} sent, {self.counted() - counted} counted")

    def journals(self) -> list[Path]:
        """Of transactions that did not end."""
        return open_journals(self.paths, PIPELINE)

    def check_whole(self, before: dict[str, Any]) -> None:
        """After recover: records, pins and kernel agree on one version, and nothing else is left."""
        journals = self.journals()
        require(not journals, f"journals are left: {journals}")
        fragments = [str(p) for p in Path(self.sandbox.records).rglob("*.tmp")]
        require(not fragments, f"half-written files are left: {fragments}")
        current = records.read_current(self.paths, PIPELINE)
        if current is None or not current.generation:
            self._check_bare(current)
        else:
            self._check_serving(current)

    def is_theirs(self, program: int) -> bool:
        return self.theirs is not None and self.kernel.progs.info(self.theirs.progs["count_flows"]).id == program

    def _check_bare(self, current: records.Current | None) -> None:
        attached = self.attached()
        explained = self.is_theirs(attached) if self.theirs else not attached
        require(explained, f"program {attached} is attached, and no record explains that")
        kept = {m.pin for m in current.state.values()} if current else set()
        found = {f"{self.sandbox.bpffs}/{p}" for p in self.sandbox.pins()}
        require(found == kept, f"pins {found ^ kept}")
        if current is None:
            blobs = [p.name for kind in BLOBS for p in (self.paths.records / kind).glob("*")]
            require(not blobs, f"blobs are left: {blobs}")

    def _check_serving(self, current: records.Current) -> None:
        generation = records.read_generation(self.paths, PIPELINE, current.generation)
        first = next(a.program for a in generation.wish.attachments if a.type == "xdp")
        program = generation.progs[first]
        require(self.attached() == program, f"{self.attached()} is attached, {program} recorded")
        found, wanted = {f"{self.sandbox.bpffs}/{p}" for p in self.sandbox.pins()}, self._wanted_pins(generation)
        require(found == wanted, f"stray pins {sorted(found - wanted)}, missing pins {sorted(wanted - found)}")
        self._check_entries(generation)
        needed = records.blobs_needed(self.paths, PIPELINE)
        stored = {p.name for kind in BLOBS for p in (self.paths.records / kind).glob("*")}
        require(stored == needed, f"stray blobs {stored - needed}, missing blobs {needed - stored}")

    def _wanted_pins(self, generation: records.Generation) -> set[str]:
        paths = self.paths
        flipping = [m.name for m in generation.wish.maps if m.flips]
        sides = ["rl_side", *(f"rl_slots_{name}" for name in flipping)] if flipping else []
        gates = [f"rl_gate_{program}" for program in generation.wish.gates]
        sides += [*gates, "rl_gate_stats"] if gates else []
        return {
            *(paths.map_pin(PIPELINE, generation.load, name) for name in sides),
            *(paths.link_pin(PIPELINE, a.id) for a in generation.wish.attachments),
            *(paths.prog_pin(PIPELINE, generation.load, p) for p in generation.progs),
            *(m.pin for m in generation.maps.values()),
            *(paths.pub_pin(PIPELINE, m) for m in generation.maps),
        }

    def _check_entries(self, generation: records.Generation) -> None:
        for wanted in (m for m in generation.wish.maps if m.role is Role.CONFIG and m.type not in ARRAY_TYPES):
            require(wanted.entries is not None, f"{wanted.name} has no entries of ours")
            with self.kernel.pins.get(self.paths.pub_pin(PIPELINE, wanted.name)) as fd:
                live = self.kernel.maps.count(fd)
            count = wanted.entries.count if wanted.entries else 0
            require(live == count, f"{wanted.name} holds {live} entries, the record says {count}")
        if any(m.flips for m in generation.wish.maps):
            self._check_sides(generation)
        for name in {"nets", "tenants"} & set(generation.maps):
            held = filled.entries(self.kernel, self.paths.pub_pin(PIPELINE, name))
            require(held == filled.HELD[name], f"{name} holds {held} entries, {filled.HELD[name]} were put in")

    def _check_sides(self, generation: records.Generation) -> None:
        """Packets look at the recorded maps, and all of them have one stamp."""
        folder = f"{self.sandbox.bpffs}/{PIPELINE}/loads/{generation.load}/maps"
        with self.kernel.pins.get(f"{folder}/rl_side") as fd:
            side = self.kernel.maps.lookup(fd, bytes(4)) or b""
        for name, pinned in ((m.name, generation.maps[m.name]) for m in generation.wish.maps if m.flips):
            with self.kernel.pins.get(f"{folder}/rl_slots_{name}") as fd:
                there = int.from_bytes(self.kernel.maps.lookup(fd, side) or b"", "little")
            require(there == pinned.id, f"packets look at map {there} for {name}, {pinned.id} is recorded")


def _nothing(_scene: Scene) -> None:
    return


def _first(scene: Scene) -> None:
    scene.call("apply", scene.yaml("v1", "192.0.2.66"))
    scene.send(0)


def _first_rules(scene: Scene) -> None:
    scene.call("apply", scene.yaml("flip"))
    scene.send(0)


def _first_pair(scene: Scene) -> None:
    scene.call("apply", scene.yaml("gate"))
    scene.send(0)


def _second(scene: Scene) -> None:
    _first(scene)
    scene.call("apply", scene.yaml("v2", "192.0.2.66"))


def _first_layout(scene: Scene) -> None:
    scene.call("apply", scene.yaml("s1"))
    scene.send(0)


def _full_trie(scene: Scene) -> None:
    scene.call("apply", scene.yaml("nets1"))
    filled.fill_trie(scene.host, PIPELINE)
    scene.send(0)


def _full_trie_converted(scene: Scene) -> None:
    _full_trie(scene)
    scene.call("apply", scene.yaml("nets2"))
    scene.send(scene.counted())


def _tenants(scene: Scene) -> None:
    scene.call("apply", scene.yaml("tenants1"))
    filled.fill_tenants(scene.host, PIPELINE)
    scene.send(0)


def _tenants_converted(scene: Scene) -> None:
    _tenants(scene)
    scene.call("apply", scene.yaml("tenants2"))
    scene.send(scene.counted())


def _second_pair(scene: Scene) -> None:
    _first_pair(scene)
    scene.call("apply", scene.yaml("gate", "1"))


def _theirs(scene: Scene) -> None:
    scene.attach_theirs()
    scene.send(0)


def _second_layout(scene: Scene) -> None:
    _first_layout(scene)
    scene.call("apply", scene.yaml("s2"))
    scene.send(scene.counted())


Scenario = tuple[Callable[[Scene], None], Callable[[Scene], list[str]]]
SCENARIOS: dict[str, Scenario] = {
    "create": (_nothing, lambda s: ["apply", s.yaml("v1", "192.0.2.66")]),
    "update": (_first, lambda s: ["apply", s.yaml("v2", "192.0.2.66")]),
    "config": (_first, lambda s: ["apply", s.yaml("v1", "192.0.2.66", "192.0.2.67")]),
    "tested": (_first, lambda s: ["apply", s.yaml("tested", "192.0.2.66")]),
    "flip": (_first_rules, lambda s: ["apply", s.yaml("flip", "1")]),
    "gate": (_first_pair, lambda s: ["apply", s.yaml("gate", "1")]),
    "gate back": (_second_pair, lambda _: ["rollback", PIPELINE]),
    "take over": (_theirs, lambda s: ["apply", s.yaml("v1", "192.0.2.66"), "--take-over"]),
    "trie": (_full_trie, lambda s: ["apply", s.yaml("nets2")]),
    "trie back": (_full_trie_converted, lambda _: ["rollback", PIPELINE]),
    "tenants": (_tenants, lambda s: ["apply", s.yaml("tenants2")]),
    "tenants back": (_tenants_converted, lambda _: ["rollback", PIPELINE]),
    "rollback": (_second, lambda _: ["rollback", PIPELINE]),
    "convert": (_first_layout, lambda s: ["apply", s.yaml("s2")]),
    "convert back": (_second_layout, lambda _: ["rollback", PIPELINE]),
    "remove": (_first, lambda _: ["remove", PIPELINE]),
}
"""What is there before, and the command that is killed."""
MAY_BE_BARE = frozenset({"remove", "take over"})
"""Commands in which the interface is without a program for a moment: by their purpose, or as the plan says."""
