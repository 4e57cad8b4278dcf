"""A pipeline's state layouts in the registry that its stateSchema names. Called by compile.py; imports state late."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.elf import ElfMap
from reloader.errors import InputError, NotFoundError, Problem
from reloader.files import PLAIN, Inputs
from reloader.layout import pin_name
from reloader.spec.model import MapWish, Pipeline
from reloader.spec.objects import problem_at
from reloader.spec.words import Role
from reloader.typetree import layout_digest

if TYPE_CHECKING:
    from reloader.state.registry import Registry
    from reloader.state.rules import LayoutVersion


def registry_of(pipeline: Pipeline, inputs: Inputs = PLAIN) -> Registry | None:
    """The recorded layouts; None when the YAML names no schema, InputError when there is none of that name."""
    if pipeline.state_schema is None:
        return None
    from reloader.state.registry import load_registry, search_path

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


def versions_of(registry: Registry | None, wish: MapWish, found: ElfMap) -> tuple[Versions, str, str]:
    """A state map's history up to the layout the object has; or what is wrong (empty: nothing), and a hint."""
    if wish.role is not Role.STATE:
        return (), "", ""
    if registry is None:
        wrong = f"layout: {wish.layout} is a version of a state schema, and the YAML names none"
        return ((), wrong, "stateSchema: NAME, below spec:") if wish.layout else ((), "", "")
    if broken(registry, wish.name):
        return (), f"the recorded layouts of {wish.name} have open questions or faults", "correct the files, then again"
    fitting = registry.fitting(found)
    named = [v for v in fitting if wish.layout in (None, v.version)]
    if len({layout_digest(v.key, v.value) for v in named}) > 1:
        numbers = ", ".join(str(v.version) for v in named)
        return (), f"no BTF describes {wish.name}; by its sizes it may be of version {numbers}", "say which: layout: N"
    if named:
        return tuple(v for v in registry.history(wish.name) if v.version <= named[-1].version), "", ""
    if fitting:
        return (), f"the layout of {wish.name} is that of version {fitting[-1].version}, not of {wish.layout}", ""
    head = registry.head(wish.name)
    what = f"is none of its {head.version} recorded versions" if head else "is not recorded"
    hint = (
        f"`reloader state new OBJECT --schema {registry.schema} --map {wish.name}` writes it down; "
        f"`reloader apply FILE --reset {wish.name}` starts it empty without"
    )
    return (), f"the layout of {wish.name} {what} in state schema {registry.schema!r}", hint
