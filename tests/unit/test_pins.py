"""The inventory of a pipeline's pins: what it finds, and that it looks no further than it has to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from reloader.kernel import Kernel
from reloader.kernel.host import Host
from reloader.paths import Paths, load_folders, pin_name, read_inner_pin, read_pin_name, read_state_pin
from reloader.pins.inventory import OF_A_LOAD, Pin, PinKind, inventory, loads_of, pinned_pipelines

LAYOUT = Paths(bpffs="/bpf")
NAME = "edge"


class Folders:
    """A kernel whose pins can be listed, no more; it counts how often each folder is."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths, self.listed = list(paths), list[str]()
        self.pins = self

    def listdir(self, folder: str) -> list[str]:
        self.listed.append(folder)
        below = (path[len(folder) + 1 :] for path in self._paths if path.startswith(f"{folder}/"))
        return sorted({rest.partition("/")[0] for rest in below})


def kernel(*paths: str) -> Any:
    return Folders(f"/bpf/edge/{path}" for path in paths)


def look(there: Any) -> Any:
    return inventory(Host(kernel=cast(Kernel, there), paths=LAYOUT), NAME)


EVERYTHING = {
    PinKind.LINK: LAYOUT.link_pin(NAME, "xdp@eth0"),
    PinKind.STATE: LAYOUT.state_pin(NAME, "flows", "ab12", 3),
    PinKind.TAKEN: LAYOUT.taken_pin(NAME, "xdp@eth0"),
    PinKind.IMPORT: LAYOUT.import_pin(NAME, "flows"),
    PinKind.PANIC: LAYOUT.panic_pin(NAME, "xdp_open"),
    PinKind.PUBLIC: LAYOUT.pub_pin(NAME, "flows"),
    PinKind.RESCUE_PROGRAM: f"{LAYOUT.rescue_pins(NAME)}/progs/count",
    PinKind.RESCUE_MAP: f"{LAYOUT.rescue_pins(NAME)}/maps/flows",
    PinKind.PROGRAM: LAYOUT.prog_pin(NAME, 7, "count"),
    PinKind.MAP: LAYOUT.map_pin(NAME, 7, ".bss"),
    PinKind.BRIDGE: LAYOUT.bridge_pin(NAME, 7, "count"),
}


def pins_of(found: Any) -> list[Pin]:
    flat = (found.links, found.state, found.taken, found.imports, found.panic, found.public)
    loads = ((load.programs, load.maps, load.bridge) for load in found.loads.values())
    parts = [*flat, found.rescue_programs, found.rescue_maps, *(part for load in loads for part in load)]
    return [pin for part in parts for pin in part]


def test_each_pin_has_its_kind() -> None:
    found = look(Folders(EVERYTHING.values()))
    assert {pin.kind: pin.path for pin in pins_of(found)} == EVERYTHING
    assert {pin.kind for pin in pins_of(found) if pin.load == 7} == set(OF_A_LOAD)
    assert not found.unknown


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_pin_is_in_the_folder_of_its_kind(kind: PinKind) -> None:
    assert EVERYTHING[kind].rpartition("/")[0] == LAYOUT.pin_folder(NAME, kind, load=7)


def test_no_folder_is_listed_twice_and_none_that_is_missing() -> None:
    there = Folders(EVERYTHING.values())
    look(there)
    assert len(there.listed) == len(set(there.listed)) == 1 + 6 + 3 + 1 + 4
    bare = kernel("links/xdp@eth0")
    look(bare)
    assert bare.listed == ["/bpf/edge", "/bpf/edge/links"]
    nothing = kernel()
    look(nothing)
    assert nothing.listed == ["/bpf/edge"]


def test_what_is_not_ours_is_named() -> None:
    paths = ("notes", "loads/old/x", "loads/07/progs/x", "loads/7/other/x", "rescue/x", "links/xdp@eth0")
    found = look(kernel(*paths))
    where = [pin.path.removeprefix("/bpf/edge/") for pin in found.unknown]
    assert sorted(where) == ["loads/07", "loads/7/other", "loads/old", "notes", "rescue/x"]
    assert {pin.kind for pin in found.unknown} == {PinKind.UNKNOWN}
    assert found.rescue_contents == ("/bpf/edge/rescue/x",)
    assert not found.rescue_programs
    assert found.loads[7].contents == ("/bpf/edge/loads/7/other",)


def test_loads_are_in_the_order_of_their_numbers() -> None:
    there = kernel("loads/10/progs/a", "loads/9/progs/a", "loads/x/progs/a")
    assert list(look(there).loads) == loads_of(Host(kernel=there, paths=LAYOUT), NAME) == [9, 10]


def test_pipelines_are_told_from_other_folders() -> None:
    there = cast(Kernel, Folders(["/bpf/edge/links/a", "/bpf/Other/x", "/bpf/core/links/a"]))
    assert pinned_pipelines(Host(kernel=there, paths=LAYOUT)) == ["core", "edge"]


@pytest.mark.parametrize("path", ["a.b", "a-b", "a/b", "a%2eb", "/sys/fs/cgroup/a.slice/\u00e9", "a\udcffb"])
def test_two_cgroups_never_share_a_pin(path: str) -> None:
    """Dots and dashes are usual there: `a.b` and `a-b` had one pin, and the removal of the first took both away."""
    name = f"cgroup_connect4:{path}"
    assert read_pin_name(pin_name(name)) == name
    assert not {".", "/"} & set(pin_name(name))
    assert pin_name("cgroup_connect4:a.b") != pin_name("cgroup_connect4:a-b")
    assert pin_name("tcx-ingress:eth0.1") == "tcx-ingress:eth0-1", "such pins are on disk"


def test_names_are_read_as_they_were_written() -> None:
    assert read_pin_name(pin_name(".bss")) == ".bss"
    assert read_pin_name(pin_name("flows")) == "flows"
    assert read_state_pin(LAYOUT.state_pin(NAME, ".bss", "ab12", 3)) == ("sec-bss", "ab12")
    assert read_inner_pin(LAYOUT.inner_pin(NAME, 7, "ports", 12)) == ("ports", 12)
    assert read_inner_pin(LAYOUT.map_pin(NAME, 7, "ports")) == ("ports", 0)
    folders = load_folders(LAYOUT.load_pins(NAME, 7))
    assert {LAYOUT.pin_folder(NAME, kind, 7) for kind in OF_A_LOAD} == set(folders)
