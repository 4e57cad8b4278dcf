"""What is there: records, pins and the kernel's own view of one pipeline, read and never changed.

Made before a plan from a wish and its pipeline's records; consumed by plan/.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from functools import partial

from reloader.config_maps.entry_changes import digest_of, in_key_order
from reloader.errors import KernelError, MissingFeature, NeedsHuman, NotFoundError, PermissionRefused
from reloader.frozen import frozen
from reloader.kernel import PLAIN_TYPES, Fd, Kernel, MapInfo
from reloader.kernel.host import Host
from reloader.layouts.nesting import InnerMap
from reloader.observe import texts
from reloader.observe.in_force import link_at
from reloader.paths import Paths, pin_name, read_panic_pin, read_state_pin
from reloader.pins.inventory import Pins, inventory, program_infos
from reloader.pins.own_folders import pinned
from reloader.pipeline.enums import SIDE, SLOTS, Panic
from reloader.pipeline.model import Role
from reloader.pipeline.wish import Wish, WishAttachment, WishMap
from reloader.places import place_of
from reloader.places.place import Record, Seen
from reloader.store import records
from reloader.store.records import Current, Generation, MapRecord
from reloader.structs.btf import Btf, TypeTree, layout_digest


@frozen
class SeenMap:
    pin: str
    info: MapInfo
    key: TypeTree | None  # from the kernel's BTF of the live map; where it keeps none, as recorded with that map id
    value: TypeTree | None
    entries: dict[bytes, bytes] | None = None  # read for config maps only
    order: str = ""  # of their keys: a digest of the list that the kernel gave, which stays while no key comes or goes
    inner: InnerMap | None = None  # of a map of maps: as recorded with that map id
    memory: int = 0  # bytes that the kernel accounts for it
    unpinned: bool = False  # its pin is gone, but a running program of ours holds the very map


@frozen
class Observed:
    """Everything a plan may depend on besides the wish."""

    boot_id: str
    current: Current | None
    generation: Generation | None  # the current one; None: never applied, or removed
    attachments: dict[str, Seen] = field(default_factory=dict)
    progs: dict[str, int] = field(default_factory=dict)  # program -> id, of the current load
    unpinned_progs: tuple[str, ...] = ()  # those of them that lost their pin and live on
    maps: dict[str, SeenMap] = field(default_factory=dict)  # of the current load, kept state, and external ones
    lost: tuple[str, ...] = ()  # recorded state maps that are nowhere to be found
    strays: tuple[str, ...] = ()  # pins below state/ that no record explains
    side: int | None = None  # that packets look at, of the config maps with two sides; None: there are none
    sides_gone: tuple[str, ...] = ()  # pins that say which side packets look at, and are not there
    rescued: tuple[int, ...] = ()  # programs that a generation's shell script pinned
    panics: dict[int, str] = field(default_factory=dict)  # program that serves in a panic -> its pin
    unpublished: tuple[str, ...] = ()  # maps of the serving generation that have no pin below pub/
    readers: int = -1  # the group that may open the published maps; -1: none may; -2: some of them
    cpus: int = 1  # how many are possible: the kernel rounds some sizes by it
    page_size: int = 4096  # bytes; by this too

    @property
    def rebooted(self) -> bool:
        return self.generation is not None and self.generation.boot_id != self.boot_id

    @property
    def state_restarted(self) -> bool:
        """Whether the kernel was restarted since the parked state was recorded; a removed pipeline serves nothing."""
        return self.current is not None and self.current.boot_id not in ("", self.boot_id)


def observe(host: Host, wish: Wish | None, pipeline: str) -> Observed:
    """Read records and kernel for `pipeline`. `wish` None: only what is recorded (for remove and status)."""
    kernel, paths = host.kernel, host.paths
    require_bpffs(host)
    current = records.read_current(paths, pipeline)
    live = current is not None and current.generation > 0
    generation = records.read_generation(paths, pipeline, current.generation) if current and live else None
    wished = {a.id: a for a in wish.attachments} if wish else {}
    recorded = {a.id: a for a in generation.wish.attachments} if generation else {}
    maps, lost = _maps(kernel, current, generation, wish)
    found, sides = inventory(host, pipeline), side_pins(paths, generation) if generation else ()
    progs, unpinned = _programs(host, pipeline, generation)
    return Observed(
        boot_id=kernel.boot_id(),
        current=current,
        generation=generation,
        attachments={
            key: _attachment(host, pipeline, attachment) for key, attachment in {**recorded, **wished}.items()
        },
        progs=progs,
        unpinned_progs=unpinned,
        maps=maps,
        lost=lost,
        strays=_strays(found, current),
        side=_side(kernel, found, sides),
        sides_gone=_sides_gone(found, sides),
        rescued=tuple(info.id for _, info in program_infos(kernel, found.rescue_programs)),
        panics={info.id: pin.path for pin, info in program_infos(kernel, found.panic)},
        unpublished=_unpublished(found, generation),
        readers=kernel.pins.readers(paths.pub_pins(pipeline)),
        cpus=kernel.possible_cpus(),
        page_size=mmap.PAGESIZE,
    )


def panic_of(there: Seen, seen: Observed) -> Panic | None:
    """The panic whose program our link runs; None when it runs another program."""
    pin = seen.panics.get(there.link.prog_id, "") if there.link else ""
    return Panic(read_panic_pin(pin)) if pin else None


def _side(kernel: Kernel, found: Pins, sides: tuple[str, ...]) -> int | None:
    """Which side of its config maps the serving load looks at; None as well when one of their pins is gone."""
    if not sides or _sides_gone(found, sides):
        return None
    with kernel.pins.get(sides[0]) as fd:
        return (kernel.maps.lookup(fd, bytes(4)) or b"\0")[0] & 1


def _sides_gone(found: Pins, sides: tuple[str, ...]) -> tuple[str, ...]:
    there = {pin.path for load in found.loads.values() for pin in load.maps}
    return tuple(pin.rpartition("/")[2] for pin in sides if pin not in there)


def side_pins(paths: Paths, generation: Generation) -> tuple[str, ...]:
    """Of our header's maps, by which packets find the side of each config map; none where no map has two."""
    names = [SLOTS + m.name for m in generation.wish.maps if m.flips]
    pipeline, load = generation.wish.pipeline, generation.load
    return tuple(paths.map_pin(pipeline, load, n) for n in ((SIDE, *names) if names else ()))


