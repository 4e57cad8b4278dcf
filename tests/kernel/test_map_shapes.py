"""What the object reader foretells of a map, and what the kernel then shows: no difference may be seen in them.

Sizes, flags and layouts the kernel or libbpf change on their own way are the trap: a reload of the very same
object must find its own maps fit to be reused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.bpf.live import LiveKernel
from reloader.kernel import Fd, LoadRequest
from reloader.plan.state.compat import MapShape, map_differences
from reloader.structs.btf import Btf, TypeTree
from reloader.structs.elf import ElfMap, read_object

pytestmark = pytest.mark.kernel

KINDS = {
    "ring": "RINGBUF, 5000",  # becomes 8192
    "devices": "DEVMAP, 8, __u32, __u32",  # gets BPF_F_RDONLY_PROG
    "hashed_devices": "DEVMAP_HASH, 8, __u32, __u32",
    "perf": "PERF_EVENT_ARRAY, 0, __u32, __u32",  # gets the number of CPUs
    "common": "LRU_HASH, 101, __u32, struct value",
    "per_cpu_lists": "LRU_HASH, 101, __u32, struct value, BPF_F_NO_COMMON_LRU",  # rounded to CPUs
    "indexed": "ARRAY, 8, int, struct value",
    "jumps": "PROG_ARRAY, 8, __u32, __u32",
    "sockets": "XSKMAP, 8, __u32, __u32",
    "cpus": "CPUMAP, 8, __u32, struct bpf_cpumap_val",
    "hashed_sockets": "SOCKHASH, 8, __u32, __u64",
    "listeners": "REUSEPORT_SOCKARRAY, 8, __u32, __u64",
    "stored": "SK_STORAGE, 0, int, struct value, BPF_F_NO_PREALLOC",
    "per_cpu": "PERCPU_HASH, 100, __u64, struct value",
    "prefixes": "LPM_TRIE, 100, struct prefix, struct value, BPF_F_NO_PREALLOC",
}
UNDESCRIBED = {
    "queued": "QUEUE, 8, , struct value",  # libbpf hands no BTF over
    "enumed": "ARRAY, 8, enum colour, struct value",  # the kernel refuses it with BTF, libbpf tries without
}
HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
enum colour { RED, BLUE };
struct value { __u64 a; __u32 b : 3, c : 9; enum colour d; union { __be32 v4; __u8 raw[4]; }; char name[4]; };
struct prefix { __u32 prefixlen; __be32 addr; };
__u64 counter; static __u64 hidden[3]; static __u8 more; __u32 limit = 5;
static __u32 only_static SEC(".data.only") = 3;
const volatile __u32 knob = 4;
SEC("xdp") int p(struct xdp_md *c)
{
	counter++; hidden[c->rx_queue_index & 1] += knob; more += limit; only_static++;
	return hidden[0] > more ? XDP_PASS : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


def declaration(name: str, words: str) -> str:
    kind, entries, key, value, flags = ([w.strip() for w in words.split(",")] + [""] * 3)[:5]
    parts = [f"__uint(type, BPF_MAP_TYPE_{kind});", f"__uint(max_entries, {entries});" if entries != "0" else ""]
    parts += [f"__type({n}, {t});" for n, t in (("key", key), ("value", value)) if t]
    parts += [f"__uint(map_flags, {flags});"] if flags else []
    return f'struct {{ {" ".join(parts)} }} {name} SEC(".maps");\n'


def shape_of_live(kernel: LiveKernel, fd: Fd) -> MapShape:
    info = kernel.maps.info(fd)
    btf = Btf.parse(kernel.maps.btf(info.btf_id)) if info.btf_id else None

    def tree(type_id: int) -> TypeTree | None:
        return btf.tree(type_id) if btf and type_id else None

    return MapShape(
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        map_flags=info.map_flags,
        key=tree(info.btf_key_type_id),
        value=tree(info.btf_value_type_id),
    )


def shape_foretold(found: ElfMap) -> MapShape:
    return MapShape(
        type=found.type,
        key_size=found.key_size,
        value_size=found.value_size,
        max_entries=found.max_entries,
        map_flags=found.map_flags,
        key=found.key,
        value=found.value,
    )


def test_an_object_fits_its_own_maps(compile_bpf: Callable[[str | Path], Path]) -> None:
    text = HEAD + "".join(declaration(n, w) for n, w in (KINDS | UNDESCRIBED).items())
    data = compile_bpf(text).read_bytes()
    kernel = LiveKernel()
    seen = {}
    loaded = kernel.progs.load(LoadRequest(objects=(data,), name="shapes", programs=("p",)))
    try:
        for found in read_object(data).maps:
            live = shape_of_live(kernel, loaded.maps[found.name])
            seen[found.name] = [
                d.path for d in map_differences(live, shape_foretold(found), cpus=kernel.possible_cpus())
            ]
    finally:
        loaded.close()
    internal = {".bss", ".data", ".data.only", ".rodata"}
    assert seen.keys() == KINDS.keys() | UNDESCRIBED.keys() | internal
    assert {n: d for n, d in seen.items() if d} == {"queued": ["value"], "enumed": ["value"]}
