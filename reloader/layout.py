"""Every path and pin name reloader uses; nobody else builds one. Computes, touches nothing.

<bpffs>/<pipeline>/links/<attachment>              a bpf_link
<bpffs>/<pipeline>/state/<map>-<layout>-<serial>   a state map; survives loads and `remove`
<bpffs>/<pipeline>/loads/<n>/progs/<program>       the programs of load n
<bpffs>/<pipeline>/loads/<n>/maps/<map>            its config and scratch maps
<bpffs>/<pipeline>/taken/<attachment>              somebody else's program, while it is taken over
<bpffs>/<pipeline>/import/<map>                    entries on their way in, while `state import` is at it
<bpffs>/<pipeline>/panic/<hook>_{open,closed}      what serves in a panic
<bpffs>/<pipeline>/rescue/{progs,maps}/            what a generation's shell script loaded, until reloader serves again
<bpffs>/<pipeline>/pub/<map>                       what readers and writers in user space open
<run>/bpffs-<device>.lock                          one writer per bpf filesystem; <run> is /run/reloader, for root
<records>/lock, <records>/{objects,entries,tests}/<sha256>, <records>/cache/, <records>/logs/
<records>/pipelines/<pipeline>/{current.json, generations/<n>.{json,sh}, journal/<txn>.jsonl,
                                {objects,entries,tests}/<sha256>}     hard links: a count of one means unused

A leaf: imports nothing of the package.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from reloader.frozen import frozen

PIPELINE_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
DEFAULT_BPFFS = "/sys/fs/bpf/reloader"
DEFAULT_RECORDS = "/var/lib/reloader"
DEFAULT_RUN = "/run/reloader"
USER_RUN = "/run/user"
HOST_STATE = "/etc/reloader/state"  # state layouts of this host
HOST_FILE = "/etc/reloader/host.yaml"  # the commands that pipelines may name


def pin_name(name: str) -> str:
    """A map, program or attachment name as a bpffs file name, which may hold neither dot nor slash.

    `.bss` becomes `sec-bss`: no C identifier holds a dash, so the names cannot meet.
    """
    if name.startswith("."):
        name = "sec-" + name[1:]
    return re.sub(r"[^A-Za-z0-9_@:+-]", lambda m: f"%{ord(m[0]):02x}" if m[0] != "." else "-", name)


@frozen
class Layout:
    """All paths below one bpffs directory and one record directory."""

    bpffs: str = DEFAULT_BPFFS
    records: Path = Path(DEFAULT_RECORDS)
    host_file: Path = Path(HOST_FILE)
    run_dir: str = ""  # the folder of the lock files; empty: see `run_dirs`

    def run_dirs(self, user: int, session: str = "") -> tuple[str, ...]:
        """Folders for lock files, the best first. `user`: the effective user id; `session`: its XDG_RUNTIME_DIR.

        All processes of a user that share a bpf filesystem must come to the same one, so the fixed path comes before
        that of the environment.
        """
        if self.run_dir:
            return (self.run_dir,)
        if user == 0:
            return (DEFAULT_RUN,)
        return (f"{USER_RUN}/{user}/reloader", *([f"{session}/reloader"] if session.startswith("/") else []))

    def bpffs_lock(self, folder: str, device: int) -> str:
        """The lock file of the bpf filesystem with that device number, whatever path leads to it."""
        return f"{folder}/bpffs-{os.major(device)}:{os.minor(device)}.lock"

    def pipeline_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}"

    def link_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}/links"

    def link_pin(self, pipeline: str, attachment: str) -> str:
        return f"{self.bpffs}/{pipeline}/links/{pin_name(attachment)}"

    def state_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}/state"

    def state_pin(self, pipeline: str, map_name: str, layout: str, serial: int) -> str:
        return f"{self.state_pins(pipeline)}/{pin_name(map_name)}-{layout}-{serial}"

    def load_pins(self, pipeline: str, load: int) -> str:
        return f"{self.bpffs}/{pipeline}/loads/{load}"

    def prog_pins(self, pipeline: str, load: int) -> str:
        return f"{self.load_pins(pipeline, load)}/progs"

    def prog_pin(self, pipeline: str, load: int, program: str) -> str:
        return f"{self.prog_pins(pipeline, load)}/{pin_name(program)}"

    def map_pin(self, pipeline: str, load: int, map_name: str) -> str:
        return f"{self.load_pins(pipeline, load)}/maps/{pin_name(map_name)}"

    def inner_pin(self, pipeline: str, load: int, map_name: str, generation: int) -> str:
        """A config map that came to its load with a later generation; no map's name holds an @."""
        return f"{self.map_pin(pipeline, load, map_name)}@{generation}"

    def bridge_pins(self, pipeline: str, load: int) -> str:
        """The programs that serve while state moves to another layout."""
        return f"{self.load_pins(pipeline, load)}/bridge"

    def bridge_pin(self, pipeline: str, load: int, program: str) -> str:
        return f"{self.bridge_pins(pipeline, load)}/{pin_name(program)}"

    def taken_pin(self, pipeline: str, attachment: str, which: int = 0) -> str:
        """Somebody else's program, until it is certain that ours stays in its place. `which`: of several there."""
        return f"{self.bpffs}/{pipeline}/taken/{pin_name(attachment)}{f'~{which}' if which else ''}"

    def import_pin(self, pipeline: str, map_name: str) -> str:
        """Entries on their way from a file into a state map."""
        return f"{self.bpffs}/{pipeline}/import/{pin_name(map_name)}"

    def panic_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}/panic"

    def panic_pin(self, pipeline: str, which: str) -> str:
        """The program that serves in a panic: "xdp_open" and the like."""
        return f"{self.panic_pins(pipeline)}/{which}"

    def rescue_pins(self, pipeline: str) -> str:
        """Where a generation's shell script pins what it loads: folders `progs` and `maps`."""
        return f"{self.bpffs}/{pipeline}/rescue"

    def pub_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}/pub"

    def pub_pin(self, pipeline: str, map_name: str) -> str:
        return f"{self.pub_pins(pipeline)}/{pin_name(map_name)}"

    @property
    def lock_file(self) -> Path:
        return self.records / "lock"

    def object_file(self, digest: str) -> Path:
        return self.records / "objects" / digest

    def entries_file(self, digest: str) -> Path:
        return self.records / "entries" / digest

    def blob_file(self, blob: str, digest: str) -> Path:
        """The shared copy of a blob; `blob` is "objects", "entries" or "tests"."""
        return self.records / blob / digest

    def blob_link(self, pipeline: str, blob: str, digest: str) -> Path:
        """A pipeline's hard link to a shared blob: the link count tells when nobody needs it."""
        return self.record_dir(pipeline) / blob / digest

    @property
    def cache_dir(self) -> Path:
        return self.records / "cache"

    @property
    def logs_dir(self) -> Path:
        return self.records / "logs"

    @property
    def pipelines_dir(self) -> Path:
        return self.records / "pipelines"

    def record_dir(self, pipeline: str) -> Path:
        return self.pipelines_dir / pipeline

    def current_file(self, pipeline: str) -> Path:
        return self.record_dir(pipeline) / "current.json"

    def generation_file(self, pipeline: str, number: int) -> Path:
        return self.record_dir(pipeline) / "generations" / f"{number}.json"

    def rescue_file(self, pipeline: str, number: int) -> Path:
        """The shell script that puts a generation back into service without reloader."""
        return self.record_dir(pipeline) / "generations" / f"{number}.sh"

    def reserve_file(self, pipeline: str) -> Path:
        """Takes room on the disk across a commit; named like the fragments that recover sweeps away."""
        return self.record_dir(pipeline) / ".reserve.tmp"

    def journal_file(self, pipeline: str, txn: str) -> Path:
        return self.record_dir(pipeline) / "journal" / f"{txn}.jsonl"


def shipped_dir(kind: str) -> Path:
    """The folder of shipped `schemas`, `programs` or `state`: inside the wheel, or the checkout's top level."""
    inside = Path(__file__).parent / "_shipped" / kind
    return inside if inside.is_dir() else Path(__file__).parent.parent / kind


def shipped_object(program: str) -> Path:
    """The compiled object of a shipped program: beside its YAML in the wheel, in the build folder of a checkout."""
    inside = Path(__file__).parent / "_shipped" / "programs"
    built = Path(__file__).parent.parent / "build" / "bpf" / "programs"
    return (inside if inside.is_dir() else built) / program / f"{program}.bpf.o"