def _unpublished(found: Pins, generation: Generation | None) -> tuple[str, ...]:
    there = {pin.name for pin in found.public}
    return tuple(name for name in (generation.maps if generation else ()) if pin_name(name) not in there)


def _strays(found: Pins, current: Current | None) -> tuple[str, ...]:
    known = {m.pin for m in current.state.values()} if current else set()
    return tuple(pin.path for pin in found.state if pin.path not in known)


def require_bpffs(host: Host) -> None:
    """MissingFeature (69) unless pins can be made where the layout wants them."""
    with privileged(host.paths):
        if host.kernel.pins.is_bpffs(host.paths.bpffs):
            return
    raise MissingFeature(texts.NOT_BPFFS(path=host.paths.bpffs))


@contextmanager
def privileged(paths: Paths) -> Iterator[None]:
    """Turn EPERM and EACCES of a first look into exit 77 instead of a traceback."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionRefused(texts.NOT_PERMITTED(why=error)) from error
        raise


def _attachment(host: Host, pipeline: str, attachment: WishAttachment) -> Seen:
    link = link_at(host.kernel, host.paths.link_pin(pipeline, attachment.id))
    return place_of(attachment.type, attachment.target).look(host.kernel, link, partial(_recorded_places, host.paths))


def _recorded_places(paths: Paths) -> dict[int, Record]:
    """Link id → what its record keeps of its place, of all pipelines whose records are sound."""
    found: dict[int, Record] = {}
    for name in records.pipelines(paths):
        with suppress(NeedsHuman, NotFoundError):
            current = records.read_current(paths, name)
            found |= {one.id: one.place for one in (current.links.values() if current else ())}
    return found


def _programs(host: Host, pipeline: str, generation: Generation | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """The programs of the current load that are there, and which of them have lost their pin."""
    seen, unpinned = {}, []
    for program, recorded in generation.progs.items() if generation else ():
        fd = pinned(host.kernel, host.paths.prog_pin(pipeline, generation.load, program)) if generation else None
        if fd is not None:
            with fd:
                seen[program] = host.kernel.progs.info(fd).id
        elif generation and generation.boot_id == host.kernel.boot_id() and _is_there(host.kernel, recorded):
            seen[program] = recorded
            unpinned.append(program)
    return seen, tuple(unpinned)


def _is_there(kernel: Kernel, prog_id: int) -> bool:
    with _looked_up("program", prog_id):
        kernel.progs.by_id(prog_id).close()
        return True
    return False


@contextmanager
def _looked_up(kind: str, number: int) -> Iterator[None]:
    """Pass over a missing object; refuse to call one missing that this process may not look for."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.EPERM:
            return
        raise PermissionRefused(texts.OBJECT_NOT_FOUND(kind=kind, id=number)) from error


