// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Maps that the kernel does not make: nothing gets as far as the verifier. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Wants more entries than 32 bits of memory hold. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 0xffffffff);
	__type(key, __u32);
	__type(value, __u64[64]);
} huge SEC(".maps");

/* Lacks the flag that the kernel wants of every trie. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4);
	__type(key, __u64);
	__type(value, __u32);
} trie SEC(".maps");

SEC("xdp")
int map_too_large(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&huge, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int map_without_flag(struct xdp_md *ctx)
{
	__u64 key = 0;

	return bpf_map_lookup_elem(&trie, &key) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
