"""The pins of one pipeline: one inventory for every reader. Reads only.

The check that answers "nothing to do" does not come here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum

from reloader.frozen import frozen
from reloader.kernel import Kernel, LinkInfo, ProgInfo
from reloader.kernel.host import Host
from reloader.paths import (
    BRIDGE,
    IMPORTS,
    LINKS,
    MAPS,
    PANIC,
    PIPELINE_NAME,
    PROGRAMS,
    PUBLIC,
    RESCUE_MAPS,
    RESCUE_PROGRAMS,
    STATE,
    TAKEN,
)
from reloader.pins.own_folders import pinned


class PinKind(StrEnum):
    """What a pin holds. The value is the folder of such pins, as `Paths.pin_folder` takes it."""

    LINK = LINKS
    STATE = STATE
    TAKEN = TAKEN
    IMPORT = IMPORTS
    PANIC = PANIC
    PUBLIC = PUBLIC
    RESCUE_PROGRAM = RESCUE_PROGRAMS
    RESCUE_MAP = RESCUE_MAPS
    PROGRAM = PROGRAMS
    MAP = MAPS
    BRIDGE = BRIDGE
    UNKNOWN = ""


OF_A_PIPELINE = (PinKind.LINK, PinKind.STATE, PinKind.TAKEN, PinKind.IMPORT, PinKind.PANIC, PinKind.PUBLIC)
OF_A_RESCUE = (PinKind.RESCUE_PROGRAM, PinKind.RESCUE_MAP)
OF_A_LOAD = (PinKind.PROGRAM, PinKind.BRIDGE, PinKind.MAP)


@frozen
class Pin:
    """One name in a folder of pins."""

    path: str
    kind: PinKind
    name: str  # of the file: made by paths.pin_name from the name of the map, program or attachment
    load: int = 0  # 0: the pin belongs to no load


@frozen
class LoadPins:
    """The pins of one load."""

    path: str  # the folder of the load
    programs: tuple[Pin, ...]
    bridge: tuple[Pin, ...]
    maps: tuple[Pin, ...]
    contents: tuple[str, ...]  # paths of all files and folders directly in the folder of the load


@frozen
class Pins:
    """All pins of one pipeline, sorted by name within each kind."""

    links: tuple[Pin, ...]
    state: tuple[Pin, ...]
    loads: dict[int, LoadPins]  # in the order of their numbers
    taken: tuple[Pin, ...]
    imports: tuple[Pin, ...]
    panic: tuple[Pin, ...]
    public: tuple[Pin, ...]
    rescue_programs: tuple[Pin, ...]
    rescue_maps: tuple[Pin, ...]
    rescue_contents: tuple[str, ...]  # paths of all files and folders directly in the folder of the rescue script
    unknown: tuple[Pin, ...]  # files and folders where reloader makes none


def inventory(host: Host, pipeline: str) -> Pins:
    """Return all pins of a pipeline. Lists each existing folder once; skips what another process removes meanwhile."""
    kernel, paths = host.kernel, host.paths
    top = _contents(kernel, paths.pipeline_pins(pipeline))
    found = _of_kinds(host, pipeline, OF_A_PIPELINE, top)
    rescue = _contents(kernel, paths.rescue_pins(pipeline)) if paths.rescue_pins(pipeline) in top else ()
    rescued = _of_kinds(host, pipeline, OF_A_RESCUE, rescue)
    numbered = _contents(kernel, paths.loads_pins(pipeline)) if paths.loads_pins(pipeline) in top else ()
    loads = {number: _load(host, pipeline, number) for number in _load_numbers(numbered)}
    known = {paths.rescue_pins(pipeline), paths.loads_pins(pipeline), *(load.path for load in loads.values())}
    known |= {paths.pin_folder(pipeline, kind) for kind in (*OF_A_PIPELINE, *OF_A_RESCUE)}
    known |= {paths.pin_folder(pipeline, kind, number) for kind in OF_A_LOAD for number in loads}
    contents = (*top, *rescue, *numbered, *(path for load in loads.values() for path in load.contents))
    return Pins(
        links=found[PinKind.LINK],
        state=found[PinKind.STATE],
        loads=loads,
        taken=found[PinKind.TAKEN],
        imports=found[PinKind.IMPORT],
        panic=found[PinKind.PANIC],
        public=found[PinKind.PUBLIC],
        rescue_programs=rescued[PinKind.RESCUE_PROGRAM],
        rescue_maps=rescued[PinKind.RESCUE_MAP],
        rescue_contents=rescue,
        unknown=tuple(_pin(path, PinKind.UNKNOWN) for path in contents if path not in known),
    )


def listed(host: Host, pipeline: str, kind: PinKind, load: int = 0) -> tuple[Pin, ...]:
    """Return the pins of one kind, sorted by name; `load`: for the kinds that each load has of its own."""
    return tuple(_pin(path, kind, load) for path in _contents(host.kernel, host.paths.pin_folder(pipeline, kind, load)))


def loads_of(host: Host, pipeline: str) -> list[int]:
    """Return the numbers of the loads that have a folder, in ascending order."""
    return _load_numbers(_contents(host.kernel, host.paths.loads_pins(pipeline)))


def pinned_pipelines(host: Host) -> list[str]:
    """Return the pipelines that have a folder of pins, whether they are recorded or not."""
    return [name for name in host.kernel.pins.listdir(host.paths.bpffs) if PIPELINE_NAME.match(name)]


def program_infos(kernel: Kernel, pins: Iterable[Pin]) -> Iterator[tuple[Pin, ProgInfo]]:
    """Yield each pin with the kernel's view of its program, but for pins that were removed since they were listed."""
    for pin in pins:
        fd = pinned(kernel, pin.path)
        if fd is not None:
            with fd:
                info = kernel.progs.info(fd)
            yield pin, info


def link_infos(kernel: Kernel, pins: Iterable[Pin]) -> Iterator[tuple[Pin, LinkInfo]]:
    """Yield each pin with the kernel's view of its link, but for pins that were removed since they were listed."""
    for pin in pins:
        fd = pinned(kernel, pin.path)
        if fd is not None:
            with fd:
                info = kernel.links.info(fd)
            yield pin, info


def _load(host: Host, pipeline: str, number: int) -> LoadPins:
    path = host.paths.load_pins(pipeline, number)
    contents = _contents(host.kernel, path)
    found = _of_kinds(host, pipeline, OF_A_LOAD, contents, number)
    return LoadPins(
        path=path,
        programs=found[PinKind.PROGRAM],
        bridge=found[PinKind.BRIDGE],
        maps=found[PinKind.MAP],
        contents=contents,
    )


def _of_kinds(
    host: Host, pipeline: str, kinds: Iterable[PinKind], there: Collection[str], load: int = 0
) -> dict[PinKind, tuple[Pin, ...]]:
    """The pins of each kind; only folders among the paths `there` are listed."""
    exists = {kind: host.paths.pin_folder(pipeline, kind, load) in there for kind in kinds}
    return {kind: listed(host, pipeline, kind, load) if exists[kind] else () for kind in exists}


def _contents(kernel: Kernel, folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in kernel.pins.listdir(folder))


def _load_numbers(paths: Iterable[str]) -> list[int]:
    """A name that is written otherwise than layout writes it, for example 007, is not a load's."""
    names = (path.rpartition("/")[2] for path in paths)
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def _pin(path: str, kind: PinKind, load: int = 0) -> Pin:
    return Pin(path=path, kind=kind, name=path.rpartition("/")[2], load=load)