def _maps(
    kernel: Kernel, current: Current | None, generation: Generation | None, wish: Wish | None
) -> tuple[dict[str, SeenMap], tuple[str, ...]]:
    seen: dict[str, SeenMap] = {}
    lost = []
    trees: dict[int, Btf] = {}  # one parse per BTF object; maps of a load share theirs
    kept = current.state if current else {}
    for name, map_record in _recorded(kept, generation, wish).items():
        known = _known(name, map_record, generation, wish)
        found = _seen(kernel, map_record, known, trees) or _held(kernel, map_record, known, generation, trees)
        if found is not None:
            seen[name] = found
        elif map_record == kept.get(name):
            lost.append(name)
    seen.update(_external(kernel, wish.maps if wish else ()))
    return seen, tuple(lost)


def _recorded(kept: dict[str, MapRecord], generation: Generation | None, wish: Wish | None) -> dict[str, MapRecord]:
    """What serves goes before what is parked under the same name, unless the wish calls the parked state back."""
    back = {m.name for m in wish.maps if m.role is Role.STATE} if wish else set()
    serving = generation.maps if generation else {}
    return {**kept, **{n: m for n, m in serving.items() if n not in kept or n not in back}}


@frozen
class _Known:
    """What the records say of a map before the kernel is asked."""

    listed: bool  # whether a config map's contents are of interest
    id: int  # kernel id when it was recorded; 0: nothing is known
    key: TypeTree | None = None
    value: TypeTree | None = None
    inner: InnerMap | None = None


def _known(name: str, map_record: MapRecord, generation: Generation | None, wish: Wish | None) -> _Known:
    wished = any(m.name == name and m.role is Role.CONFIG for m in wish.maps) if wish else False
    if generation is None or generation.maps.get(name) != map_record:
        return _parked(name, map_record, wish, listed=wished)
    was = generation.wish.map(name)
    listed = wished or was.role is Role.CONFIG
    return _Known(listed=listed, id=map_record.id, key=was.key, value=was.value, inner=was.inner)


def _parked(name: str, map_record: MapRecord, wish: Wish | None, *, listed: bool) -> _Known:
    """The pin of parked state names its layout: known when it is the wished one."""
    wanted = next((m for m in wish.maps if m.name == name), None) if wish else None
    if wanted and read_state_pin(map_record.pin)[1] == layout_digest(wanted.key, wanted.value):
        return _Known(listed=listed, id=map_record.id, key=wanted.key, value=wanted.value, inner=wanted.inner)
    return _Known(listed=listed, id=0)


