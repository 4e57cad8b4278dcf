// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The other half of part_front.bpf.c. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 back_base = 1;

/* Sum of the steps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} steps SEC(".maps");

int back_verdict(int step)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&steps, &zero);

	if (value)
		__sync_fetch_and_add(value, step);
	return back_base + step;
}

char LICENSE[] SEC("license") = "GPL";
