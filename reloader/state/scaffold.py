"""`reloader state new`: the next version of a layout as a file to review, with what is certain filled in.

What only the author can know stands there as a comment that begins `# QUESTION`, and the registry refuses the
file until it is gone. Imports elf, kernel, spec.roles, state.*; reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reloader.elf import ElfMap
from reloader.kernel import MapType
from reloader.spec.model import Role
from reloader.spec.roles import suggested_role
from reloader.spec.schema import API_VERSION
from reloader.state.layouts import quoted, write_type
from reloader.state.registry import QUESTION, Registry
from reloader.state.rules import LayoutVersion
from reloader.state.schema import KIND
from reloader.state.suggest import Suggestion, merges
from reloader.typetree import layout_digest

ENGINE = "rl_"  # names of reloader_state.h


def state_maps(maps: Iterable[ElfMap], registry: Registry | None) -> list[ElfMap]:
    """The maps of an object that hold state: those recorded already, else those that look like it."""
    known = set(registry.maps) if registry else set()
    found = [m for m in maps if m.writable and not m.name.startswith(ENGINE)]
    return [m for m in found if m.name in known] or [
        m for m in found if suggested_role(m) is Role.STATE and m.key and m.value and m.type != MapType.STRUCT_OPS
    ]


def first_version(schema: str, found: ElfMap) -> LayoutVersion | None:
    """Version 1 of a map; None where no BTF describes it."""
    return _version(schema, found, 1)


def next_version(head: LayoutVersion, found: ElfMap) -> LayoutVersion | None:
    return _version(head.schema, found, head.version + 1)


def _version(schema: str, found: ElfMap, number: int) -> LayoutVersion | None:
    if found.key is None or found.value is None:
        return None
    return LayoutVersion(schema=schema, map=found.name, version=number, key=found.key, value=found.value)


def text(new: LayoutVersion, old: LayoutVersion | None) -> str:
    """The file of a version that follows `old`."""
    lines = [*_head(new, old), *_layout(new, old), *_merges(new, old)]
    if old:
        lines += _rules(old, new)
    return "\n".join([*lines, ""])


def _head(new: LayoutVersion, old: LayoutVersion | None) -> Iterator[str]:
    what = f"the differences from version {old.version} are under rules" if old else "the first version"
    yield f"# Written by `reloader state new`: {what}. Review it like a database migration."
    yield f"apiVersion: {API_VERSION}"
    yield f"kind: {KIND}"
    yield f"metadata: {{schema: {quoted(new.schema)}, map: {quoted(new.map)}, version: {new.version}}}"


def _layout(new: LayoutVersion, old: LayoutVersion | None) -> Iterator[str]:
    if old and layout_digest(old.key, old.value) == layout_digest(new.key, new.value):
        yield f"{QUESTION}: the layout is the same; what means something else now? Below, what becomes of old values?"
        yield "# meaning: …"
    yield "layout:"
    for side, tree in (("key", new.key), ("value", new.value)):
        first, *rest = write_type(tree, 4)
        yield f"  {side}: {first}".rstrip()
        yield from rest


def _merges(new: LayoutVersion, old: LayoutVersion | None) -> list[str]:
    """How two counts of a field become one; by name where a name says so."""
    found = list(merges(new.value, old.merge if old else {}))
    if not found:
        return []
    lines = ["merge:  # where both versions wrote an entry"]
    for path, word, certain in found:
        name = quoted(path) if path else "."
        if certain:
            lines.append(f"  {name}: {word}")
        else:
            lines.append(f"  {QUESTION}: how do two values of {path or 'it'} become one?")
            lines.append(f"  # {name}: sum | max | min | or | keep_new | keep_old")
    return lines


def _rules(old: LayoutVersion, new: LayoutVersion) -> Iterator[str]:
    made = Suggestion(old, new)
    yield "rules:" + ("" if made.questions or any(made.rules.values()) else " {}")
    for side in ("key", "value"):
        asked = [q for q in made.questions if q[0] == side]
        if not asked and not made.rules[side]:
            continue
        yield f"  {side}:"
        for path, words in made.rules[side].items():
            said = ", ".join(f"{w}: {str(v).lower()}" for w, v in words.items())
            yield f"    {quoted(path)}: {{{said}}}" + ("  # a rollback finds zero" if "drop" in words else "")
        for _, _, question, answers in asked:
            yield f"    {QUESTION}: {question}"
            yield from (f"    # {answer}" for answer in answers)
