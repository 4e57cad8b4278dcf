"""Which role a map of the object may have, and which one to suggest for it. Pure.

One table for compile.py's checks and scaffold.py's first YAML.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from reloader.kernel import LRU_TYPES, PERCPU_TYPES, PLAIN_TYPES, MapType
from reloader.pipeline import texts
from reloader.pipeline.enums import Role
from reloader.structs.tree import TypeTree, leaves
from reloader.wording.printable import counted

if TYPE_CHECKING:
    from reloader.structs.elf import ElfMap

_STREAMS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF, MapType.PERF_EVENT_ARRAY})
_HANDLES = frozenset({
    MapType.SOCKMAP, MapType.SOCKHASH, MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP, MapType.XSKMAP,
    MapType.REUSEPORT_SOCKARRAY, MapType.CGROUP_ARRAY,
})  # fmt: skip

_COUNTER_NAME = re.compile(r"(?i)count|stat(s|istics)?(_|$)|metric|hits|drops|packets|pkts|bytes")


@cache
def type_name(kind: int) -> str:
    """A map type as bpftool writes it."""
    return MapType(kind).name.lower() if kind in MapType.__members__.values() else f"type {kind}"


def allowed_roles(found: ElfMap) -> tuple[Role, ...]:
    """The roles that make sense for a map; the first is the usual one."""
    if found.internal:
        return (Role.STATE, Role.SCRATCH)
    if found.type in _STREAMS:
        return (Role.STREAM, Role.EXTERNAL)
    if found.type in _HANDLES:
        return (Role.LIVE, Role.EXTERNAL)
    if found.type == MapType.PROG_ARRAY:  # never shared by two loads: packets would run half old, half new
        return (Role.LIVE, Role.SCRATCH)
    if found.type in PLAIN_TYPES:
        return (Role.STATE, Role.CONFIG, Role.SCRATCH, Role.EXTERNAL)
    return (Role.STATE, Role.SCRATCH, Role.EXTERNAL)


def suggested_role(found: ElfMap) -> Role | None:
    """The role that `init` writes; None where only the author can choose.

    Never a role by which a later command deletes entries: nothing in an object tells whether a control plane fills a
    plain map, or the YAML.
    """
    allowed = allowed_roles(found)
    if Role.CONFIG not in allowed or found.type in LRU_TYPES | PERCPU_TYPES or _counts(found):
        return allowed[0]
    return None


def _counts(found: ElfMap) -> bool:
    """Whether name and value are those of counters."""
    if found.value is None or not _COUNTER_NAME.search(found.name):
        return False
    return all(_element(leaf.type).kind == "int" for leaf in leaves(found.value))


def _element(tree: TypeTree) -> TypeTree:
    return _element(tree.element) if tree.element else tree


def describe(found: ElfMap) -> str:
    """`hash, u32 → struct flow, 1024 entries`."""
    if found.internal:
        return texts.VARIABLES(size=found.value_size)
    parts = [type_name(found.type)]
    if found.key or found.value:
        parts.append(f"{_side(found.key, found.key_size)} → {_side(found.value, found.value_size)}")
    elif found.key_size or found.value_size:
        parts.append(f"{found.key_size} → {counted(found.value_size, 'byte')}")
    if found.max_entries:
        unit = "bytes" if found.type in _STREAMS else "entry" if found.max_entries == 1 else "entries"
        parts.append(f"{found.max_entries} {unit}")
    return ", ".join(parts)


def _side(tree: object, size: int) -> str:
    text = getattr(tree, "text", None)
    return str(text()) if text else counted(size, "byte")
