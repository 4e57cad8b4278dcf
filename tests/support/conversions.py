"""Conversions without a registry: rules from field names, for the engine's own tests.

`install()` puts them where the engine asks for rules. Beside it the same conversion in plain Python, by names and
numbers, which knows no rules: what a conversion must have made. Fields match by name; MEANING says how counts merge.
"""

from __future__ import annotations

import shutil
import struct
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.sandbox import Sandbox
from reloader.bpf.live import LiveKernel
from reloader.disk.lock import writer_of
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.transaction import Progress
from reloader.frozen import frozen
from reloader.kernel import PERCPU_TYPES, Fd, Kernel
from reloader.kernel.host import Host
from reloader.layouts.rules import Conversion, Op, Rule
from reloader.lifecycle import conversions as state_conversions
from reloader.lifecycle.apply import apply as apply_version
from reloader.lifecycle.carry_out import Result, quiet
from reloader.lifecycle.planning import plan as plan_change
from reloader.lifecycle.ready import recover_all
from reloader.lifecycle.rollback import rollback as roll_back
from reloader.observe.pipeline import Observed, SeenMap
from reloader.paths import Paths
from reloader.pipeline.compile import compile_file
from reloader.pipeline.model import Role
from reloader.pipeline.registry.registry import file_name
from reloader.pipeline.wish import Wish
from reloader.plan.model import Plan
from reloader.plan.state.compat import MapShape, map_differences, wished_shape
from reloader.plan.state.conversion import Obstacle, Pair
from reloader.structs.tree import TypeTree

MEANING = {
    **dict.fromkeys(("packets", "bytes", "hits", "balance", "counts", "sec_seen", "sec_init", "odd"), Op.SUM),
    "peak": Op.MAX,
    "low": Op.MIN,
    "marks": Op.OR,
    "owner": Op.KEEP_OLD,
}
"""How a field of that name merges; all others are copied."""
RENAMED = {"name_after": "name_before", "name_before": "name_after"}
DEFAULTS = {"added": 0xFEEDFACE, "zone": 7, "first_ns": 777}


@frozen
class Field:
    """One number, or a row of them."""

    name: str
    at: int
    size: int
    signed: bool
    count: int = 1


def fields_of(tree: TypeTree) -> dict[str, Field]:
    """The named numbers of a layout; padding has no name, or `pad`."""
    found = {}
    for member in tree.fields():
        kind, count = member.type, 1
        if kind.kind == "array" and kind.element is not None:
            kind, count = kind.element, kind.count
        if kind.aggregate:
            continue  # a lock
        found[member.name] = Field(
            name=member.name, at=member.offset_bits // 8, size=kind.size, signed=kind.signed, count=count
        )
    return {name: field for name, field in found.items() if not name.startswith("pad")}


def _source(field: Field, old: Mapping[str, Field]) -> Field | None:
    return old.get(field.name) or old.get(RENAMED.get(field.name, ""))


# rules


def rules_between(old: TypeTree, new: TypeTree) -> tuple[Rule, ...]:
    before = fields_of(old)
    return tuple(rule for f in fields_of(new).values() for rule in _rules_for(f, _source(f, before)))


def _rules_for(new: Field, old: Field | None) -> list[Rule]:
    if old is None:
        imm = DEFAULTS.get(new.name, 0)
        return [Rule(op=Op.CONST, src_off=0, dst_off=new.at, src_size=new.size, dst_size=new.size, imm=imm)]
    op = MEANING.get(new.name, Op.COPY)
    if op is Op.COPY and old.size == new.size == 1 and new.count >= 8:
        return _as_words(new.at, old.at, new.count)
    return [
        Rule(
            op=op, src_off=old.at, dst_off=new.at, src_size=old.size, dst_size=new.size,
            signed=old.signed, checked=new.size < old.size, imm=min(old.count, new.count) - 1,
        )
    ]  # fmt: skip


def _as_words(to: int, at: int, size: int) -> list[Rule]:
    words, rest = divmod(size, 8)
    many = [Rule(op=Op.COPY, src_off=at, dst_off=to, src_size=8, dst_size=8, imm=words - 1)]
    past = 8 * words
    tail = Rule(op=Op.COPY, src_off=at + past, dst_off=to + past, src_size=1, dst_size=1, imm=rest - 1)
    return [*many, tail] if rest else many


