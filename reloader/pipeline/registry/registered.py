"""A pipeline's state layouts in the registry that its stateSchema names. Called by pipeline/compile.py."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import InputError, NotFoundError, Problem
from reloader.paths import pin_name
from reloader.pipeline.enums import Role
from reloader.pipeline.model import MapWish, Pipeline
from reloader.pipeline.objects import problem_at
from reloader.pipeline.registry import texts
from reloader.structs.elf import ElfMap
from reloader.structs.tree import layout_digest
from reloader.wording.message import Message

if TYPE_CHECKING:
    from reloader.layouts.rules import LayoutVersion
    from reloader.pipeline.registry.registry import Registry


def registry_of(pipeline: Pipeline, inputs: Inputs = PLAIN) -> Registry | None:
    """The recorded layouts; None when the YAML names no schema, InputError when there is none of that name."""
    if pipeline.state_schema is None:
        return None
    from reloader.pipeline.registry.registry import load_registry, search_path

    try:
        return load_registry(pipeline.state_schema, search_path(Path(pipeline.file)), inputs, strict=False)
    except NotFoundError as error:
        place = (pipeline.file, pipeline.mark, "spec.stateSchema")
        raise InputError([problem_at(*place, error.message, error.hint)]) from error


def broken(registry: Registry, name: str) -> tuple[Problem, ...]:
    """What is wrong with the files of one map."""
    return registry.broken.get(pin_name(name), ())


def broken_elsewhere(registry: Registry | None, states: Collection[str]) -> list[Problem]:
    """What is wrong with the files of all maps but these."""
    ours = {pin_name(name) for name in states}
    return [p for name, found in (registry.broken if registry else {}).items() if name not in ours for p in found]


def files_of(registry: Registry | None) -> list[str]:
    """What a compiled pipeline depends on; the folder too, since a new version may appear in it."""
    return [registry.folder, *registry.files] if registry else []


Versions = tuple["LayoutVersion", ...]


def versions_of(registry: Registry | None, wish: MapWish, found: ElfMap) -> tuple[Versions, Message | None]:
    """A state map's history up to the layout the object has, or what is wrong."""
    if wish.role is not Role.STATE:
        return (), None
    if registry is None:
        return (), texts.LAYOUT_WITHOUT_SCHEMA(version=wish.layout) if wish.layout else None
    if broken(registry, wish.name):
        return (), texts.LAYOUTS_FAULTY(map=wish.name)
    fitting = registry.fitting(found)
    named = [v for v in fitting if wish.layout in (None, v.version)]
    if len({layout_digest(v.key, v.value) for v in named}) > 1:
        return (), texts.LAYOUT_NOT_CHOSEN(map=wish.name, versions=[v.version for v in named])
    if named:
        return tuple(v for v in registry.history(wish.name) if v.version <= named[-1].version), None
    if fitting:
        return (), texts.LAYOUT_OF_OTHER_VERSION(map=wish.name, found=fitting[-1].version, wanted=wish.layout)
    head = registry.head(wish.name)
    if head:
        return (), texts.LAYOUT_OF_NO_VERSION(map=wish.name, count=head.version, schema=registry.schema)
    return (), texts.LAYOUT_NOT_RECORDED(map=wish.name, schema=registry.schema)
