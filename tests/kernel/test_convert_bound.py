"""What only the kernel may write is never carried: timers, kernel pointers, lists and trees, storage that lies in
sockets, queues. While their layout stays the very same map serves on; when it changes the plan says why not, and what
the choices are. Locks are the exception: they start open (test_convert_types.py has them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from reloader.errors import RefusedChange
from reloader.lifecycle.planning import plan as plan_change
from tests.support.conversions import Shifting
from tests.support.refusals import refused_for

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <linux/version.h>
#include <bpf/bpf_helpers.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0) /* these headers are older than the kernel may be */
struct bpf_list_head { __u64 : 64; __u64 : 64; } __attribute__((aligned(8)));
struct bpf_list_node { __u64 : 64; __u64 : 64; __u64 : 64; } __attribute__((aligned(8)));
struct bpf_rb_root { __u64 : 64; __u64 : 64; } __attribute__((aligned(8)));
struct bpf_rb_node { __u64 : 64; __u64 : 64; __u64 : 64; __u64 : 64; } __attribute__((aligned(8)));
#endif
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __contains(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))
struct task_struct;
struct item { struct bpf_list_node list; __u64 n; };
struct leaf { struct bpf_rb_node tree; __u64 n; };
%(value)s
struct {
	__uint(type, BPF_MAP_TYPE_%(type)s);
	%(more)s
	__type(value, struct subject);
} subject SEC(".maps");
const volatile __u32 generation = %(generation)d;
SEC("xdp") int watch(struct xdp_md *ctx)
{
	__u32 types = __builtin_btf_type_id(*(struct item *)0, 0) + __builtin_btf_type_id(*(struct leaf *)0, 0);

	return generation + types ? XDP_PASS : XDP_DROP; /* or clang leaves them out of the BTF */
}
char LICENSE[] SEC("license") = "GPL";
"""
ARRAY = "__uint(max_entries, 4); __type(key, __u32);"
STORAGE = "__uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int);"
CASES = {
    "timer": ("ARRAY", ARRAY, "struct bpf_timer timer;", {"reason": "holds-bound", "special": "bpf_timer"}),
    "kptr": ("ARRAY", ARRAY, "struct task_struct __kptr *task;", {"reason": "holds-bound", "special": "kptr pointer"}),
    "list": (
        "ARRAY", ARRAY, "struct bpf_spin_lock lock; struct bpf_list_head head __contains(item, list);",
        {"reason": "holds-bound", "special": "bpf_list_head"},
    ),
    "tree": (
        "ARRAY", ARRAY, "struct bpf_spin_lock lock; struct bpf_rb_root root __contains(leaf, tree);",
        {"reason": "holds-bound", "special": "bpf_rb_root"},
    ),
    "sockets": ("SK_STORAGE", STORAGE, "__u64 more;", {"reason": "stored-with-owner", "owners": "sockets"}),
    "queue": (
        "QUEUE", "__uint(max_entries, 4);", "__u64 more;", {"reason": "cannot-be-listed", "type": "queue"},
    ),
}  # fmt: skip


def object_of(case: str, fields: str, generation: int) -> str:
    kind, more, special, _ = CASES[case]
    value = f"struct subject {{ {special} {fields} }};"
    return SOURCE % {"type": kind, "more": more, "value": value, "generation": generation}


@pytest.mark.parametrize("case", CASES)
def test_it_serves_on_while_its_layout_stays_and_is_refused_when_it_changes(
    case: str, sandbox: Sandbox, compile_bpf: Callable[[str], Path], tmp_path: Path
) -> None:
    files = {
        "v1": compile_bpf(object_of(case, "__u64 packets;", 1)),
        "again": compile_bpf(object_of(case, "__u64 packets;", 2)),
        "v2": compile_bpf(object_of(case, "__u64 packets; __u64 bytes;", 3)),
    }
    stage = Shifting(sandbox, tmp_path, files, "subject: {role: state}")
    stage.attached = {"watch": sandbox.rx}
    stage.apply("v1")
    with stage.pub("subject") as fd:
        before = stage.kernel.maps.info(fd).id
        assert stage.kernel.maps.info(fd).btf_id or case == "queue", "the kernel knows nothing of what is in it"
    assert stage.apply("again").changed
    with stage.pub("subject") as fd:
        assert stage.kernel.maps.info(fd).id == before
    with pytest.raises(RefusedChange) as refused:
        stage.apply("v2")
    (row,) = refused.value.refusals
    found: dict[str, object] = {"reason": row["reason"], **refused_for(refused.value, str(row["reason"]))}
    assert CASES[case][3].items() <= found.items()
    assert "keep the layout, remove the map, or discard its contents with --reset" in refused.value.detail
    plan_change(stage.host, replace(stage.intake("v2"), reset=["subject"]))
