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

BLOBS = ("objects", "entries", "tests")  # kinds of stored files, each with a folder of that name
RECORD_SUFFIX = ".json"  # of records and of compiled wishes
JOURNAL_SUFFIX = ".jsonl"
CURRENT = "current"
FRAGMENTS = ".*.tmp"  # files that a process was writing when it was killed, as `fragment_of` names them

# Folders of pins, below the pipeline's; {load} where each load has its own. `pins.PinKind` says what the pins are.
LINKS = "links"
STATE = "state"
TAKEN = "taken"
IMPORTS = "import"
PANIC = "panic"
PUBLIC = "pub"
LOADS = "loads"
RESCUE = "rescue"
CGROUPS = "cgroup_"  # ids of attachments to cgroups begin with it
RESCUE_PROGRAMS = f"{RESCUE}/progs"
RESCUE_MAPS = f"{RESCUE}/maps"
PROGRAMS = f"{LOADS}/{{load}}/progs"
MAPS = f"{LOADS}/{{load}}/maps"
BRIDGE = f"{LOADS}/{{load}}/bridge"


def pin_name(name: str) -> str:
    """A map, program or attachment name as a bpffs file name, which may hold neither dot nor slash.

    `.bss` becomes `sec-bss`: no C identifier holds a dash, so the names cannot meet. A path of a cgroup may hold dots
    and dashes: there each such byte but the dash is written as `%` and two digits, so two paths never share a pin.
    """
    if name.startswith(CGROUPS):
        quoted = re.sub(rb"[^A-Za-z0-9_@:+-]", lambda m: b"%%%02x" % ord(m[0]), name.encode(errors="surrogateescape"))
        return quoted.decode()
    if name.startswith("."):
        name = "sec-" + name[1:]
    return re.sub(r"[^A-Za-z0-9_@:+-]", lambda m: f"%{ord(m[0]):02x}" if m[0] != "." else "-", name)


