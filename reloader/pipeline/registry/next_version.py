"""`reloader state new`: the next version of a layout as a file to review, with what is certain filled in.

What only the author can know stands there as a comment that begins `# QUESTION`, and the registry refuses the
file until it is gone. Reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from reloader.kernel import MapType
from reloader.layouts import shape
from reloader.layouts.rules import LayoutVersion
from reloader.pipeline.document import quoted
from reloader.pipeline.model import Role
from reloader.pipeline.registry import texts
from reloader.pipeline.registry.layout_files import write_type
from reloader.pipeline.registry.layout_schema import KIND
from reloader.pipeline.registry.registry import QUESTION, Registry
from reloader.pipeline.registry.suggest import Suggestion, merges
from reloader.pipeline.roles import suggested_role
from reloader.pipeline.schema import API_VERSION
from reloader.structs.elf import ElfMap
from reloader.structs.tree import TypeTree, layout_digest, map_of

ENGINE = "rl_"  # names of reloader_state.h
# Names that maps of configuration tend to have. A wrong guess deletes nothing: the layout is recorded with --map.
_LISTED = re.compile(r"(?i)conf|block|allow|deny|polic|rule|route|acl|list|setting|backend|service|vip")


def state_maps(maps: Iterable[ElfMap], registry: Registry | None) -> list[ElfMap]:
    """The maps of an object that hold state: those recorded already, else those that look like it."""
    known = set(registry.maps) if registry else set()
    found = [m for m in maps if m.writable and not m.name.startswith(ENGINE)]
    return [m for m in found if m.name in known] or [
        m for m in found if _may_be_state(m) and m.key and m.value and m.type != MapType.STRUCT_OPS
    ]


def _may_be_state(found: ElfMap) -> bool:
    role = suggested_role(found)
    return role is Role.STATE or (role is None and not _LISTED.search(found.name))


def described(found: ElfMap) -> bool:
    """Whether BTF gives the layout of a map; else it is written by hand."""
    return found.key is not None and found.value is not None


def first_version(schema: str, found: ElfMap) -> LayoutVersion:
    """Version 1 of a map; a side that no BTF describes is a struct without fields."""
    return _version(schema, found, 1)


def next_version(head: LayoutVersion, found: ElfMap) -> LayoutVersion:
    return _version(head.schema, found, head.version + 1)


def _version(schema: str, found: ElfMap, number: int) -> LayoutVersion:
    value = found.value or (_nested(found.inner) if found.inner else _unknown(found.value_size))
    key = found.key or _unknown(found.key_size)
    return LayoutVersion(schema=schema, map=found.name, version=number, key=key, value=value)


def _nested(inner: ElfMap) -> TypeTree:
    sides = (inner.key or _unknown(inner.key_size), inner.value or _unknown(inner.value_size))
    return map_of(MapType(inner.type).name.lower(), *sides)


def _unknown(size: int) -> TypeTree:
    if size in (4, 8):  # what most keys are that are declared by size
        return TypeTree(kind="int", size=size)
    return TypeTree(kind="struct", size=size)


def text(new: LayoutVersion, old: LayoutVersion | None, *, by_hand: bool = False) -> str:
    """The file of a version that follows `old`. `by_hand`: no BTF gave the layout, so its author has to."""
    lines = [*_head(new, old), *(_by_hand(new, old) if by_hand else ()), *_layout(new, old)]
    if not by_hand:
        lines += _merges(new.inside(), old.inside() if old else None)
    if old and not by_hand:
        lines += _rules(old.inside(), new.inside())
    return "\n".join([*lines, ""])


def _by_hand(new: LayoutVersion, old: LayoutVersion | None) -> Iterator[str]:
    yield f"{QUESTION}: {texts.BY_HAND(map=new.map)}"
    yield "# fields: [{name: packets, type: u64, at: 0}]"
    yield "# and below the layout, merge: {packets: sum}" + (", rules: {value: {…}}" if old else "")


def _head(new: LayoutVersion, old: LayoutVersion | None) -> Iterator[str]:
    yield texts.NEXT_VERSION(old=old.version) if old else texts.FIRST_VERSION()
    yield f"apiVersion: {API_VERSION}"
    yield f"kind: {KIND}"
    yield f"metadata: {{schema: {quoted(new.schema)}, map: {quoted(new.map)}, version: {new.version}}}"


def _layout(new: LayoutVersion, old: LayoutVersion | None) -> Iterator[str]:
    if old and layout_digest(old.key, old.value) == layout_digest(new.key, new.value):
        yield f"{QUESTION}: {texts.SAME_LAYOUT()}"
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
    lines = [f"merge:  # {texts.MERGE_COMMENT()}"]
    for path, word, certain in found:
        name = quoted(path) if path else "."
        if certain:
            lines.append(f"  {name}: {word}")
        else:
            question = texts.MERGE_QUESTION(field=path) if path else texts.MERGE_QUESTION_WHOLE()
            lines.append(f"  {QUESTION}: {question}")
            lines.append(f"  # {name}: sum | max | min | or | keep_new | keep_old")
    return lines


def _rules(old: LayoutVersion, new: LayoutVersion) -> Iterator[str]:
    if held := shape.holds_bound(old.value) or shape.holds_bound(new.value):
        yield texts.RULES_NOT_POSSIBLE(special=held)
        return
    made = Suggestion(old, new)
    yield "rules:" + ("" if made.questions or any(made.rules.values()) else " {}")
    for side in ("key", "value"):
        asked = [q for q in made.questions if q.side == side]
        if not asked and not made.rules[side]:
            continue
        yield f"  {side}:"
        for path, words in made.rules[side].items():
            said = ", ".join(f"{w}: {str(v).lower()}" for w, v in words.items())
            yield f"    {quoted(path)}: {{{said}}}" + (f"  # {texts.PADDING_COMMENT()}" if "drop" in words else "")
        for question in asked:
            yield f"    {QUESTION}: {question.message}"
            yield from (f"    # {answer}" for answer in question.answers)
