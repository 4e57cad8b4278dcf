"""A pipeline in a sandbox, driven by the command line and looked at from outside. For the tests and the bench.

`Stage` writes YAML from plain values, runs commands (in this process, which is quick, or in one of their own),
sends packets by hand and asks the kernel who serves. Every document a command prints is held to its schema.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

from lab.sandbox import Sandbox
from reloader import cli
from reloader.bpf import netns
from reloader.bpf.live import LiveKernel
from reloader.kernel import Fd
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.store import records

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = {
    "v1": "programs/flow_count/flow_count",
    "v2": "lab/bpf/flow_count_v2",
    "v3": "lab/bpf/flow_count_v3",
    "broken": "lab/bpf/flow_count_broken",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command left: its exit code, and its words."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return checked(self.out)

    @property
    def error(self) -> Any:
        """The error as `-o json` has it."""
        return self.document["error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What serves a pipeline, as kernel, pins and records show it."""

    attached: int  # program id; 0: nothing, or no interface any more
    pins: tuple[str, ...]
    generation: int
    stored: tuple[str, ...]  # names below the record directory, but for caches, logs and the lock


@dataclass(slots=True)
class Stage:
    sandbox: Sandbox
    folder: Path
    objects: Callable[[str], Path]
    name: str = "edge"
    kernel: LiveKernel = field(default_factory=LiveKernel)
    records: Path = Path()
    _wire: socket.socket | None = None
    _sent: int = 0

    def __post_init__(self) -> None:
        self.records = self.sandbox.records

    # what is wanted

    @property
    def paths(self) -> Paths:
        return Paths(bpffs=self.sandbox.bpffs, records=self.records)

    @property
    def host(self) -> Host:
        return Host(kernel=self.kernel, paths=self.paths)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    def put(self, source: str | Path, name: str = "") -> str:
        """Copy an object beside the YAML: a version's name, or a path; returns the file's name."""
        path = Path(source) if isinstance(source, Path) else self.objects(VERSIONS[source])
        name = name or (f"{source}.bpf.o" if isinstance(source, str) else path.name)
        shutil.copyfile(path, self.folder / name)
        return name

    def attach(self, program: str = "count_flows", interface: str = "") -> dict[str, str]:
        rx = self.sandbox.rx
        return {"program": program, "type": "xdp", "interface": interface or rx.interface, "netns": rx.netns}

    def spec(self, version: str = "v1", **changes: Any) -> dict[str, Any]:
        """The flow counter's spec; `maps` is merged into its maps, a map of None is left out."""
        maps: dict[str, Any] = {
            "flows": {"role": "state"},
            "counters": {"role": "state"},
            "events": {"role": "stream"},
            "blocklist": {"role": "config", "entries": []},
            **({"sizes": {"role": "scratch"}} if version == "v2" else {}),
            **changes.pop("maps", {}),
        }
        return {
            "objects": [self.put(version)],
            "rodata": {"default_verdict": "XDP_DROP"},
            "attach": [self.attach()],
            "maps": {n: m for n, m in maps.items() if m is not None},
            **changes,
        }

    def write(self, spec: dict[str, Any], *more: dict[str, Any]) -> Path:
        """The YAML of this pipeline; `more` are whole further documents."""
        self.file.write_text(yaml.safe_dump_all([self.document(spec), *more], sort_keys=False))
        return self.file

    def document(self, spec: dict[str, Any], name: str = "") -> dict[str, Any]:
        metadata = {"name": name or self.name}
        return {"apiVersion": "reloader/v1", "kind": "Pipeline", "metadata": metadata, "spec": spec}

    # doing it

    @property
    def where(self) -> list[str]:
        return ["--bpffs", self.sandbox.bpffs, "--records", str(self.records)]

    def run(self, *words: str | Path, json_too: bool = True, where: bool = True) -> Done:
        """One command in this process."""
        rest = [*(self.where if where else []), *(["-o", "json"] if json_too else [])]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main([*map(str, words), *rest])
            except SystemExit as left:  # argparse, on words that make no sense
                code = int(left.code or 0)
        if json_too and out.getvalue():
            checked(out.getvalue())
        return Done(code=code, out=out.getvalue(), err=err.getvalue())

    def call(self, *words: str | Path) -> Any:
        """One command that must succeed; its document."""
        done = self.run(*words)
        assert done.code == 0, f"{words}: exit {done.code}: {done.err}"
        return done.document

    def apply(self, spec: dict[str, Any], *words: str) -> Any:
        """Write and apply; the result of the first pipeline."""
        return self.call("apply", self.write(spec), *words)["pipelines"][0]

    def spawn(self, *words: str | Path, code: str = "", prefix: tuple[str, ...] = (), **options: Any) -> Done:
        """One command in a process of its own; `code` is Python to run instead of the plain command line."""
        start = ["-c", code] if code else ["-m", "reloader"]
        command = [*prefix, sys.executable, *start, *map(str, words), *self.where]
        options = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "timeout": 60, **options}
        options.setdefault("preexec_fn", hear_signals)
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    # what is there

    def standing(self) -> Standing:
        current = records.read_current(self.paths, self.name)
        kept = {"cache", "logs", "lock"}
        names = [p.relative_to(self.records) for p in self.records.rglob("*") if p.is_file()]
        return Standing(
            attached=self.attached(),
            pins=tuple(self.sandbox.pins()),
            generation=current.generation if current else 0,
            stored=tuple(sorted(str(n) for n in names if n.parts[0] not in kept)),
        )

    def attached(self, interface: str = "") -> int:
        rx = self.sandbox.rx
        found = self.kernel.net.interface(interface or rx.interface, rx.netns)
        return found.xdp_prog_id if found else 0

    def pub(self, name: str) -> Fd:
        return self.kernel.pins.get(self.paths.pub_pin(self.name, name))

    def items(self, name: str) -> dict[bytes, bytes]:
        """Contents of a published map."""
        with self.pub(name) as fd:
            return self.kernel.maps.items(fd)

    def map_id(self, name: str) -> int:
        with self.pub(name) as fd:
            return self.kernel.maps.info(fd).id

    def put_entries(self, name: str, entries: dict[bytes, bytes]) -> None:
        """Write by hand, past reloader."""
        with self.pub(name) as fd:
            self.kernel.maps.update_many(fd, list(entries), list(entries.values()))

    # packets

    def send(self, packets: int, *, size: int = 64) -> None:
        """UDP frames of one flow onto the wire towards the program under test."""
        if self._wire is None:
            self._wire = self._open_wire()
        frame = udp_frame(self.sandbox.rx.mac, self.sandbox.tx.mac, size)
        for _ in range(packets):
            self._wire.send(frame)
        self._sent += packets

    def _open_wire(self) -> socket.socket:
        tx = self.sandbox.tx
        fd = netns.inside(tx.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).detach())
        wire = socket.socket(fileno=fd)
        wire.bind((tx.interface, 0))
        return wire

    def counted(self) -> int:
        """Packets in the state map `flows`."""
        return sum(int.from_bytes(v[:8], "little") for v in self.items("flows").values())

    def assert_counts(self, packets: int = 20) -> None:
        """Packets sent now are counted on top of the ones before."""
        before = self.counted()
        self.send(packets)
        wait_until(lambda: self.counted() >= before + packets)
        assert self.counted() == before + packets

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