def _external(kernel: Kernel, wished: Iterable[WishMap]) -> Iterator[tuple[str, SeenMap]]:
    for wanted in wished:
        if wanted.role is Role.EXTERNAL and wanted.pin:
            found = _seen(kernel, MapRecord(pin=wanted.pin, id=0), _Known(listed=False, id=0), {})
            if found is not None:
                yield wanted.name, found


def _seen(kernel: Kernel, map_record: MapRecord, known: _Known, trees: dict[int, Btf]) -> SeenMap | None:
    fd = pinned(kernel, map_record.pin)
    return None if fd is None else _read(kernel, fd, map_record.pin, known, trees)


def serving_map(kernel: Kernel, generation: Generation, name: str) -> SeenMap | None:
    """A map of the serving load, where another one of that name is what a plan looks at."""
    recorded, trees = generation.maps[name], dict[int, Btf]()
    known = _known(name, recorded, generation, None)
    return _seen(kernel, recorded, known, trees) or _held(kernel, recorded, known, generation, trees)


def opened(kernel: Kernel, there: SeenMap) -> Fd:
    """The map that was seen; by its id where its pin is missing, which the plan puts back."""
    return kernel.maps.by_id(there.info.id) if there.unpinned else kernel.pins.get(there.pin)


def _held(
    kernel: Kernel, map_record: MapRecord, known: _Known, generation: Generation | None, trees: dict[int, Btf]
) -> SeenMap | None:
    """A map whose pin is gone, if a program of the serving generation holds it: ids of this boot only."""
    if generation is None or generation.boot_id != kernel.boot_id() or not _in_use(kernel, map_record.id, generation):
        return None
    try:
        fd = kernel.maps.by_id(map_record.id)
    except KernelError:  # gone between the two looks
        return None
    return replace(_read(kernel, fd, map_record.pin, known, trees), unpinned=True)


def _in_use(kernel: Kernel, map_id: int, generation: Generation) -> bool:
    for prog_id in generation.progs.values():
        with _looked_up("program", prog_id), kernel.progs.by_id(prog_id) as fd:
            if map_id in kernel.progs.info(fd).map_ids:
                return True
    return False


def _read(kernel: Kernel, fd: Fd, pin: str, known: _Known, trees: dict[int, Btf]) -> SeenMap:
    with fd:
        info = kernel.maps.info(fd)
        listed = known.listed and info.type in PLAIN_TYPES
        key, value = _layout(kernel, info, trees)
        inner = known.inner if info.id == known.id else None
        if key is value is None and info.id == known.id:  # libbpf keeps no BTF of queues, and retries without some
            key, value = known.key, known.value
        found = kernel.maps.items(fd) if listed else {}
        entries = in_key_order(found, info.key_size) if listed else None
        return SeenMap(
            pin=pin, info=info, key=key, value=value, inner=inner, entries=entries, order=digest_of(b"".join(found)),
            memory=kernel.maps.memory(fd),
        )  # fmt: skip


def _layout(kernel: Kernel, info: MapInfo, trees: dict[int, Btf]) -> tuple[TypeTree | None, TypeTree | None]:
    btf = (trees.get(info.btf_id) or _btf(kernel, info.btf_id)) if info.btf_id else None
    if btf is None:
        return None, None
    trees[info.btf_id] = btf
    key = btf.tree(info.btf_key_type_id) if info.btf_key_type_id else None
    value = btf.tree(info.btf_value_type_id) if info.btf_value_type_id else None
    return key, value


def _btf(kernel: Kernel, btf_id: int) -> Btf | None:
    """None where only CAP_SYS_ADMIN may have it (BPF_BTF_GET_FD_BY_ID): the record of that very map must do."""
    try:
        return Btf.parse(kernel.maps.btf(btf_id))
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return None
