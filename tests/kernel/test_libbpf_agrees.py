"""`validate` and libbpf agree: what libbpf refuses to open or load for how the object is made, `validate` finds first.

A corpus of small objects, each loaded by the real libbpf on the running kernel, and compiled from its first YAML
without either. A new trap is a new line here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.stage import Stage
from reloader.bpf import libbpf, syscall
from reloader.bpf.attach_types import ATTACH_TYPES
from reloader.bpf.live import LiveKernel
from reloader.bpf.rawprog import ProgType
from reloader.errors import InputError, KernelError, LoadRejected, Problem
from reloader.kernel import NESTED_TYPES, LoadRequest, MapType
from reloader.pipeline.compile import compile_file
from reloader.pipeline.creation import creation_fault
from reloader.pipeline.roles import allowed_roles
from reloader.pipeline.scaffold import first_yaml
from reloader.structs.elf import ElfError, ElfMap, read_object, sections
from tests.support import faults

pytestmark = pytest.mark.kernel
Compile = Callable[[str], Path]

HEAD = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
#define __hide __attribute__((visibility("hidden")))
"""
USE = 'SEC("xdp") int prog(struct xdp_md *ctx) {{ __u32 k = 0; return bpf_map_lookup_elem(&{}, &k) ? 1 : 2; }}\n'
PASS = 'SEC("xdp") int prog(struct xdp_md *ctx) { return XDP_PASS; }\n'


def declared(kind: str, *fields: str, name: str = "m", after: str = "") -> str:
    body = " ".join(f"{one};" for one in (f"__uint(type, BPF_MAP_TYPE_{kind})", *fields))
    return f'struct {{ {body} }} {name} SEC(".maps"){after};\n'


def sizes(key: int, value: int, entries: int = 4, flags: int = 0) -> tuple[str, ...]:
    found = [f"__uint(key_size, {key})"] * bool(key) + [f"__uint(value_size, {value})"] * bool(value)
    return (
        *found,
        *[f"__uint(max_entries, {entries})"] * bool(entries),
        *[f"__uint(map_flags, {flags})"] * bool(flags),
    )


def typed(key: str, value: str, *more: str) -> tuple[str, ...]:
    return (f"__type(key, {key})", f"__type(value, {value})", "__uint(max_entries, 4)", *more)


