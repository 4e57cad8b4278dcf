"""Records that were lost while the kernel lives, made again from pins and from what programs say of themselves.

The objects' bytes are gone, so such a generation cannot be rolled back to; but the next apply takes over its state
maps and swaps its links by compare-and-swap. Called by commands/recover.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from reloader.break_glass import script
from reloader.disk.lock import Writer
from reloader.errors import KernelError, NeedsHuman, NotFoundError
from reloader.frozen import frozen
from reloader.kernel import Fd, Kernel, LinkInfo, MapInfo
from reloader.kernel.host import Host
from reloader.paths import Paths, pin_name, read_inner_pin, read_pin_name, read_state_pin
from reloader.pins.inventory import Pin, PinKind, Pins, inventory, link_infos, program_infos
from reloader.pins.own_folders import require_own_folders
from reloader.pipeline.enums import GATE
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishAttachment, WishMap
from reloader.places import place_of
from reloader.plan import program_metadata
from reloader.store import blobs, records
from reloader.store.records import Cause, Current, Generation, LinkRecord, MapRecord
from reloader.structs.btf import Btf, TypeTree

REASON = "rebuilt from the kernel"


@frozen
class _Program:
    name: str
    load: int
    id: int
    map_ids: tuple[int, ...]
    words: dict[str, str]  # what it says of itself


@frozen
class _Map:
    kind: PinKind
    record: MapRecord
    info: MapInfo
    key: TypeTree | None
    value: TypeTree | None


@frozen
class _Found:
    """What the kernel shows of one pipeline."""

    load: int
    newest: int  # load that has pins
    programs: dict[str, _Program]  # of that load
    links: dict[str, LinkInfo]  # pin → link
    maps: dict[str, _Map]  # of that load, and the state it uses
    parked: dict[str, _Map]  # state pins that no program of that load holds
    gates: tuple[str, ...]  # programs of that load that obey the generation a first hook hands on


def rebuild(writer: Writer, pipeline: str) -> list[str]:
    """Write the records again; a line for each thing that was found, or that nothing explains."""
    require_own_folders(writer.host, pipeline)
    if records.open_journals(writer.paths, pipeline):
        raise NeedsHuman(
            f"{pipeline}: its records are damaged and a transaction is open",
            hint=f"remove {writer.paths.journals_dir(pipeline)}, then `reloader recover {pipeline}`",
        )
    found = _look(writer.host, pipeline)
    generation = _stored(writer.paths, pipeline, found) or _generation(writer.kernel, pipeline, found)
    links, unknown = _links(writer.host, generation, found)
    current = _current(writer.host, pipeline, generation, found, links)
    blobs.put_record(writer.paths, generation, current, script.write_script)
    state = ", ".join(sorted(current.state)) or "none"
    line = (
        f"{pipeline}: records rebuilt: generation {generation.number}, load {generation.load}, "
        f"{len(links)} {'link' if len(links) == 1 else 'links'}, state maps: {state}"
    )
    return [line, *(f"{pipeline}: no program says what the link {pin} is for; it is left alone" for pin in unknown)]


# looking


def _look(host: Host, pipeline: str) -> _Found:
    pins = inventory(host, pipeline)
    programs = list(_programs(host.kernel, pins, pipeline))
    if not programs:
        raise NeedsHuman(f"{pipeline}: no program below {host.paths.pipeline_pins(pipeline)} says whose it is")
    links = {pin.path: info for pin, info in link_infos(host.kernel, pins.links)}
    load = _serving(programs, links)
    mine = {p.name: p for p in programs if p.load == load}
    held = {i for p in mine.values() for i in p.map_ids}
    trees: dict[int, Btf] = {}
    state = list(_maps_of(host.kernel, pins.state, trees))
    names = {pin_name(name): name for p in mine.values() for name in program_metadata.roles(p.words)}
    files = {pin.path for pin in pins.loads[load].maps}
    newest_last = sorted(pins.loads[load].maps, key=lambda pin: read_inner_pin(pin.name)[1])
    mine_too = ((read_inner_pin(pin.name)[0], m) for pin, m in _maps_of(host.kernel, newest_last, trees))
    maps = {_map_name(file, names): m for file, m in mine_too if not file.startswith("rl_")}
    used = {_map_name(read_state_pin(pin.name)[0], names): m for pin, m in state if m.info.id in held}
    parked = {_map_name(read_state_pin(pin.name)[0], names): m for pin, m in state if m.info.id not in held}
    parked = {name: m for name, m in parked.items() if name not in used}
    return _Found(
        load=load,
        newest=max(pins.loads),
        programs=mine,
        links=links,
        maps={**maps, **used},
        parked=parked,
        gates=tuple(p for p in sorted(mine) if host.paths.map_pin(pipeline, load, f"{GATE}_{p}") in files),
    )


def _programs(kernel: Kernel, pins: Pins, pipeline: str) -> Iterator[_Program]:
    for load in pins.loads.values():
        for pin, info in program_infos(kernel, load.programs):
            words = kernel.progs.metadata(info.id)
            if words.get("pipeline") == pipeline:
                yield _Program(name=pin.name, load=pin.load, id=info.id, map_ids=info.map_ids, words=words)


def _serving(programs: list[_Program], links: dict[str, LinkInfo]) -> int:
    """The load that most links run; the newest when there are none."""
    running = [link.prog_id for link in links.values()]
    return max((sum(running.count(q.id) for q in programs if q.load == p.load), p.load) for p in programs)[1]


def _map_name(file: str, names: dict[str, str]) -> str:
    return names.get(file, read_pin_name(file))


def _maps_of(kernel: Kernel, pins: Iterable[Pin], trees: dict[int, Btf]) -> Iterator[tuple[Pin, _Map]]:
    for pin in pins:
        with kernel.pins.get(pin.path) as fd:
            yield pin, _map(kernel, fd, pin, trees)


def _map(kernel: Kernel, fd: Fd, pin: Pin, trees: dict[int, Btf]) -> _Map:
    info = kernel.maps.info(fd)
    if info.btf_id and info.btf_id not in trees:
        trees[info.btf_id] = Btf.parse(kernel.maps.btf(info.btf_id))
    btf = trees.get(info.btf_id)
    key, value = (btf.tree(i) if btf and i else None for i in (info.btf_key_type_id, info.btf_value_type_id))
    return _Map(kind=pin.kind, record=MapRecord(pin=pin.path, id=info.id), info=info, key=key, value=value)


# records


def _stored(paths: Paths, pipeline: str, found: _Found) -> Generation | None:
    """The newest stored generation that is whole and that this very load serves: only current.json was lost."""
    for number in reversed(records.generation_numbers(paths, pipeline)):
        try:
            generation = records.read_generation(paths, pipeline, number)
        except (NeedsHuman, NotFoundError):
            continue
        if generation.load == found.load and generation.progs == {n: p.id for n, p in found.programs.items()}:
            return generation
    return None


def _generation(kernel: Kernel, pipeline: str, found: _Found) -> Generation:
    words = next(iter(found.programs.values())).words
    number = words.get("generation", "")
    return Generation(
        number=int(number) if number.isdecimal() else 1,
        load=found.load,
        wish=_wish(pipeline, words, found),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        reason=REASON,
        cause=Cause.REBUILT,
        boot_id=kernel.boot_id(),
        progs={n: p.id for n, p in found.programs.items()},
        maps={n: m.record for n, m in found.maps.items()},
        rebuilt=True,
    )


def _wish(pipeline: str, words: dict[str, str], found: _Found) -> Wish:
    """As much of it as the kernel tells: no object, no rodata, no entries."""
    roles = program_metadata.roles(words)
    state = {n for n, m in found.maps.items() if m.kind is PinKind.STATE}
    return Wish(
        pipeline=pipeline,
        source_revision=words.get("source", ""),
        objects=(),
        programs=tuple(sorted(found.programs)),
        rodata={},
        maps=tuple(
            _wish_map(n, m, Role.STATE if n in state else roles.get(n, Role.CONFIG)) for n, m in found.maps.items()
        ),
        attachments=tuple(program_metadata.attachments(words)),
        gates=found.gates,
    )


def _wish_map(name: str, seen: _Map, role: Role) -> WishMap:
    return WishMap(
        name=name, role=role, type=seen.info.type, key_size=seen.info.key_size, value_size=seen.info.value_size,
        max_entries=seen.info.max_entries, map_flags=seen.info.map_flags, key=seen.key, value=seen.value,
    )  # fmt: skip


def _links(host: Host, generation: Generation, found: _Found) -> tuple[dict[str, LinkRecord], list[str]]:
    """Attachment → its link; and the pins of links that no attachment explains."""
    out: dict[str, LinkRecord] = {}
    for attachment in generation.wish.attachments:
        pin = host.paths.link_pin(generation.wish.pipeline, attachment.id)
        if pin in found.links:
            out[attachment.id] = _link_record(host.kernel, attachment, pin, found.links[pin])
    return out, sorted(found.links.keys() - {link.pin for link in out.values()})


def _link_record(kernel: Kernel, attachment: WishAttachment, pin: str, link: LinkInfo) -> LinkRecord:
    place = place_of(attachment.type, attachment.target)
    try:
        spot = place.spot(kernel)
    except (KernelError, OSError):
        spot = None
    return LinkRecord(pin=pin, id=link.id, prog=link.prog_id, place=place.record(link, spot))


def _current(host: Host, pipeline: str, generation: Generation, found: _Found, links: dict[str, LinkRecord]) -> Current:
    """`wish` stays empty: whatever is applied next goes the long way, and is recorded."""
    numbers = records.generation_numbers(host.paths, pipeline)
    state = {m.name for m in generation.wish.maps if m.role is Role.STATE}
    return Current(
        pipeline=pipeline,
        generation=generation.number,
        last_generation=max([generation.number, *numbers]),
        last_load=found.newest,
        links=links,
        state={
            **{n: m.record for n, m in found.parked.items()},
            **{n: m for n, m in generation.maps.items() if n in state},
        },
        boot_id=host.kernel.boot_id(),
    )