def conversion(old: MapShape, new: MapShape) -> Conversion:
    assert old.value is not None
    assert new.value is not None
    key = key_rules(old.key, new.key) if old.key and new.key and old.key != new.key else ()
    return Conversion(
        key=key, value=rules_between(old.value, new.value), old_key_size=old.key_size, new_key_size=new.key_size,
        old_value_size=old.value_size, new_value_size=new.value_size,
    )  # fmt: skip


def key_rules(old: TypeTree, new: TypeTree) -> tuple[Rule, ...]:
    """A constant part that the new key has no more must be as it was made."""
    kept = fields_of(new)
    dropped = (f for f in fields_of(old).values() if f.name not in kept)
    guards = (
        Rule(op=Op.EXPECT, src_off=f.at, dst_off=0, src_size=f.size, dst_size=f.size, imm=DEFAULTS[f.name])
        for f in dropped
    )
    return (*guards, *rules_between(old, new))


def conversions(kernel: Kernel, wish: Wish, seen: Observed) -> dict[str, Pair | Obstacle]:
    """In place of reloader's own: rules for each state map whose live shape is not the wished one."""
    out: dict[str, Pair | Obstacle] = {}
    for wanted in wish.maps:
        live = seen.maps.get(wanted.name)
        if live is None or wanted.role is not Role.STATE:
            continue
        old, new = _live_shape(live), wished_shape(wanted)
        if map_differences(old, new):
            with kernel.pins.get(live.pin) as fd:
                entries = kernel.maps.count(fd)
            out[wanted.name] = Pair(forward=conversion(old, new), back=conversion(new, old), entries=entries)
    return out


def _live_shape(live: SeenMap) -> MapShape:
    info = live.info
    return MapShape(
        type=info.type, key_size=info.key_size, value_size=info.value_size, max_entries=info.max_entries,
        map_flags=info.map_flags, key=live.key, value=live.value,
    )  # fmt: skip


def install() -> None:
    state_conversions.conversions = conversions


# the same without rules

Numbers = dict[str, list[int]]


def decode(tree: TypeTree, data: bytes) -> Numbers:
    """Every named number of a value."""
    return {
        f.name: [
            int.from_bytes(data[at : at + f.size], "little", signed=f.signed)
            for at in range(f.at, f.at + f.size * f.count, f.size)
        ]
        for f in fields_of(tree).values()
    }


def encode(tree: TypeTree, numbers: Mapping[str, list[int]]) -> bytes:
    """A value with these numbers; bytes that have no name are zero."""
    out = bytearray(tree.size)
    for f in fields_of(tree).values():
        for i, n in enumerate(numbers.get(f.name, [])[: f.count]):
            at = f.at + i * f.size
            out[at : at + f.size] = n.to_bytes(f.size, "little", signed=n < 0)
    return bytes(out)


def converted(old: TypeTree, new: TypeTree, data: bytes) -> bytes:
    """What `data` of the old layout must become."""
    before = decode(old, data)
    after = {}
    for name in fields_of(new):
        found = before.get(name, before.get(RENAMED.get(name, "")))
        after[name] = [DEFAULTS.get(name, 0)] if found is None else found
    return encode(new, after)


def apply_by_hand(rules: tuple[Rule, ...], data: bytes, size: int) -> bytes:
    """Single rules on one value, as a script would."""
    out = bytearray(size)
    for r in rules:
        value = int.from_bytes(data[r.src_off : r.src_off + r.src_size], "little") if r.op is not Op.CONST else r.imm
        out[r.dst_off : r.dst_off + r.dst_size] = value.to_bytes(r.dst_size, "little")
    return bytes(out)


# a pipeline whose state changes its layout

YAML = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {{name: edge}}
spec:
  objects: [{object}]
{schema}  attach:
{attach}
  maps: {{{maps}}}
