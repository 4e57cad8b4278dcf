// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Refused where CAP_PERFMON is missing: with it, kernel addresses may get out. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Somewhere to put a pointer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u64);
	__type(value, __u64);
} table SEC(".maps");

SEC("xdp")
int pointer_stored(struct xdp_md *ctx)
{
	__u64 key = 0;
	__u64 *found = bpf_map_lookup_elem(&table, &key);

	if (found)
		*found = (__u64)(long)ctx;
	return XDP_PASS;
}

SEC("xdp")
int pointer_returned(struct xdp_md *ctx)
{
	return (int)(long)ctx;
}

SEC("xdp")
__attribute__((naked)) int pointer_compared(void)
{
	asm volatile("r0 = 0; if r1 > 7 goto +0; exit");
}

char LICENSE[] SEC("license") = "GPL";