def hear_signals() -> None:
    """For a child: the tests may run as a background job or under nohup, where these are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@functools.cache
def validator(kind: str) -> Draft7Validator:
    """The published schema of a kind of document."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def checked(text: str) -> Any:
    """A command's output, which must be one document and fit its schema."""
    document = json.loads(text)
    wrong = [f"{error.json_path}: {error.message}" for error in validator(document["kind"]).iter_errors(document)]
    assert not wrong, f"{document['kind']} does not fit its schema: {wrong}"
    return document


def wait_until(holds: Callable[[], bool], seconds: float = 2.0) -> None:
    """Return as soon as it holds, or when time is up: the caller's assertion tells."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)


@contextlib.contextmanager
def on_stage(sandbox: Sandbox, objects: Callable[[str], Path], folder: Path) -> Iterator[Stage]:
    stage = Stage(sandbox, folder, objects)
    try:
        yield stage
    finally:
        stage.close()


def udp_frame(to: str, source: str, size: int, *, address: str = "10.0.0.7", port: int = 1024) -> bytes:
    """An Ethernet frame of `size` bytes with an IPv4 UDP packet."""
    macs = bytes.fromhex((to + source).replace(":", ""))
    length = size - 14
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, socket.inet_aton(address), socket.inet_aton("192.0.2.1")
    )
    return (macs + b"\x08\x00" + head + struct.pack("!HHHH", port, 9, length - 20, 0)).ljust(size, b"\0")