OLD = "struct bpf_map_def { unsigned int type, key_size, value_size, max_entries, map_flags; };\n"
INNER = (
    "struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);"
    " __type(value, __u64); }"
)
CALLED = "__attribute__((noinline)) int called(struct xdp_md *ctx) { return ctx->data == 0 ? 1 : 2; }\n"
BY_CALL = 'SEC("xdp") int prog(struct xdp_md *ctx) { return called(ctx); }\n'
OPTION = """\
extern int CONFIG_NO_SUCH __kconfig;
SEC("xdp") int prog(struct xdp_md *ctx) { return CONFIG_NO_SUCH; }
"""
CORPUS: dict[str, tuple[str, str]] = {  # source, reason; empty: both take it
    "plain": (declared("HASH", *typed("__u32", "__u64")) + USE.format("m"), ""),
    "old maps": (OLD + 'struct bpf_map_def SEC("maps") m = {2, 4, 8, 1};\n' + USE.format("m"), "legacy_maps"),
    "old maps, own section": (
        OLD + 'struct bpf_map_def SEC("maps/m") m = {2, 4, 8, 1};\n' + USE.format("m"), "unknown_section",
    ),
    "variable in an own section": (
        'int v SEC("own") = 3;\nSEC("xdp") int prog(struct xdp_md *ctx) { return v; }\n', "unknown_section",
    ),
    "variable in a section of .data": (
        'volatile int v SEC(".data.own") = 2;\nSEC("xdp") int prog(struct xdp_md *ctx) { return v; }\n', "",
    ),
    "hidden map": (declared("HASH", *typed("__u32", "__u64"), after=" __hide") + USE.format("m"), "hidden_map"),
    "static map": (
        "static " + declared("HASH", *typed("__u32", "__u64")) + USE.format("m"), "static_map",
    ),
    "hidden variable": ("__hide int v;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { v++; return 2; }\n", ""),
    "pinned by name": (declared("HASH", *typed("__u32", "__u64"), "__uint(pinning, 1)") + USE.format("m"), ""),
    "unknown pinning": (
        declared("HASH", *typed("__u32", "__u64"), "__uint(pinning, 16)") + USE.format("m"), "map_pinning",
    ),
    "unknown attribute": (declared("HASH", *typed("__u32", "__u64"), "__uint(colour, 1)") + USE.format("m"), "map"),
    "two sizes of a key": (
        declared("HASH", *typed("__u32", "__u64"), "__uint(key_size, 8)") + USE.format("m"), "map",
    ),
    "no type": (
        'struct { __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } m SEC(".maps");\n'
        + USE.format("m"), "map",
    ),
    "unknown type": (
        "struct { __uint(type, 99); __uint(max_entries, 1); __type(key, __u32); "
        '__type(value, __u64); } m SEC(".maps");\n' + PASS, "map_type",
    ),
    "hash without keys": (declared("HASH", *sizes(0, 8)) + PASS, "map_key_size"),
    "hash without values": (declared("HASH", *sizes(4, 0)) + PASS, "map_value_size"),
    "hash without entries": (declared("HASH", *sizes(4, 8, 0)) + PASS, "map_max_entries"),
    "array with 8-byte keys": (declared("ARRAY", *sizes(8, 8)) + PASS, "map_key_size"),
    "array, not preallocated": (declared("ARRAY", *sizes(4, 8, flags=1)) + PASS, "map_flags"),
    "hash that is mapped": (declared("HASH", *sizes(4, 8, flags=1024)) + PASS, "map_flags"),
    "LRU, not preallocated": (declared("LRU_HASH", *sizes(4, 8, flags=1)) + PASS, "map_flags"),
    "hash with an LRU of each CPU": (declared("HASH", *sizes(4, 8, flags=2)) + PASS, "map_flags"),
    "hash, not preallocated": (declared("HASH", *sizes(4, 8, flags=1)) + PASS, ""),
    "read-only and write-only": (declared("HASH", *sizes(4, 8, flags=128 | 256)) + PASS, "map_flags"),
    "large value of each CPU": (declared("PERCPU_ARRAY", *sizes(4, 40000)) + PASS, "map_value_size"),
    "large value": (declared("HASH", *sizes(4, 5 << 20)) + PASS, "map_value_size"),
    "trie": (declared("LPM_TRIE", *sizes(8, 8, flags=1)) + PASS, ""),
    "trie, preallocated": (declared("LPM_TRIE", *sizes(8, 8)) + PASS, "map_flags"),
    "trie with short keys": (declared("LPM_TRIE", *sizes(4, 8, flags=1)) + PASS, "map_key_size"),
    "trie with long keys": (declared("LPM_TRIE", *sizes(264, 8, flags=1)) + PASS, "map_key_size"),
    "queue": (declared("QUEUE", *sizes(0, 8)) + PASS, ""),
    "queue with keys": (declared("QUEUE", *sizes(4, 8)) + PASS, "map_key_size"),
    "ring": (declared("RINGBUF", *sizes(0, 0, 4096)) + PASS, ""),
    "ring of an odd size": (declared("RINGBUF", *sizes(0, 0, 5000)) + PASS, ""),  # libbpf rounds it
    "ring with values": (declared("RINGBUF", *sizes(0, 8, 4096)) + PASS, "map_value_size"),
    "ring without a size": (declared("RINGBUF") + PASS, "map_max_entries"),
    "perf events": (declared("PERF_EVENT_ARRAY", *sizes(4, 4, 0)) + PASS, ""),
    "perf events without sizes": (declared("PERF_EVENT_ARRAY") + PASS, "map_key_size"),
    "stacks": (declared("STACK_TRACE", *sizes(4, 127 * 8)) + PASS, ""),
    "stacks too deep": (declared("STACK_TRACE", *sizes(4, 128 * 8)) + PASS, "map_value_size"),
    "stacks of odd values": (declared("STACK_TRACE", *sizes(4, 12)) + PASS, "map_value_size"),
    "devices": (declared("DEVMAP", *sizes(4, 8)) + PASS, ""),
    "devices of odd values": (declared("DEVMAP", *sizes(4, 6)) + PASS, "map_value_size"),
    "XDP sockets of 8 bytes": (declared("XSKMAP", *sizes(4, 8)) + PASS, "map_value_size"),
    "program array of 8 bytes": (declared("PROG_ARRAY", *sizes(4, 8)) + PASS, "map_value_size"),
    "program array": (declared("PROG_ARRAY", *sizes(4, 4)) + PASS, ""),
    "program array, read-only": (declared("PROG_ARRAY", *sizes(4, 4, flags=128)) + PASS, "map_flags"),
    "program array with programs": (
        PASS + 'struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __uint(key_size, 4);\n'
        "__array(values, int(void *)); } m SEC(\".maps\") = {.values = {(void *)&prog}};\n", "",
    ),
    "program array with a subprogram": (
        CALLED + BY_CALL + 'struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); '
        "__uint(key_size, 4);\n__array(values, int(void *)); } m SEC(\".maps\") = {.values = {(void *)&called}};\n",
        "map_values",
    ),
    "program array with values of 8 bytes and programs": (
        PASS + 'struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __uint(key_size, 4);\n'
        "__uint(value_size, 8); __array(values, int(void *)); } m SEC(\".maps\") = {.values = {(void *)&prog}};\n",
        "map_value_size",
    ),
    "hash with programs": (
        PASS + 'struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __uint(key_size, 4);\n'
        "__array(values, int(void *)); } m SEC(\".maps\") = {.values = {(void *)&prog}};\n", "map_values",
    ),
    "array of maps": (
        INNER + ' one SEC(".maps");\n' + PASS + 'struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); '
        '__uint(max_entries, 1); __type(key, __u32); __array(values, struct inner); } m SEC(".maps") = '
        "{.values = {&one}};\n", "",
    ),
    "hash of maps with initial values": (
        INNER + ' one SEC(".maps");\n' + PASS + 'struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); '
        '__uint(max_entries, 1); __type(key, __u32); __array(values, struct inner); } m SEC(".maps") = '
        "{.values = {&one}};\n", "",
    ),
    "hash of maps with long keys and initial values": (
        INNER + ' one SEC(".maps");\n' + PASS + 'struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); '
        '__uint(max_entries, 1); __type(key, __u64); __array(values, struct inner); } m SEC(".maps") = '
        "{.values = {&one}};\n", "map_values_key",
    ),
    "array of maps without a kind": (declared("ARRAY_OF_MAPS", *sizes(4, 4)) + PASS, "map_inner"),
    "inner map pinned": (
        'struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, __u32);\n'
        "__array(values, struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(pinning, 1); "
        '__type(key, __u32); __type(value, __u64); }); } m SEC(".maps");\n' + PASS, "map_pinning",
    ),
    "inner map without entries": (
        'struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, __u32);\n'
        "__array(values, struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); }); "
        '} m SEC(".maps");\n' + PASS, "map_max_entries",
    ),
    "socket storage": (
        'struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, 1); __type(key, int); '
        '__type(value, __u64); } m SEC(".maps");\n' + PASS, "",
    ),
    "socket storage with entries": (
        declared("SK_STORAGE", "__type(key, int)", "__type(value, __u64)", "__uint(max_entries, 4)",
                 "__uint(map_flags, 1)") + PASS, "map_max_entries",
    ),
    "extern from nowhere": (
        "extern int other;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return other; }\n", "unresolved_extern",
    ),
    "function from nowhere": (
        "extern int other(struct xdp_md *ctx);\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return other(ctx); }\n",
        "unresolved_extern",
    ),
    "option of the kernel": (
        "extern int CONFIG_HZ __kconfig;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_HZ; }\n", "",
    ),
    "option of another type": (
        "extern _Bool CONFIG_HZ __kconfig;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_HZ; }\n",
        "kconfig_value",
    ),
    "weak option of another type": (
        "extern int CONFIG_BPF __kconfig __weak;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_BPF; }\n",
        "kconfig_value",
    ),
    "option that is too large for its type": (
        "extern char LINUX_KERNEL_VERSION __kconfig;\n"
        "SEC(\"xdp\") int prog(struct xdp_md *ctx) { return LINUX_KERNEL_VERSION; }\n", "kconfig_value",
    ),
    "version of the kernel in 8 bytes": (
        "extern unsigned long long LINUX_KERNEL_VERSION __kconfig;\n"
        "SEC(\"xdp\") int prog(struct xdp_md *ctx) { return LINUX_KERNEL_VERSION > 1; }\n", "",
    ),
    "option read as a character": (
        "extern char CONFIG_BPF __kconfig;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_BPF; }\n", "",
    ),
    "option in a type that libbpf does not read": (
        "extern struct { int a; } CONFIG_HZ __kconfig;\n"
        "SEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_HZ.a; }\n", "kconfig_type",
    ),
    "Bloom filter with too many hashes": (
        declared("BLOOM_FILTER", "__type(value, __u32)", "__uint(map_extra, 16)", "__uint(max_entries, 4)") + PASS,
        "map_extra",
    ),
    "Bloom filter with 15 hashes": (
        declared("BLOOM_FILTER", "__type(value, __u32)", "__uint(map_extra, 15)", "__uint(max_entries, 4)") + PASS, "",
    ),
    "hash with map_extra": (declared("HASH", *sizes(4, 8), "__uint(map_extra, 3)") + PASS, "map_extra"),
    "ring, not preallocated": (declared("RINGBUF", *sizes(0, 0, 4096, flags=1)) + PASS, "map_flags"),
    "hash of devices with long keys": (declared("DEVMAP_HASH", *sizes(8, 4)) + PASS, "map_key_size"),
    "hash of sockets with keys that are too long": (declared("SOCKHASH", *sizes(516, 4)) + PASS, "map_key_size"),
    "CPUs beyond any kernel": (declared("CPUMAP", *sizes(4, 4, 100000)) + PASS, "map_max_entries"),
    "inner program array": (
        'struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, __u32);\n'
        "__array(values, struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); "
        '__uint(key_size, 4); __uint(value_size, 4); }); } m SEC(".maps");\n' + PASS, "map_inner",
    ),
    "program array with a program behind its end": (
        PASS + 'struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);\n'
        "__array(values, int(void *)); } m SEC(\".maps\") = {.values = {[2] = (void *)&prog}};\n", "map_values",
    ),
    "array of maps with a map behind its end": (
        INNER + ' one SEC(".maps");\n' + PASS + 'struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); '
        '__uint(max_entries, 1); __type(key, __u32); __array(values, struct inner); } m SEC(".maps") = '
        "{.values = {[1] = &one}};\n", "map_values",
    ),
    "weak option that is not set": (
        "extern _Bool CONFIG_NO_SUCH __kconfig __weak;\n"
        "SEC(\"xdp\") int prog(struct xdp_md *ctx) { return CONFIG_NO_SUCH; }\n", "",
    ),
    "strong option that is not set": (OPTION, "kconfig_not_set"),
    "more variables than the kernel takes": (
        'char big[1u << 31];\nSEC("xdp") int prog(struct xdp_md *ctx) { return big[0]; }\n', "section_too_large",
    ),
    "option of no name": (
        "extern int NO_OPTION __kconfig;\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return NO_OPTION; }\n",
        "kconfig_name",
    ),
    "version of the kernel": (
        "extern int LINUX_KERNEL_VERSION __kconfig;\n"
        "SEC(\"xdp\") int prog(struct xdp_md *ctx) { return LINUX_KERNEL_VERSION; }\n", "",
    ),
    "subprogram": (CALLED + BY_CALL, ""),
    "call into a section": (
        '__attribute__((noinline)) SEC("xdp") int called(struct xdp_md *ctx) { return ctx->data == 0 ? 1 : 2; }\n'
        'SEC("xdp.frags") int prog(struct xdp_md *ctx) { return called(ctx); }\n', "call_outside_text",
    ),
    "call within a section": (
        '__attribute__((noinline)) SEC("xdp") int called(struct xdp_md *ctx) { return ctx->data == 0 ? 1 : 2; }\n'
        + BY_CALL, "call_outside_text",
    ),
    "static program": ('SEC("xdp") __attribute__((used)) static int prog(struct xdp_md *ctx) { return 2; }\n',
                       "static_program"),
    "section of one's own": ('SEC("xdp_foo") int prog(struct xdp_md *ctx) { return 2; }\n', "section"),
    **{
        f"section {name}": (f'SEC("{name}") int prog(void *ctx) {{ return 2; }}\n', reason)
        for name, reason in {
            "xdp": "", "xdp.frags": "", "tc": "", "classifier": "", "?xdp": "",
            "xdp/foo": "section", "xdp.frags/foo": "section", "tc/foo": "section", "classifier/ingress": "section",
            "classifier_foo": "section", "xdp_prog": "section", "own": "section",
        }.items()
    },
    "old version section": ("unsigned _version SEC(\"version\") = 1;\n" + PASS, ""),
    "version section of 8 bytes": ("unsigned long long _version SEC(\"version\") = 1;\n" + PASS, "version_section"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_f13_validate_finds_what_libbpf_refuses(
    kernel: LiveKernel, compile_bpf: Compile, tmp_path: Path, name: str
) -> None:
    source, reason = CORPUS[name]
    path = compile_bpf(HEAD + source)
    found = [p.reason for p in findings(path, tmp_path)]
    assert bool(found) == refused(kernel, path), f"validate finds {found}"
    assert found == ([reason] if reason else [])


def findings(path: Path, folder: Path) -> list[Problem]:
    """What `validate` says of the object's first YAML, or `init` before there is one."""
    file, said = folder / "edge.yaml", list[str]()
    try:
        text = first_yaml([path])
    except InputError as error:
        said, text = [p.reason for p in error.problems], by_hand(path)
    file.write_text(text.replace("role: TODO", "role: state").replace("CHANGE-ME", "eth0"))  # the author's answers
    try:
        compile_file(file)
    except InputError as error:
        return error.problems
    assert not said
    return []


def by_hand(path: Path) -> str:
    """The YAML of one that was refused, as its author would have written it."""
    try:
        found = [m for m in read_object(path.read_bytes()).maps if m.writable]
    except ElfError:
        found = []
    maps = ", ".join(f"{m.name}: {{role: {allowed_roles(m)[0]}}}" for m in found)
    return (
        "apiVersion: reloader/v1\nkind: Pipeline\nmetadata: {name: edge}\nspec:\n"
        f"  objects: [{path}]\n  attach: [{{program: prog, type: xdp, interface: eth0}}]\n"
        f"  maps: {{{maps}}}\n"
    )


def refused(kernel: LiveKernel, path: Path) -> bool:
    """Whether libbpf, or the kernel at a map's creation, gives up. What the verifier says is another matter."""
    try:
        names = ("prog",)
        kernel.progs.load(LoadRequest(objects=(path.read_bytes(),), name="edge", programs=names)).close()
    except LoadRejected:
        return False
    except KernelError:
        return True
    return False


ONE_OF_EACH = (
    declared("HASH", *typed("__u32", "__u64"), "__uint(pinning, 16)", name="pinned")
    + declared("HASH", *typed("__u32", "__u64"), name="hidden", after=" __hide")
    + OLD + 'struct bpf_map_def SEC("maps/old") old = {2, 4, 8, 1};\n'
    + USE.format("old")
)  # fmt: skip


def test_f13_all_of_an_object_at_once_each_with_file_and_map(stage: Stage, compile_bpf: Compile) -> None:
    name = stage.put(compile_bpf(HEAD + ONE_OF_EACH), "many.bpf.o")
    done = stage.run("validate", stage.write({**stage.spec(maps={}), "objects": [name]}))
    assert done.code == 65
    found = {p["reason"]: p["values"] for p in done.error["problems"]}
    assert found.keys() == {"map_pinning", "hidden_map", "unknown_section"}
    assert (found["map_pinning"]["map"], found["hidden_map"]["map"]) == ("pinned", "hidden")
    assert found["unknown_section"]["symbol"] == "old"
    assert {Path(str(v["file"])).name for v in found.values()} == {name}


ACTION = 'SEC("action") int prog(struct __sk_buff *skb) { return 0; }\n'
TCX = 'SEC("tcx/ingress") int prog(struct __sk_buff *skb) { return 0; }\n'


@pytest.mark.parametrize("source", [ACTION, TCX])
def test_f4_a_section_that_cannot_be_attached_is_named_before_anything_is_done(
    stage: Stage, compile_bpf: Compile, source: str
) -> None:
    rx = stage.sandbox.rx
    attach = [{"program": "prog", "type": "tcx", "interface": rx.interface, "netns": rx.netns}]
    spec = {"objects": [stage.put(compile_bpf(HEAD + source), "odd.bpf.o")], "attach": attach, "maps": {}}
    path = stage.write(spec)
    for word in ("validate", "apply"):
        done = stage.run(word, path)
        assert done.code == 65
        (found,) = done.error["problems"]
        assert found["reason"] == "section"
        assert found["values"]["section"] in source


STRUCT_OPS = """\
struct tcp_congestion_ops { char name[16]; };
SEC(".struct_ops") struct tcp_congestion_ops ops = { .name = "odd" };
"""


def test_f13_struct_ops_are_refused_by_name(stage: Stage, compile_bpf: Compile) -> None:
    name = stage.put(compile_bpf(HEAD + STRUCT_OPS + PASS), "ops.bpf.o")
    path = stage.write({"objects": [name], "attach": [stage.attach("prog")], "maps": {}})
    for word in ("validate", "apply"):
        done = stage.run(word, path)
        assert done.code == 65
        assert [p["reason"] for p in done.error["problems"]] == ["struct_ops"]


def test_f13_the_death_of_the_loaders_child_is_an_error_like_others(
    stage: Stage, compile_bpf: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check before it taken away: libbpf 1.1 dies of such an object (SIGSEGV)."""
    faults.inject(monkeypatch, "ELF sections", lambda elf: iter(()))
    source = HEAD + STRUCT_OPS.replace("odd", "fatal") + PASS
    name = stage.put(compile_bpf(source), "ops.bpf.o")
    done = stage.run("apply", stage.write({"objects": [name], "attach": [stage.attach("prog")], "maps": {}}))
    assert done.code == 1
    assert (done.error["code"], done.error["reason"]) == ("nothing-swapped", "child_died")
    assert done.error["values"]["signal"] == "SIGSEGV"
    assert stage.standing().pins == ()


def test_f13_a_strong_option_that_this_kernel_lacks(
    stage: Stage, compile_bpf: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in the host's configuration; where that is unknown, by `apply`, which says it in words of its own."""
    name = stage.put(compile_bpf(HEAD + OPTION), "option.bpf.o")
    path = stage.write({"objects": [name], "attach": [stage.attach("prog")], "maps": {}})
    done = stage.run("validate", path)
    assert done.code == 65
    (found,) = done.error["problems"]
    assert (found["reason"], found["values"]["extern"]) == ("kconfig_not_set", "CONFIG_NO_SUCH")
    faults.inject(monkeypatch, "kernel configuration", lambda: b"")
    done = stage.run("apply", path)
    assert done.code == 1
    assert done.error["rejection"]["code"] == "variable-missing"
    assert stage.standing().pins == ()


WEAK = declared("HASH", *typed("__u32", "__u64"), name="shared", after=" __weak")
STRONG = declared("HASH", *typed("__u32", "__u64"), name="shared")
OTHER = 'SEC("xdp") int other(struct xdp_md *ctx) { return 2; }\n'
FUNCTION = "__attribute__((noinline)) int helper(int x) { return x + 1; }\n"
CALLS = 'extern int helper(int x);\nSEC("xdp") int other(struct xdp_md *ctx) { return helper(1); }\n'
WEAKLY = 'SEC("xdp") int prog(struct xdp_md *ctx) { return helper(1); }\n'
PAIRS = {
    "strong and weak": (STRONG + USE.format("shared"), WEAK + OTHER, ""),
    "weak and strong": (WEAK + USE.format("shared"), STRONG + OTHER, "weak_map_first"),
    "weak twice": (WEAK + USE.format("shared"), WEAK + OTHER, ""),
    "weak function and strong": ("__attribute__((weak)) " + FUNCTION + WEAKLY, FUNCTION + OTHER, ""),
    "strong function and weak": (FUNCTION + WEAKLY, "__attribute__((weak)) " + FUNCTION + OTHER, ""),
    "strong twice": (STRONG + USE.format("shared"), STRONG + OTHER, "twin_symbol"),
    "function twice": (FUNCTION + PASS, FUNCTION + OTHER, "twin_symbol"),
    "extern of the other": (FUNCTION + PASS, CALLS, ""),
    "extern of neither": (PASS, CALLS, "unresolved_extern"),
    "program twice": (PASS, PASS + OTHER, "twin_program"),
    "other license": (PASS, OTHER + "//", "license_differs"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_f13_validate_finds_what_the_linker_refuses(
    kernel: LiveKernel, compile_bpf: Compile, tmp_path: Path, name: str
) -> None:
    first, second, reason = PAIRS[name]
    head = HEAD.replace("GPL", "MIT") if second.endswith("//") else HEAD
    paths = [compile_bpf(HEAD + first), compile_bpf(head + second)]
    file = tmp_path / "edge.yaml"
    file.write_text(
        "apiVersion: reloader/v1\nkind: Pipeline\nmetadata: {name: edge}\nspec:\n"
        f"  objects: [{paths[0]}, {paths[1]}]\n  attach: [{{program: prog, type: xdp, interface: eth0}}]\n"
        + ("  maps: {shared: {role: state}}\n" if "shared" in first else "  maps: {}\n")
    )
    try:
        compile_file(file)
        found = []
    except InputError as error:
        found = [p.reason for p in error.problems]
    request = LoadRequest(objects=tuple(p.read_bytes() for p in paths), name="edge", programs=("prog",))
    try:
        kernel.progs.load(request).close()
        taken = True
    except KernelError:
        taken = False
    assert found == ([reason] if reason else [])
    assert taken is not bool(found)


ASK_LIBBPF = """
import ctypes, json, sys
library, found = ctypes.CDLL(sys.argv[1]), (ctypes.c_int(), ctypes.c_int())
ask = lambda name: library.libbpf_prog_type_by_name(name.encode(), *map(ctypes.byref, found)) == 0
json.dump([[n.value for n in found] if ask(name) else None for name in json.load(sys.stdin)], sys.stdout)
"""  # in a process of its own: only the fence imports ctypes


def test_f13_sections_mean_what_libbpf_takes_them_for() -> None:
    names = [section.removesuffix("+") + tail for section in sections.KNOWN for tail in ("", "/own", "/own/words")]
    command = [sys.executable, "-c", ASK_LIBBPF, libbpf.SONAME]
    done = subprocess.run(command, input=json.dumps(names), capture_output=True, text=True, check=True)
    theirs = dict(zip(names, json.loads(done.stdout), strict=True))
    found = {name: sections.load_type(name) for name in names}
    numbers = {
        name: kind and [ProgType[kind.program_type.upper()], ATTACH_TYPES.get(kind.attach_type, 0)]
        for name, kind in found.items()
    }
    assert {name: theirs[name] for name in names if theirs[name] != numbers[name]} == {}
    assert {name for name in names if sections.loadable(name)} == {name for name in names if theirs[name]}


def test_f13_later_sections_are_not_taken_for_known() -> None:
    assert sections.section_type("tcx/ingress") == ("tcx_ingress", False)
    assert sections.load_type("tcx/ingress") is None


INNER_ARRAY = ElfMap(name="inner", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1)
OTHERWISE_MADE = frozenset({  # by BTF, by a cgroup, or not with these attributes alone
    MapType.UNSPEC, MapType.STRUCT_OPS, MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE, MapType.ARENA,
    MapType.INSN_ARRAY, MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE,
})  # fmt: skip
SWEPT = [kind for kind in MapType if kind not in OTHERWISE_MADE]
NEW_FLAGS = {MapType.RINGBUF: 1 << 19}  # BPF_F_RB_OVERWRITE, of a later kernel


def shapes(kind: MapType) -> Iterator[ElfMap]:
    """A map that the kernel takes, and the same with one size, count or flag changed."""
    ring, keyless = kind in (MapType.RINGBUF, MapType.USER_RINGBUF), creation_fault(_shape(kind, 0, 8), 4) is None
    key = 0 if ring or keyless else 8 if kind is MapType.LPM_TRIE else 4
    value = 0 if ring else next(v for v in (8, 4) if creation_fault(_shape(kind, key, v), 4) is None)
    plain = _shape(kind, key, value)
    yield plain
    bits = (1 << b for b in range(21) if not 13 <= b <= 16)  # those four are about tokens, descriptors and BTF
    yield from (replace(plain, map_flags=plain.map_flags ^ bit) for bit in bits if bit != NEW_FLAGS.get(kind))
    yield from (replace(plain, key_size=n) for n in (0, 1, 4, 5, 8, 260, 261, 513, 1024, 5000))
    yield from (replace(plain, value_size=n) for n in (0, 1, 4, 6, 8, 12, 16, 1016, 1024, 32768, 32776, 40000))
    yield from (replace(plain, max_entries=n) for n in (() if ring else (1, 2, 3, 5, 100, 20000)))


def _shape(kind: MapType, key: int, value: int) -> ElfMap:
    nested, ring = kind in NESTED_TYPES, kind in (MapType.RINGBUF, MapType.USER_RINGBUF)
    return ElfMap(
        name="m", type=kind, key_size=key, value_size=value, max_entries=4096 if ring else 4,
        map_flags=1 if kind is MapType.LPM_TRIE else 0, inner=INNER_ARRAY if nested else None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", SWEPT, ids=lambda kind: str(kind.name))
def test_f13_no_map_is_valid_that_this_kernel_refuses(kind: MapType) -> None:
    """Each type with every flag and with many sizes: the rules of `validate` and the kernel's agree."""
    differ, refused = [], 0
    inner = syscall.map_create(kind=MapType.ARRAY, name="inner", key_size=4, value_size=8, max_entries=1)
    try:
        for one in shapes(kind):
            try:
                os.close(syscall.map_create(
                    kind=kind, name="m", key_size=one.key_size, value_size=one.value_size, flags=one.map_flags,
                    max_entries=one.max_entries, inner_map_fd=inner if one.inner else 0,
                ))  # fmt: skip
                taken = True
            except KernelError:
                taken, refused = False, refused + 1
            if taken is not (creation_fault(one, one.max_entries) is None):
                differ.append((one.key_size, one.value_size, one.max_entries, hex(one.map_flags), taken))
    finally:
        os.close(inner)
    assert not differ
    assert refused > 5
