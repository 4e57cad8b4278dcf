"""Short descriptions in YAML → Wish and Observed, and ops back to one line each. Used by tests/unit/test_planner.py.

    about: what the case shows
    was:   the wish that serves now, as generation 1 and load 1; left out: nothing was ever applied
    wish:  what is wanted
    there: what the kernel shows otherwise than `was` left it
    reset: [maps named by --reset]
    rules: state map → {forward: [what is lost], back: [what a rollback loses]}: its layout can be converted
    expect: why, ops, after, lines; or refused, reasons, hint; or missing

A wish: {objects: ab, rodata: {rate: 1}, maps: {…}, attach: {hook: program}, tests: a}. A map: a role, or {role, layout,
type, max, entries, …}. Everything is left out that does not matter to the case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from reloader.config_maps.entry_changes import digest_of, entry_diff, join_records
from reloader.kernel import ARRAY_TYPES, PLAIN_TYPES, Interface, LinkInfo, MapInfo, MapType, XdpMode
from reloader.layouts.rules import Conversion
from reloader.observe.pipeline import Observed, SeenMap
from reloader.paths import Paths
from reloader.pipeline.model import Apply, Role
from reloader.pipeline.wish import EntriesRef, Kept, Wish, WishAttachment, WishMap, WishObject, WishTests
from reloader.places.interface import texts
from reloader.places.interface.tcx import Tcx
from reloader.places.interface.xdp import Xdp
from reloader.places.place import Foreign, Seen
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.plan.planner import PlanInputs
from reloader.plan.state.conversion import Pair
from reloader.store.records import Current, Generation, LinkRecord, MapRecord
from reloader.structs.tree import Member, TypeTree, layout_digest

FOLDER = Path(__file__).parent
PIPELINE = "edge"
LAYOUT = Paths(bpffs="/pins", records=Path("/records"))
ROOT = f"{LAYOUT.bpffs}/{PIPELINE}"

U32 = TypeTree(kind="int", name="unsigned int", size=4)
U64 = TypeTree(kind="int", name="unsigned long long", size=8)


def struct_of(name: str, *fields: str) -> TypeTree:
    """A struct of u64 fields in that order."""
    members = tuple(Member(name=f, offset_bits=64 * i, type=U64) for i, f in enumerate(fields))
    return TypeTree(kind="struct", name=name, size=8 * len(fields), members=members)


VALUES: dict[str, TypeTree | None] = {
    "u32": U32,
    "flow": struct_of("flow", "packets", "bytes"),
    "flow-turned": struct_of("flow", "bytes", "packets"),
    "flow-long": struct_of("flow", "packets", "bytes", "seen"),
    "bss": TypeTree(kind="datasec", name=".bss", size=8, members=(Member(name="total", offset_bits=0, type=U64),)),
    "none": None,
}
NO_BYTES = ("ringbuf", "prog_array", "perf_event_array", "devmap")


# wishes


def wish_of(text: dict[str, Any]) -> Wish:
    attach = text.get("attach", {"eth0": "main"})
    programs = text.get("programs", sorted(set(attach.values())))
    return Wish(
        pipeline=PIPELINE,
        source_revision="file:0123456789ab",
        objects=tuple(WishObject(digest=o * 64, path=f"/src/{o}.bpf.o") for o in text.get("objects", "a")),
        programs=tuple(programs),
        rodata={k: int(v).to_bytes(4, "little") for k, v in text.get("rodata", {}).items()},
        maps=tuple(map_of(n, m) for n, m in sorted(text.get("maps", {}).items())),
        attachments=tuple(attachment_of(where, program) for where, program in attach.items()),
        gates=tuple(text.get("gates", ())),
        tests=WishTests(digest=text["tests"] * 64, count=1) if "tests" in text else None,
    )


def attachment_of(where: str, program: str) -> WishAttachment:
    """`eth0`, or `eth0 skb` for a mode; `eth0 ingress` is traffic control."""
    interface, _, mode = where.partition(" ")
    if mode == "ingress":
        target = {"interface": interface, "direction": mode}
        return WishAttachment(id=f"tcx-ingress:{interface}", type="tcx", program=program, target=target)
    target = {"interface": interface, "mode": mode or "native"}
    return WishAttachment(id=f"xdp:{interface}", type="xdp", program=program, target=target)


def map_of(name: str, text: str | dict[str, Any]) -> WishMap:
    said: dict[str, Any] = {"role": text} if isinstance(text, str) else text
    role = Role(said["role"])
    kind = MapType[said.get("type", "array" if name.startswith(".") else "hash").upper()]
    value = VALUES[said.get("layout", default_layout(name, role))]
    bare = said.get("type") in NO_BYTES
    size = 0 if said.get("type") == "ringbuf" else 4
    entries = packed(said["entries"], value) if "entries" in said else None
    return WishMap(
        name=name,
        role=role,
        type=kind,
        key_size=size,
        value_size=size if bare else value.size if value else 16,
        max_entries=said.get("max", 1 if name.startswith(".") else 4096 if bare else 16),
        map_flags=said.get("flags", 0),
        key=None if bare or value is None else U32,
        value=None if bare else value,
        apply=Apply(said.get("apply", "auto")),
        together_with=tuple(said.get("together_with", ())),
        prune=said.get("prune", True),
        entries=EntriesRef(digest=digest_of(entries), count=len(said["entries"])) if entries is not None else None,
        pin=said.get("pin", f"/other/{name}") if role is Role.EXTERNAL else None,
        flips=said.get("flips", False),
        keep=tuple(Kept(name=n, offset=offset, size=8) for n, offset in said.get("keep", {}).items()),
    )


def default_layout(name: str, role: Role) -> str:
    if name.startswith("."):
        return "bss"
    return "flow" if role is Role.STATE else "u32"


def packed(entries: dict[int, int], value: TypeTree | None) -> bytes:
    return join_records(unpacked(entries, value))


def unpacked(entries: dict[int, int], value: TypeTree | None) -> dict[bytes, bytes]:
    size = value.size if value else 16
    return {k.to_bytes(4, "little"): v.to_bytes(size, "little") for k, v in entries.items()}


# what is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    about: str
    wish: Wish
    seen: Observed
    request: PlanInputs
    expect: dict[str, Any]
    digests: dict[str, str] = field(default_factory=dict)  # digest -> how the expectation writes it


def read_case(path: Path) -> Case:
    return case_of(yaml.safe_load(path.read_text()))


def case_of(text: dict[str, Any]) -> Case:
    unknown = set(text) - {"about", "was", "wish", "there", "reset", "rules", "expect"}
    assert not unknown, f"unknown words: {unknown}"
    wish = wish_of(text["wish"])
    was = wish_of(text["was"]) if "was" in text else None
    there = text.get("there", {})
    seen = observed(was, wish, there, text)
    return Case(
        about=text["about"],
        wish=wish,
        seen=seen,
        request=PlanInputs(
            reset=tuple(text.get("reset", ())),
            diffs=diffs(wish, seen, text),
            conversions={n: pair_of(**words) for n, words in text.get("rules", {}).items()},
        ),
        expect=text["expect"],
        digests=spellings(text),
    )


def pair_of(forward: Sequence[str] = (), back: Sequence[str] = ()) -> Pair:
    """Rules of which only it matters that there are some, and what they lose."""
    empty = Conversion(key=(), value=(), old_key_size=4, new_key_size=4, old_value_size=16, new_value_size=24)
    return Pair(forward=replace(empty, lossy=tuple(forward)), back=replace(empty, lossy=tuple(back)), entries=3)


def spellings(text: dict[str, Any]) -> dict[str, str]:
    """Digests of objects, entries and layouts, and the short words a case has for them."""
    found = {letter * 64: letter for letter in "abcd"}
    listings = [m for part in ("was", "wish") for m in listed(text.get(part, {})).values()]
    for entries in [*listings, *text.get("there", {}).get("entries", {}).values()]:
        spelt = "{" + ", ".join(f"{k}: {v}" for k, v in sorted(entries.items())) + "}"
        found |= {digest_of(packed(entries, tree)): spelt for tree in (U32, VALUES["flow"])}
    for name, tree in VALUES.items():
        found[layout_digest(U32, tree)] = name
        found[layout_digest(None, tree)] = name
    return found


def listed(wish: dict[str, Any]) -> dict[str, dict[int, int]]:
    """Map → its entries, for the maps that list any."""
    maps = wish.get("maps", {}).items()
    return {n: m["entries"] for n, m in maps if isinstance(m, dict) and "entries" in m}


def observed(was: Wish | None, wish: Wish, there: dict[str, Any], text: dict[str, Any]) -> Observed:
    """The kernel as `was` left it, but for what `there` says."""
    generation = generation_of(was) if was else None
    current = current_of(was, generation) if was and generation else None
    if there.get("removed") and current:
        current, generation = replace(current, generation=0, links={}), None
    rebooted, gone = bool(there.get("rebooted")), there.get("gone", [])
    recorded = {**(generation.maps if generation else {}), **(current.state if current else {})}
    kept = {n: m for n, m in recorded.items() if n not in gone and not rebooted}
    maps = {n: seen_map(was.map(n), m.pin, live(n, there, text)) for n, m in kept.items()} if was else {}
    for name, said in there.get("external", {}).items():
        maps[name] = seen_map(map_of(name, {**said, "role": "external"}), said.get("pin", f"/other/{name}"), None)
    hooks = {a.id: a for a in (*(was.attachments if was and generation else ()), *wish.attachments)}
    return Observed(
        boot_id="after" if rebooted else "before",
        current=current,
        generation=generation,
        attachments={key: seen_attachment(a, generation, there) for key, a in hooks.items()},
        progs={} if rebooted or there.get("programs gone") or not generation else generation.progs,
        maps=maps,
        lost=tuple(n for n in (current.state if current else {}) if n not in maps),
        strays=tuple(f"{ROOT}/{p}" for p in there.get("strays", ())),
        side=there.get("side", 0) if was and any(m.flips for m in was.maps) else None,
    )


def generation_of(wish: Wish) -> Generation:
    pins = {m.name: first_pin(m) for m in wish.maps if m.role is not Role.EXTERNAL}
    return Generation(
        number=1,
        load=1,
        wish=wish,
        created="2026-01-01T00:00:00+00:00",
        reason="apply",
        boot_id="before",
        progs={p: 10 + i for i, p in enumerate(wish.programs)},
        maps={n: MapRecord(pin=p, id=100 + i) for i, (n, p) in enumerate(pins.items())},
        origin=1,
    )


def first_pin(wanted: WishMap) -> str:
    if wanted.role is Role.STATE:
        return LAYOUT.state_pin(PIPELINE, wanted.name, layout_digest(wanted.key, wanted.value), 1)
    return LAYOUT.map_pin(PIPELINE, 1, wanted.name)


def current_of(wish: Wish, generation: Generation) -> Current:
    return Current(
        pipeline=PIPELINE,
        generation=1,
        last_generation=1,
        last_load=1,
        wish=wish.digest(),
        links={
            a.id: LinkRecord(pin=LAYOUT.link_pin(PIPELINE, a.id), id=50 + i, prog=generation.progs[a.program])
            for i, a in enumerate(wish.attachments)
        },
        state={m.name: generation.maps[m.name] for m in wish.maps if m.role is Role.STATE},
    )


def live(name: str, there: dict[str, Any], text: dict[str, Any]) -> dict[int, int] | None:
    """What a config map holds now: as `there` says, else as `was` listed it."""
    said: dict[int, int] | None = there.get("entries", {}).get(name, listed(text.get("was", {})).get(name))
    return said


def seen_map(wanted: WishMap, pin: str, entries: dict[int, int] | None) -> SeenMap:
    config = wanted.role is Role.CONFIG and wanted.type in PLAIN_TYPES
    held = unpacked(entries or {}, wanted.value)
    if wanted.type in ARRAY_TYPES:
        zeros = dict.fromkeys(range(wanted.max_entries), 0)
        held = {**unpacked(zeros, wanted.value), **held}
    return SeenMap(
        pin=pin,
        info=MapInfo(
            id=100, type=wanted.type, name=wanted.name[:15], key_size=wanted.key_size, value_size=wanted.value_size,
            max_entries=wanted.max_entries, map_flags=wanted.map_flags,
        ),
        key=wanted.key,
        value=wanted.value,
        entries=held if config else None,
    )  # fmt: skip


def seen_attachment(wanted: WishAttachment, generation: Generation | None, there: dict[str, Any]) -> Seen:
    """Our link with the recorded program, where one was; `there.hooks` says otherwise."""
    recorded = {a.id: a for a in generation.wish.attachments} if generation else {}
    ours = generation.progs[recorded[wanted.id].program] if generation and wanted.id in recorded else 0
    ours = 0 if there.get("rebooted") else ours
    said: str = there.get("hooks", {}).get(wanted.target["interface"], "")
    link = LinkInfo(id=50, type=6, prog_id=ours, ifindex=index_of(wanted)) if ours else None
    place = (Xdp if wanted.type == "xdp" else Tcx).of(wanted.target)
    if said == "no interface":
        return place.assembled(None, replace(link, ifindex=0, attached=False) if link else None)
    if said == "recreated":
        return place.assembled(interface(wanted, 0), replace(link, ifindex=0, attached=False) if link else None)
    if said == "unpinned link":
        return place.assembled(interface(wanted, ours), None, **foreign("program 'main' (id 10)", ours))
    if said.startswith("program "):  # somebody else's, attached by himself
        return place.assembled(interface(wanted, 77), None, **foreign(f"{said} (id 77)", 77))
    if said.startswith("updated to "):  # our link, his program
        assert link
        return place.assembled(interface(wanted, 77), replace(link, prog_id=77), owner=f"{said[11:]} (id 77)")
    assert not said, f"no such hook: {said}"
    if wanted.type == "tcx":
        return place.assembled(interface(wanted, 0), link)
    mode = XdpMode(recorded[wanted.id].target["mode"]) if ours else None
    return place.assembled(interface(wanted, ours, mode), link)


def foreign(owner: str, program: int) -> dict[str, Any]:
    """A program that netlink attached, held by a pin."""
    held = texts.BY_NETLINK(holders=("a pin",))
    return {"owner": owner, "foreign": Foreign(prog_id=program, link_id=0, held=held, how="native")}


def interface(wanted: WishAttachment, program: int, mode: XdpMode | None = XdpMode.NATIVE) -> Interface:
    return Interface(
        name=wanted.target["interface"], ifindex=index_of(wanted), netns="4:1", mtu=1500, xdp_prog_id=program,
        xdp_mode=mode if program else None,
    )  # fmt: skip


def index_of(wanted: WishAttachment) -> int:
    """A number of its own for each interface."""
    return sum(wanted.target["interface"].encode())


def diffs(wish: Wish, seen: Observed, text: dict[str, Any]) -> dict[str, Any]:
    wanted = {n: unpacked(e, wish.map(n).value) for n, e in listed(text["wish"]).items()}
    live_maps = {n: seen.maps[n] for n in wanted if n in seen.maps}
    return {n: entry_diff(wish.map(n), m.entries, wanted[n]) for n, m in live_maps.items() if m.entries is not None}


# ops as text


def op_text(op: Op, digests: dict[str, str]) -> str:
    """An op in one line: its name and what tells it from others, paths relative to the pipeline's pins."""
    match op:
        case ops.StoreBlob() | ops.DropBlob():
            words = [op.blob, op.digest]
        case ops.Load():
            reuse = [f"{name}={pin}" for name, pin in op.reuse.items()]
            words = [str(op.load), *op.programs, *(["with", *reuse] if reuse else [])]
        case ops.FillMap():
            words = [op.map, op.entries]
        case ops.PinMap():
            words = [op.map, op.path]
        case ops.PinProgram():
            words = [op.program, op.path]
        case ops.CreateLink():
            words = [op.attachment.id, op.program]
        case ops.SwapLink():
            words = [op.attachment, op.old, "→", op.new]
        case ops.SetEntries():
            words = [op.path, op.before, "→", op.entries, *([] if op.prune else ["keep others"])]
        case ops.RunTests():
            told = f"against {op.against}" if op.against else op.unmeasured
            return f"Prove {digests.get(op.tests, op.tests)}{' ' if op.against else ', '}{told}"
        case ops.Publish():
            words = [op.path, "=", op.source]
        case ops.CreateSpareMap():
            words = [op.path, op.entries]
        case ops.PutSlot():
            words = [f"{op.path}[{op.side}]", "=", op.inner]
        case ops.SetGate():
            words = [op.path, "=", op.program]
        case ops.Barrier():
            words = [f"and {op.grace} s"] if op.grace else []
        case ops.FlipSide():
            words = [op.path, "=", str(op.side)]
        case ops.CheckFit() | ops.CopyOver() | ops.OweDrainBack() | ops.Drain() | ops.CarryEntries():
            words = [op.source, "→", op.target]
        case ops.CheckEntries():
            words = [op.path, *([] if op.entries else ["all"])]
        case ops.Unpin() | ops.Freeze() | ops.ClearGate() | ops.DropLoad() | ops.DropFolder():
            words = [op.path]
        case _:
            words = []
    text = " ".join([op.TAG, *words]).replace(f"{ROOT}/", "")
    return re.sub(r"\b([0-9a-f]{64}|(?<=-)[0-9a-f]{8}(?=-))", lambda m: digests.get(m[0], m[0]), text)
