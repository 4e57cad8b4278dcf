// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Two XDP programs that know no constants; libbpf gives them no .rodata. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Runs of both programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

/* What libbpf would pin by itself, were it let. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fence_pinned_by_name SEC(".maps");

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&runs, &zero);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	__u32 zero = 0;

	count();
	bpf_map_delete_elem(&fence_pinned_by_name, &zero);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