"""


class Shifting:
    """A pipeline in a sandbox, applied by the engine itself in one version or another."""

    def __init__(self, sandbox: Sandbox, folder: Path, objects: Mapping[str, Path], maps: str = "") -> None:
        self.sandbox, self.folder, self.maps = sandbox, folder, maps
        self.kernel = LiveKernel()
        self.paths = Paths(bpffs=sandbox.bpffs, records=sandbox.records)
        self.host = Host(kernel=self.kernel, paths=self.paths)
        self.attached = {"count_flows": sandbox.rx}  # program -> where
        self.file = folder / "edge.yaml"
        self.lossy = False  # whether rules are fine whose way back loses something
        self.version = self.schema = ""  # with a schema the registry beside the YAML is asked for rules
        for name, path in objects.items():
            shutil.copyfile(path, folder / f"{name}.bpf.o")

    def intake(self, version: str) -> ApplyRequest:
        """Version `version` as it would be applied."""
        rows = [
            f"    - {{program: {program}, type: xdp, interface: {end.interface}, netns: {end.netns}}}"
            for program, end in self.attached.items()
        ]
        schema = f"  stateSchema: {self.schema}\n" if self.schema else ""
        words = {"object": f"{version}.bpf.o", "schema": schema, "attach": "\n".join(rows), "maps": self.maps}
        self.file.write_text(YAML.format(**words))
        made = compile_file(self.file)[0]
        return ApplyRequest(wish=made.wish, blobs={**made.objects, **made.entries}, lossy_rollback=self.lossy)

    def object(self, version: str, path: Path) -> None:
        """Another version to apply."""
        shutil.copyfile(path, self.folder / f"{version}.bpf.o")

    def record(self, map_name: str, *versions: str) -> None:
        """Write a map's history into the registry beside the YAML: each text is what stands below `metadata`."""
        self.schema = "edge"
        folder = self.folder / "state" / self.schema
        folder.mkdir(parents=True, exist_ok=True)
        for former in folder.glob(f"{map_name}.*.yaml"):
            former.unlink()
        for number, body in enumerate(versions, 1):
            head = f"metadata: {{schema: edge, map: {map_name}, version: {number}}}"
            text = "\n".join(["apiVersion: reloader/v1", "kind: StateLayout", head, textwrap.dedent(body).strip(), ""])
            (folder / file_name(map_name, number)).write_text(text)

    def plan(self, version: str) -> Plan:
        return plan_change(self.host, self.intake(version))

    def apply(self, version: str, progress: Progress = quiet) -> Result:
        with writer_of(self.host) as writer:
            done = apply_version(writer, self.intake(version), progress=progress)
        self.version = version
        return done

    def rollback(self) -> Result:
        with writer_of(self.host) as writer:
            return roll_back(writer, "edge", None)

    def recover(self) -> Sequence[str]:
        with writer_of(self.host) as writer:
            return recover_all(writer, [])

    def pub(self, name: str) -> Fd:
        return self.kernel.pins.get(self.paths.pub_pin("edge", name))

    def contents(self, name: str) -> dict[bytes, bytes]:
        with self.pub(name) as fd:
            return self.kernel.maps.items(fd)

    def pins_of(self, name: str) -> list[str]:
        """The state pins of a map: two while it is converted."""
        folder = f"{self.paths.pipeline_pins('edge')}/state"
        return [f"{folder}/{p}" for p in self.kernel.pins.listdir(folder) if p.startswith(f"{name}-")]


def cpu_values(kind: int, size: int, value: bytes) -> list[bytes]:
    """One value, or each CPU's of a per-CPU map, without the padding between."""
    if kind not in PERCPU_TYPES:
        return [value]
    step = (size + 7) // 8 * 8
    return [value[at : at + size] for at in range(0, len(value), step)]


def joined(kind: int, values: list[bytes]) -> bytes:
    """The other way round."""
    if kind not in PERCPU_TYPES:
        return values[0]
    return b"".join(v.ljust((len(v) + 7) // 8 * 8, b"\0") for v in values)


def column(data: bytes, size: int) -> list[int]:
    """A per-CPU value of u64 fields, summed over the CPUs."""
    rows = struct.iter_unpack(f"={size}Q", data)
    return [sum(c) for c in zip(*rows, strict=True)]


def apply_in_process(words: list[str]) -> None:
    """Apply a written YAML file: FILE BPFFS RECORDS. For a process of its own, to be killed."""
    install()
    file, bpffs, kept = words
    made = compile_file(Path(file))[0]
    paths = Paths(bpffs=bpffs, records=Path(kept))
    with writer_of(Host(kernel=LiveKernel(), paths=paths)) as writer:
        apply_version(writer, ApplyRequest(wish=made.wish, blobs={**made.objects, **made.entries}))
