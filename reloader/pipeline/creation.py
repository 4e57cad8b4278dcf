"""Maps that no kernel creates: sizes, counts and flags that do not fit the type. Pure.

The rules are the kernel's (map_alloc_check of each type, from Linux 6.1 on), so that `validate` finds what `apply`
would only hear from it. Called by compile.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reloader.kernel import LRU_TYPES, NESTED_TYPES, MapType
from reloader.pipeline import texts
from reloader.pipeline.roles import type_name
from reloader.wording.message import Message

if TYPE_CHECKING:
    from reloader.structs.elf import ElfMap

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


def creation_fault(found: ElfMap, max_entries: int) -> Message | None:
    """The first reason why no kernel would create the map with that many entries; None when there is none."""
    if found.type not in MapType.__members__.values() or found.type == MapType.STRUCT_OPS:
        return texts.MAP_TYPE(type=found.type)
    kind = MapType(found.type)
    for rule in (_key, _value, _entries, _flags, _extra, _initial, _inner):
        if wrong := rule(found, kind, max_entries):
            return wrong
    return None


def _key(found: ElfMap, kind: MapType, _: int) -> Message | None:
    rule = _key_rule(kind, found.key_size)
    return rule and texts.MAP_KEY_SIZE(rule=rule, size=found.key_size)


def _key_rule(kind: MapType, size: int) -> Message | None:
    """Return the rule that keys of that size break."""
    name = type_name(kind)
    if kind in _KEYLESS | _RINGS | {MapType.ARENA}:
        return texts.KEYS_NOT_TAKEN(type=name) if size else None
    if kind in _INDEXED | _LOCAL | {MapType.DEVMAP_HASH}:
        return texts.KEYS_OF(type=name, size=4) if size != 4 else None
    if kind is MapType.LPM_TRIE:
        return None if 5 <= size <= 260 else texts.KEYS_BETWEEN(type=name, least=5, most=260)
    if kind is MapType.SOCKHASH and size > SOCKHASH_KEY:
        return texts.KEYS_AT_MOST(type=name, most=SOCKHASH_KEY)
    return None if size else texts.KEYS_NEEDED(type=name)


def _value(found: ElfMap, kind: MapType, _: int) -> Message | None:
    rule = _value_rule(found, kind, found.value_size)
    return rule and texts.MAP_VALUE_SIZE(rule=rule, size=found.value_size)


def _value_rule(found: ElfMap, kind: MapType, size: int) -> Message | None:
    """Return the rule that values of that size break."""
    name = type_name(kind)
    if kind in _RINGS | {MapType.ARENA}:
        return texts.VALUES_NOT_TAKEN(type=name) if size else None
    if kind in _VALUE_SIZES:
        sizes = _VALUE_SIZES[kind]
        return None if size in sizes else texts.VALUES_OF(type=name, sizes=" or ".join(map(str, sizes)))
    if kind is MapType.STACK_TRACE:
        step = 32 if found.map_flags & STACK_BUILD_ID else 8
        fits = size and not size % step and size // step <= STACK_DEPTH
        return None if fits else texts.VALUE_STEPS(type=name, most=STACK_DEPTH, step=step)
    if not size:
        return texts.VALUES_NEEDED(type=name)
    if kind in _PERCPU and size > PERCPU_MAX:
        return texts.CPU_VALUE_AT_MOST(type=name, most=PERCPU_MAX)
    if kind in _HASHES and found.key_size + size >= KMALLOC_MAX:
        return texts.PAIR_BELOW(type=name, limit=KMALLOC_MAX)
    return None


def _entries(_found: ElfMap, kind: MapType, count: int) -> Message | None:
    rule = _entries_rule(kind, count)
    return rule and texts.MAP_MAX_ENTRIES(rule=rule, count=count, hint=rule.hint)


def _entries_rule(kind: MapType, count: int) -> Message | None:
    """Return the rule that this max_entries breaks."""
    name = type_name(kind)
    if kind in _LOCAL | {MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE}:
        return texts.ENTRIES_NOT_TAKEN(type=name) if count else None
    if not count and kind is not MapType.PERF_EVENT_ARRAY:  # libbpf gives that one the number of CPUs
        return texts.ENTRIES_NEEDED(type=name)
    if kind in _HASHES and count > MOST_BUCKETS:
        return texts.ENTRIES_AT_MOST(type=name, most=MOST_BUCKETS)
    if kind is MapType.CPUMAP and count > MOST_CPUS:
        return texts.ENTRIES_AT_MOST(type=name, most=MOST_CPUS)
    return None


def _flags(found: ElfMap, kind: MapType, _: int) -> Message | None:
    rule = _flags_rule(kind, found.map_flags)
    return rule and texts.MAP_FLAGS(rule=rule, flags=found.map_flags, hint=rule.hint)


def _flags_rule(kind: MapType, flags: int) -> Message | None:
    """Return the rule that these flags break."""
    name = type_name(kind)
    if kind in _LOCAL | {MapType.LPM_TRIE} and not flags & NO_PREALLOC:
        return texts.ADD_NO_PREALLOC(type=name)
    allowed = _FLAGS.get(kind)
    if allowed is not None and (more := flags & ~allowed):
        return texts.FLAGS_NOT_TAKEN(type=name, flags=f"{more:#x}")
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
        return texts.FLAGS_NOT_TAKEN(type=name, flags=bad)
    opposed = any(flags & both == both for both in (RDONLY | WRONLY, RDONLY_PROG | WRONLY_PROG))
    return texts.FLAGS_OPPOSED() if opposed else None


def _extra(found: ElfMap, kind: MapType, _: int) -> Message | None:
    """`map_extra` is the number of hashes of a Bloom filter and the address of an arena."""
    if kind is MapType.ARENA or not found.map_extra:
        return None
    if kind is not MapType.BLOOM_FILTER:
        rule = texts.EXTRA_NOT_TAKEN(type=type_name(kind))
    elif found.map_extra > MOST_HASHES:
        rule = texts.HASHES_AT_MOST(type=type_name(kind), most=MOST_HASHES)
    else:
        return None
    return texts.MAP_EXTRA(rule=rule, extra=found.map_extra, hint=rule.hint)


def _initial(found: ElfMap, kind: MapType, count: int) -> Message | None:
    """`.values` are written by index; in a hash the index is the key."""
    slots = [i for i, name in enumerate(found.prog_array_values or found.inner_values) if name]
    needed = len(slots) if kind in _HASHES else max(slots, default=-1) + 1
    return None if needed <= count else texts.MAP_VALUES(needed=needed, count=count)


def _inner(found: ElfMap, kind: MapType, _: int) -> Message | None:
    if kind not in NESTED_TYPES:
        return None
    name = type_name(kind)
    if found.inner is None:
        rule = texts.INNER_UNKNOWN(type=name)
        return texts.MAP_INNER(rule=rule, hint=rule.hint)
    if found.inner.type == MapType.PROG_ARRAY:
        rule = texts.INNER_PROGRAM_ARRAY(type=name)
        return texts.MAP_INNER(rule=rule, hint=rule.hint)
    fault = creation_fault(found.inner, found.inner.max_entries)
    if fault is None:
        return None
    message = texts.OF_INNER_MAP(fault=fault, hint=fault.hint)
    message.code = fault.code
    return message
