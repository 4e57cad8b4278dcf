"""Maps that no kernel creates: sizes, counts and flags that do not fit the type. Pure.

The rules are the kernel's (map_alloc_check of each type, from Linux 6.1 on), so that `validate` finds what `apply`
would only hear from it. Called by compile.py; imports elf (types only) and kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.kernel import LRU_TYPES, NESTED_TYPES, MapType
from reloader.spec.roles import type_name

if TYPE_CHECKING:
    from reloader.elf import ElfMap

KMALLOC_MAX = 4 << 20  # bytes of a hash's element
PERCPU_MAX = 32 << 10  # bytes of one CPU's value
MOST_BUCKETS = 1 << 31
SOCKHASH_KEY = 512
MOST_CPUS = 8192  # NR_CPUS of the largest configuration
MOST_HASHES = 15  # of a Bloom filter, in its map_extra
STACK_DEPTH = 127  # sysctl perf_event_max_stack
NO_PREALLOC, NO_COMMON_LRU, NUMA_NODE = 1, 2, 4
RDONLY, WRONLY, STACK_BUILD_ID, ZERO_SEED, RDONLY_PROG, WRONLY_PROG = 8, 16, 32, 64, 128, 256
MMAPABLE, PRESERVE_ELEMS, INNER_MAP = 1 << 10, 1 << 11, 1 << 12
_ACCESS = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG
_READ_WRITE = RDONLY | WRONLY
_HASH_FLAGS = NO_PREALLOC | NO_COMMON_LRU | NUMA_NODE | _ACCESS | ZERO_SEED
_ARRAY_FLAGS = NUMA_NODE | MMAPABLE | _ACCESS | PRESERVE_ELEMS | INNER_MAP
_HASHES = frozenset(
    {MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.HASH_OF_MAPS}
)
_FD_ARRAYS = frozenset({
    MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY, MapType.ARRAY_OF_MAPS,
})  # fmt: skip
_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY}) | _FD_ARRAYS
_LOCAL = frozenset({MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE})
_PERCPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
_KEYLESS = frozenset({MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER})
_RINGS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF})
_INDEXED = _ARRAYS | {
    MapType.STACK_TRACE, MapType.DEVMAP, MapType.CPUMAP, MapType.XSKMAP, MapType.SOCKMAP, MapType.REUSEPORT_SOCKARRAY,
}  # fmt: skip
_VALUE_SIZES = {
    MapType.SOCKMAP: (4, 8), MapType.SOCKHASH: (4, 8), MapType.REUSEPORT_SOCKARRAY: (4, 8), MapType.DEVMAP: (4, 8),
    MapType.DEVMAP_HASH: (4, 8), MapType.CPUMAP: (4, 8), MapType.XSKMAP: (4,), MapType.HASH_OF_MAPS: (4,),
    **dict.fromkeys(_FD_ARRAYS, (4,)),
}  # fmt: skip
_FLAGS = {
    **dict.fromkeys(_HASHES, _HASH_FLAGS), **dict.fromkeys(_ARRAYS, _ARRAY_FLAGS),
    MapType.LPM_TRIE: NO_PREALLOC | NUMA_NODE | _ACCESS, MapType.QUEUE: NUMA_NODE | _ACCESS,
    MapType.STACK: NUMA_NODE | _ACCESS, MapType.STACK_TRACE: NUMA_NODE | _READ_WRITE | STACK_BUILD_ID,
    MapType.BLOOM_FILTER: NUMA_NODE | _ACCESS | ZERO_SEED, MapType.CPUMAP: NUMA_NODE,
    MapType.REUSEPORT_SOCKARRAY: _ARRAY_FLAGS, MapType.RINGBUF: NUMA_NODE, MapType.USER_RINGBUF: NUMA_NODE,
    **dict.fromkeys(
        (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH),
        NUMA_NODE | _READ_WRITE,
    ),
}  # fmt: skip
Finding = tuple[str, str, str]  # reason, what is wrong, what to do


def creation_fault(found: ElfMap, max_entries: int) -> Finding | None:
    """The first reason why no kernel would create the map with that many entries; None when there is none."""
    if found.type not in MapType.__members__.values() or found.type == MapType.STRUCT_OPS:
        return "map_type", f"map type {found.type} is not one that reloader knows", "look at its `type`"
    kind = MapType(found.type)
    for rule in (_key, _value, _entries, _flags, _extra, _initial, _inner):
        if wrong := rule(found, kind, max_entries):
            return wrong
    return None


def _key(found: ElfMap, kind: MapType, _: int) -> Finding | None:
    name, size = type_name(kind), found.key_size
    if kind in _KEYLESS | _RINGS | {MapType.ARENA}:
        return _size("key", f"a {name} does not have keys", size, (0,))
    if kind in _INDEXED | _LOCAL | {MapType.DEVMAP_HASH}:
        return _size("key", f"keys of a {name} have 4 bytes", size, (4,))
    if kind is MapType.LPM_TRIE:
        return None if 5 <= size <= 260 else _bad("key", f"keys of a {name} have 5 to 260 bytes", size)
    if kind is MapType.SOCKHASH and size > SOCKHASH_KEY:
        return _bad("key", f"keys of a {name} have at most {SOCKHASH_KEY} bytes", size)
    return None if size else _bad("key", f"a {name} needs keys", size)


def _value(found: ElfMap, kind: MapType, _: int) -> Finding | None:
    name, size = type_name(kind), found.value_size
    if kind in _RINGS | {MapType.ARENA}:
        return _size("value", f"a {name} does not have values", size, (0,))
    if kind in _VALUE_SIZES:
        sizes = _VALUE_SIZES[kind]
        return _size("value", f"values of a {name} have {' or '.join(map(str, sizes))} bytes", size, sizes)
    if kind is MapType.STACK_TRACE:
        step = 32 if found.map_flags & STACK_BUILD_ID else 8
        fits = size and not size % step and size // step <= STACK_DEPTH
        return None if fits else _bad("value", f"values of a {name} are 1 to {STACK_DEPTH} times {step} bytes", size)
    if not size:
        return _bad("value", f"a {name} needs values", size)
    if kind in _PERCPU and size > PERCPU_MAX:
        return _bad("value", f"one CPU's value of a {name} has at most {PERCPU_MAX} bytes", size)
    if kind in _HASHES and found.key_size + size >= KMALLOC_MAX:
        return _bad("value", f"key and value of a {name} together have less than {KMALLOC_MAX} bytes", size)
    return None


def _size(side: str, rule: str, size: int, sizes: tuple[int, ...]) -> Finding | None:
    return None if size in sizes else _bad(side, rule, size)


def _bad(side: str, rule: str, size: int) -> Finding:
    return f"map_{side}_size", f"{rule}, not {size}", f"change its `{side}` or `{side}_size`"


def _entries(_found: ElfMap, kind: MapType, count: int) -> Finding | None:
    name, hint = type_name(kind), "write max_entries in the object, or in the YAML"
    if kind in _LOCAL | {MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE}:
        return ("map_max_entries", f"a {name} does not take max_entries", "remove it") if count else None
    if not count and kind is not MapType.PERF_EVENT_ARRAY:  # libbpf gives that one the number of CPUs
        return "map_max_entries", f"a {name} needs max_entries", hint
    if kind in _HASHES and count > MOST_BUCKETS:
        return "map_max_entries", f"a {name} takes at most {MOST_BUCKETS} entries", hint
    if kind is MapType.CPUMAP and count > MOST_CPUS:
        return "map_max_entries", f"a {name} takes at most {MOST_CPUS} entries", hint
    return None


def _flags(found: ElfMap, kind: MapType, _: int) -> Finding | None:
    flags, name = found.map_flags, type_name(kind)
    if kind in _LOCAL | {MapType.LPM_TRIE} and not flags & NO_PREALLOC:
        return _flag(f"a {name} needs BPF_F_NO_PREALLOC", "add __uint(map_flags, BPF_F_NO_PREALLOC)")
    allowed = _FLAGS.get(kind)
    if allowed is not None and (more := flags & ~allowed):
        return _flag(f"a {name} does not take the flags {more:#x}", "remove them")
    wrong = {
        "BPF_F_NO_PREALLOC": flags & NO_PREALLOC and kind in LRU_TYPES,
        "BPF_F_NO_COMMON_LRU": flags & NO_COMMON_LRU and kind not in LRU_TYPES,
        "BPF_F_NUMA_NODE": flags & NUMA_NODE and (kind in _PERCPU or (flags & NO_COMMON_LRU)),
        "BPF_F_MMAPABLE": flags & MMAPABLE and kind not in (MapType.ARRAY, MapType.ARENA),
        "BPF_F_INNER_MAP": flags & INNER_MAP and kind is not MapType.ARRAY,
        "BPF_F_PRESERVE_ELEMS": flags & PRESERVE_ELEMS and kind is not MapType.PERF_EVENT_ARRAY,
        "BPF_F_RDONLY_PROG": flags & (RDONLY_PROG | WRONLY_PROG) and kind in _FD_ARRAYS,
    }
    bad = [flag for flag, refused in wrong.items() if refused]
    if bad:
        return _flag(f"a {name} does not take {', '.join(bad)}", "remove it from map_flags")
    both = [f for f in (RDONLY | WRONLY, RDONLY_PROG | WRONLY_PROG) if flags & f == f]
    return _flag("it is read-only and write-only at once", "choose one of the flags") if both else None


def _flag(message: str, hint: str) -> Finding:
    return "map_flags", message, hint


def _extra(found: ElfMap, kind: MapType, _: int) -> Finding | None:
    """`map_extra` is the number of hashes of a Bloom filter and the address of an arena."""
    if kind is MapType.ARENA or not found.map_extra:
        return None
    if kind is MapType.BLOOM_FILTER:
        if found.map_extra <= MOST_HASHES:
            return None
        return "map_extra", f"a {type_name(kind)} takes at most {MOST_HASHES} hashes", "lower its map_extra"
    return "map_extra", f"a {type_name(kind)} does not take map_extra", "remove it"


def _initial(found: ElfMap, kind: MapType, count: int) -> Finding | None:
    """`.values` are written by index; in a hash the index is the key."""
    slots = [i for i, name in enumerate(found.prog_array_values or found.inner_values) if name]
    needed = len(slots) if kind in _HASHES else max(slots, default=-1) + 1
    if needed <= count:
        return None
    message = f"`.values` need {needed} entries, and max_entries is {count}"
    return "map_values", message, "raise max_entries in the object, or in the YAML"


def _inner(found: ElfMap, kind: MapType, _: int) -> Finding | None:
    if kind not in NESTED_TYPES:
        return None
    if found.inner is None:
        hint = "write __array(values, struct { … }) in it"
        return "map_inner", f"a {type_name(kind)} needs to know what its maps look like", hint
    if found.inner.type == MapType.PROG_ARRAY:
        hint = "declare the program array outside the map of maps"
        return "map_inner", f"a {type_name(kind)} does not take program arrays as inner maps", hint
    wrong = creation_fault(found.inner, found.inner.max_entries)
    return (wrong[0], f"its inner map: {wrong[1]}", wrong[2]) if wrong else None
