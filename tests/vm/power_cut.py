"""A reload that is held open until the power goes: `python -m tests.vm.power_cut FOLDER`, in the machine only.

Version 1 serves and has counted packets, version 2 has just been swapped in and is not committed: there the
process stops and says so in the file `held`, and the host ends the machine. test_power_cut.py is the next boot.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab.stage import udp_frame
from reloader import cli, fault_points
from reloader.bpf.live import LiveKernel
from reloader.kernel import Interface

ROOT = Path(__file__).resolve().parent.parent.parent
PACKETS = 50
HERE, THERE = "rl0", "rl1"  # the machine is ours: no namespaces that would have to be found again
YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge}}
spec:
  objects: [{object}]
  attach: [{{program: count_flows, type: xdp, interface: rl0}}]
  maps:
    flows: {{role: state}}
    counters: {{role: state}}
    events: {{role: stream}}
    blocklist: {{role: config, entries: [{{key: 192.0.2.66, value: {{action: XDP_DROP}}}}]}}
{more}"""
OBJECTS = {
    "v1": ("programs/flow_count/flow_count", ""),
    "v2": ("lab/bpf/flow_count_v2", "    sizes: {role: scratch}\n"),
}


class Place:
    """An interface pair, a bpffs and the records: the first two are made anew at each boot."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.records = folder, folder / "records"
        self.kernel = LiveKernel()
        self.where = ["--records", str(self.records)]
        for words in (f"add {HERE} type veth peer {THERE}", f"set {HERE} up", f"set {THERE} up"):
            subprocess.run(["ip", "link", *words.split()], check=True)
            subprocess.run(["ethtool", "-K", HERE, "gro", "on"], check=True, capture_output=True)

    def yaml(self, version: str) -> Path:
        stem, more = OBJECTS[version]
        shutil.copyfile(ROOT / "build" / "bpf" / f"{stem}.bpf.o", self.folder / f"{version}.bpf.o")
        path = self.folder / "edge.yaml"
        path.write_text(YAML.format(object=f"{version}.bpf.o", more=more))
        return path

    def apply(self, version: str) -> int:
        return cli.main(["apply", str(self.yaml(version)), *self.where])

    def interface(self) -> Interface:
        found = self.kernel.net.interface(HERE, None)
        assert found is not None
        return found

    def send(self, packets: int = PACKETS) -> None:
        mac, source = (Path(f"/sys/class/net/{name}/address").read_text().strip() for name in (HERE, THERE))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((THERE, 0))
            for _ in range(packets):
                wire.send(udp_frame(mac, source, 64))

    def counted(self) -> int:
        """Packets in the published state map."""
        with self.kernel.pins.get("/sys/fs/bpf/reloader/edge/pub/flows") as fd:
            return sum(int.from_bytes(value[:8], "little") for value in self.kernel.maps.items(fd).values())

    def wait_for(self, counted: int) -> int:
        """The count, once it is reached or clearly is not."""
        end = time.monotonic() + 10
        while self.counted() < counted and time.monotonic() < end:
            time.sleep(0.05)
        return self.counted()


def hold(place: Place, told: Path) -> fault_points.Gate:
    """Stop for ever right behind the swap, and say what serves there."""

    def gate(when: str, name: str) -> None:
        if when == "after" and name == "link.update":
            journals = [str(p) for p in place.records.glob("pipelines/edge/journal/*")]
            text = {"serving": place.interface().xdp_prog_id, "boot_id": place.kernel.boot_id(), "journals": journals}
            told.with_suffix(".facts").write_text(json.dumps(text))
            _make_lasting(told.with_suffix(".facts"))
            told.touch()
            time.sleep(3600)

    return gate


def _make_lasting(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def main(folder: Path) -> None:
    home = folder / "power"
    home.mkdir()
    place = Place(home)
    assert place.apply("v1") == 0
    place.send()
    assert place.wait_for(PACKETS) == PACKETS
    fault_points.install(hold(place, folder / "held"))
    raise SystemExit(f"the reload was not held: it ended with {place.apply('v2')}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
