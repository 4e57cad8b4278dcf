"""Which role a map of the object may have, and which one to suggest for it. Pure.

One table for compile.py's checks and scaffold.py's first YAML. Imports elfmaps (types only), kernel, spec.model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reloader.kernel import PLAIN_TYPES, MapType
from reloader.printable import counted
from reloader.spec.model import Role

if TYPE_CHECKING:
    from reloader.elf import ElfMap

_STREAMS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF, MapType.PERF_EVENT_ARRAY})
_HANDLES = frozenset({
    MapType.SOCKMAP, MapType.SOCKHASH, MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP, MapType.XSKMAP,
    MapType.REUSEPORT_SOCKARRAY, MapType.CGROUP_ARRAY,
})  # fmt: skip
_RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG, include/uapi/linux/bpf.h

_CONFIG_WORDS = r"(?i)conf|block|allow|deny|polic|rule|route|acl|list|setting|backend|service|vip"
_SCRATCH_WORDS = r"(?i)scratch|tmp|temp|heap|buf"


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


def suggested_role(found: ElfMap) -> Role:
    """A guess by type, flags and name, for the author to confirm; when in doubt, the one that loses nothing."""
    allowed = allowed_roles(found)
    if Role.CONFIG in allowed and (found.map_flags & _RDONLY_PROG or re.search(_CONFIG_WORDS, found.name)):
        return Role.CONFIG
    if Role.SCRATCH in allowed and found.type == MapType.PERCPU_ARRAY and re.search(_SCRATCH_WORDS, found.name):
        return Role.SCRATCH
    return allowed[0]


def describe(found: ElfMap) -> str:
    """`hash, u32 → struct flow, 1024 entries`."""
    if found.internal:
        return f"global variables, {counted(found.value_size, 'byte')}"
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
