"""Layouts of an object's state maps beside the recorded ones. Used by state diff, new, check and show."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reloader.commands import texts
from reloader.errors import InputError, NotFoundError, Problem

if TYPE_CHECKING:
    from reloader.layouts.rules import LayoutVersion
    from reloader.pipeline.registry.registry import Registry
    from reloader.structs.elf import ElfMap


def layout_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell which layouts are meant. The schema itself is an argument of each command."""
    parser.add_argument(
        "--dir",
        metavar="DIR",
        help="directory of schemas (default: state/ here, then the host's, then those that come with reloader)",
    )
    parser.add_argument("--map", metavar="MAP", help="only this map")


def schema_option(parser: argparse.ArgumentParser) -> None:
    """Add the schema as an option, and the options that tell which layouts are meant."""
    parser.add_argument(
        "--schema", required=True, metavar="S", help="name of the schema, as in stateSchema of the YAML"
    )
    layout_options(parser)


def _maps(path: str) -> tuple[ElfMap, ...]:
    """The maps of an object file; InputError when it is not one."""
    from reloader.pipeline.objects import read_file
    from reloader.structs.btf import BtfError
    from reloader.structs.elf import ElfError, read_object

    try:
        return read_object(read_file(path)).maps
    except (ElfError, BtfError, ValueError) as error:
        raise InputError([Problem.at(path, texts.NOT_AN_OBJECT(why=error))]) from error


def search_folders(args: argparse.Namespace) -> tuple[Path, ...]:
    """Return the directories in which schemas are looked for."""
    from reloader.pipeline.registry.registry import search_path

    return (Path(args.dir),) if args.dir else (Path("state"), *search_path())


def read_registry(args: argparse.Namespace) -> Registry:
    """Read the schema that the arguments name."""
    from reloader.pipeline.registry.registry import load_registry

    return load_registry(args.schema, search_folders(args))


def state_maps_of(args: argparse.Namespace, path: str, registry: Registry | None) -> list[ElfMap]:
    """Return the state maps of an object that a command is about. NotFoundError when --map names no map of it."""
    from reloader.pipeline.registry.next_version import state_maps

    found = _maps(path)
    if args.map is None:
        return state_maps(found, registry)
    named = [m for m in found if m.name == args.map]
    if not named:
        raise NotFoundError(texts.NO_MAP_IN_OBJECT(object=path, map=args.map, known=[m.name for m in found]))
    return named


def layout_differences(head: LayoutVersion, found: ElfMap) -> list[str]:
    """Return every difference between a map and the recorded head."""
    from reloader.pipeline.registry.next_version import described
    from reloader.plan.state.compat import differences

    if not described(found):
        return _size_differences(head.inside(), found.inner or found)
    pairs = (("key", head.key, found.key), ("value", head.value, found.value))
    return [str(d) for side, old, new in pairs for d in differences(old, new, path=side)]


def _size_differences(head: LayoutVersion, found: ElfMap) -> list[str]:
    """All that can be said of a map without BTF."""
    pairs = (("key", head.key.size, found.key_size), ("value", head.value.size, found.value_size))
    return [f"{side}: size {old} → {new}" for side, old, new in pairs if old != new]


def compare_with_head(registry: Registry, found: ElfMap) -> dict[str, Any]:
    """Compare a map with the recorded head, as a row of a report."""
    head = registry.head(found.name)
    alike = (registry.fitting(found) or (None,))[-1]
    return {
        "map": found.name,
        "head": head.version if head else None,
        "version": alike.version if alike else None,
        "differences": layout_differences(head, found) if head else [],
    }


def describe_row(row: dict[str, Any]) -> str:
    """Say in a line how a row of `compare_with_head` compares."""
    head, version = row["head"], row["version"]
    if head is None:
        return texts.MAP_UNRECORDED(map=row["map"])
    if version == head:
        return texts.FITS(map=row["map"], head=head)
    text = texts.DIFFERS_OLDER if version else texts.DIFFERS
    return text(map=row["map"], head=head, version=version)