def read_pin_name(file: str) -> str:
    """Return the name that `pin_name` made this of. For other ids than of cgroups it keeps what is escaped."""
    if file.startswith(CGROUPS):
        quoted = re.sub(rb"%([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), file.encode())
        return quoted.decode(errors="surrogateescape")
    return "." + file[4:] if file.startswith("sec-") else file


def read_state_pin(pin: str) -> tuple[str, str]:
    """Return the map's file name and the layout's digest that the name of a state map's pin says."""
    name, *rest = pin.rpartition("/")[2].rsplit("-", 2)
    return name, rest[0] if rest else ""


def read_inner_pin(pin: str) -> tuple[str, int]:
    """Return the map's file name, and the generation with which the map came to its load; 0: with the load."""
    name, _, generation = pin.rpartition("/")[2].partition("@")
    return name, int(generation) if generation.isdecimal() else 0


def read_panic_pin(pin: str) -> str:
    """Return the stance, "open" or "closed", that the name of a panic program's pin says."""
    return pin.rpartition("_")[2]


def fragment_of(path: Path, word: str) -> Path:
    """Return the file that holds the new content of `path` until it is whole; `word` makes its name unique."""
    return path.parent / f".{path.name[:80]}.{word}.tmp"


def public_name(map_name: str) -> str:
    """Return how messages name a published map: relative to the pipeline's folder."""
    return f"{PUBLIC}/{map_name}"


def pipeline_of_record(path: Path) -> str:
    """Return the pipeline whose current record or generation is kept in this file."""
    return path.parent.name if path.stem == CURRENT else path.parent.parent.name


def load_folders(load_pins: str) -> tuple[str, ...]:
    """Return the folders of a load's pins, by the folder of the load."""
    return tuple(f"{load_pins}/{folder.rpartition('/')[2]}" for folder in (PROGRAMS, MAPS, BRIDGE))


@frozen
class Paths:
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

    def below_bpffs(self, pin: str) -> str:
        """Return the rest of a pin's path, with a slash before it, for a shell script that has a variable for bpffs."""
        return pin.removeprefix(self.bpffs)

    def below_records(self, path: Path) -> str:
        """Return the rest of a path among the records, with a slash before it, likewise."""
        return f"/{path.relative_to(self.records)}"

    def below_rescue(self, folder: str) -> str:
        """Return the rest of the path of RESCUE_PROGRAMS or RESCUE_MAPS, with a slash before it, likewise."""
        return folder.removeprefix(RESCUE)

    def pipeline_pins(self, pipeline: str) -> str:
        return f"{self.bpffs}/{pipeline}"

    def pin_folder(self, pipeline: str, folder: str, load: int = 0) -> str:
        """The path of a folder of pins; `folder`: LINKS and so on, or a PinKind; `load`: where each load has one."""
        return f"{self.bpffs}/{pipeline}/{folder.format(load=load)}"

    def emptied_folders(self, pipeline: str) -> tuple[str, ...]:
        """The folders that stay when the last pin of a pipeline is removed."""
        return tuple(self.pin_folder(pipeline, folder) for folder in (PUBLIC, LINKS, STATE, LOADS))

    def link_pins(self, pipeline: str) -> str:
        return self.pin_folder(pipeline, LINKS)

    def link_pin(self, pipeline: str, attachment: str) -> str:
        return f"{self.link_pins(pipeline)}/{pin_name(attachment)}"

    def state_pins(self, pipeline: str) -> str:
        return self.pin_folder(pipeline, STATE)

    def state_pin(self, pipeline: str, map_name: str, layout: str, serial: int) -> str:
        return f"{self.state_pins(pipeline)}/{pin_name(map_name)}-{layout}-{serial}"

    def loads_pins(self, pipeline: str) -> str:
        """The folder that holds a folder for each load, named by its number."""
        return self.pin_folder(pipeline, LOADS)

    def load_pins(self, pipeline: str, load: int) -> str:
        return f"{self.loads_pins(pipeline)}/{load}"

    def prog_pins(self, pipeline: str, load: int) -> str:
        return self.pin_folder(pipeline, PROGRAMS, load)

    def prog_pin(self, pipeline: str, load: int, program: str) -> str:
        return f"{self.prog_pins(pipeline, load)}/{pin_name(program)}"

    def map_pin(self, pipeline: str, load: int, map_name: str) -> str:
        return f"{self.pin_folder(pipeline, MAPS, load)}/{pin_name(map_name)}"

    def inner_pin(self, pipeline: str, load: int, map_name: str, generation: int) -> str:
        """A config map that came to its load with a later generation; no map's name holds an @."""
        return f"{self.map_pin(pipeline, load, map_name)}@{generation}"

    def bridge_pins(self, pipeline: str, load: int) -> str:
        """The programs that serve while state moves to another layout."""
        return self.pin_folder(pipeline, BRIDGE, load)

    def bridge_pin(self, pipeline: str, load: int, program: str) -> str:
        return f"{self.bridge_pins(pipeline, load)}/{pin_name(program)}"

    def taken_pin(self, pipeline: str, attachment: str, which: int = 0) -> str:
        """Somebody else's program, until it is certain that ours stays in its place. `which`: of several there."""
        name = f"{pin_name(attachment)}{f'~{which}' if which else ''}"
        return f"{self.pin_folder(pipeline, TAKEN)}/{name}"

    def import_pin(self, pipeline: str, map_name: str) -> str:
        """Entries on their way from a file into a state map."""
        return f"{self.pin_folder(pipeline, IMPORTS)}/{pin_name(map_name)}"

    def panic_pins(self, pipeline: str) -> str:
        return self.pin_folder(pipeline, PANIC)

    def panic_pin(self, pipeline: str, which: str) -> str:
        """The program that serves in a panic: "xdp_open" and the like."""
        return f"{self.panic_pins(pipeline)}/{which}"

    def rescue_pins(self, pipeline: str) -> str:
        """Where a generation's shell script pins what it loads: folders `progs` and `maps`."""
        return self.pin_folder(pipeline, RESCUE)

    def pub_pins(self, pipeline: str) -> str:
        return self.pin_folder(pipeline, PUBLIC)

    def pub_pin(self, pipeline: str, map_name: str) -> str:
        return f"{self.pub_pins(pipeline)}/{pin_name(map_name)}"

    @property
    def lock_file(self) -> Path:
        return self.records / "lock"

    def object_file(self, digest: str) -> Path:
        return self.blob_file("objects", digest)

    def entries_file(self, digest: str) -> Path:
        return self.blob_file("entries", digest)

    def blob_dir(self, blob: str) -> Path:
        """The folder of the shared copies of a kind of blob, one of BLOBS."""
        return self.records / blob

    def blob_file(self, blob: str, digest: str) -> Path:
        """The shared copy of a blob; `blob` is one of BLOBS."""
        return self.blob_dir(blob) / digest

    def blob_links_dir(self, pipeline: str, blob: str) -> Path:
        """The folder of a pipeline's hard links to a kind of blob."""
        return self.record_dir(pipeline) / blob

    def blob_link(self, pipeline: str, blob: str, digest: str) -> Path:
        """A pipeline's hard link to a shared blob: the link count tells when nobody needs it."""
        return self.blob_links_dir(pipeline, blob) / digest

    @property
    def cache_dir(self) -> Path:
        return self.records / "cache"

    def compiled_file(self, name: str) -> Path:
        """The compiled wishes of one YAML file; `name`: made of its path."""
        return self.cache_dir / f"{name}{RECORD_SUFFIX}"

    @property
    def logs_dir(self) -> Path:
        return self.records / "logs"

    def verifier_log(self, pipeline: str, program: str) -> Path:
        """The whole log of the last refused load of a program."""
        return self.logs_dir / f"{pipeline}-{program}.verifier.log"

    @property
    def pipelines_dir(self) -> Path:
        return self.records / "pipelines"

    def record_dir(self, pipeline: str) -> Path:
        return self.pipelines_dir / pipeline

    def stored_dirs(self, pipeline: str) -> tuple[Path, ...]:
        """The folders below a pipeline's record folder that last; the one of its journals is not among them."""
        return (*(self.blob_links_dir(pipeline, blob) for blob in BLOBS), self.generations_dir(pipeline))

    def current_file(self, pipeline: str) -> Path:
        return self.record_dir(pipeline) / f"{CURRENT}{RECORD_SUFFIX}"

    def generations_dir(self, pipeline: str) -> Path:
        return self.record_dir(pipeline) / "generations"

    def generation_file(self, pipeline: str, number: int) -> Path:
        return self.generations_dir(pipeline) / f"{number}{RECORD_SUFFIX}"

    def rescue_file(self, pipeline: str, number: int) -> Path:
        """The shell script that puts a generation back into service without reloader."""
        return self.generations_dir(pipeline) / f"{number}.sh"

    def reserve_file(self, pipeline: str) -> Path:
        """Takes room on the disk across a commit; named like the fragments that recover sweeps away."""
        return self.record_dir(pipeline) / ".reserve.tmp"

    def journals_dir(self, pipeline: str) -> Path:
        return self.record_dir(pipeline) / "journal"

    def journal_file(self, pipeline: str, txn: str) -> Path:
        return self.journals_dir(pipeline) / f"{txn}{JOURNAL_SUFFIX}"


def registry_dirs(beside: Path | None = None) -> tuple[Path, ...]:
    """Return the folders of state schemas, the first one first: beside this YAML file, of this host, shipped."""
    return (*((beside.parent / "state",) if beside else ()), Path(HOST_STATE), shipped_dir("state"))


def shipped_schema() -> Path:
    """Return the JSON Schema of the pipelines' YAML."""
    return shipped_dir("schemas") / "pipeline.schema.json"


def shipped_dir(kind: str) -> Path:
    """The folder of shipped `schemas`, `programs` or `state`: inside the wheel, or the checkout's top level."""
    inside = Path(__file__).parent / "_shipped" / kind
    return inside if inside.is_dir() else Path(__file__).parent.parent / kind


def shipped_object(program: str) -> Path:
    """The compiled object of a shipped program: beside its YAML in the wheel, in the build folder of a checkout."""
    inside = Path(__file__).parent / "_shipped" / "programs"
    built = Path(__file__).parent.parent / "build" / "bpf" / "programs"
    return (inside if inside.is_dir() else built) / program / f"{program}.bpf.o"
