// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* One map of each role and shape a pipeline may declare; the verdict says which of them spoke. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define SADDR_AT 26 /* of an Ethernet frame with IPv4 */

struct prefix {
	__u32 prefixlen;
	__be32 addr;
};

struct limit {
	__u64 rate;
};

const volatile __u32 version = 1;

__u64 packets;
__u64 dropped;

/* Prefixes to drop. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

/* A limit for each class, one copy a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct limit);
} limits SEC(".maps");

/* The same by name. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct limit);
} quotas SEC(".maps");

/* A switch for each class. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} switches SEC(".maps");

/* Somebody else's list of sources to drop. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __be32);
	__type(value, __u32);
} bans SEC(".maps");

/* What was last seen; may start empty. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16);
	__type(key, __be32);
	__type(value, __u64);
} recent SEC(".maps");

static __always_inline int listed(__be32 source)
{
	struct prefix key = {.prefixlen = 32, .addr = source};
	__u32 class = version & 3, *on = bpf_map_lookup_elem(&switches, &class);

	if (on && *on)
		return 1;
	return bpf_map_lookup_elem(&bans, &source) || bpf_map_lookup_elem(&prefixes, &key);
}

static __always_inline void note(__be32 source)
{
	__u32 class = 0;
	struct limit *limit = bpf_map_lookup_elem(&limits, &class), *quota = bpf_map_lookup_elem(&quotas, &class);
	__u64 seen = (limit ? limit->rate : 0) + (quota ? quota->rate : 0);

	bpf_map_update_elem(&recent, &source, &seen, BPF_ANY);
}

SEC("xdp")
int judge(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be32 source;

	__sync_fetch_and_add(&packets, 1);
	if (data + SADDR_AT + sizeof(source) > end)
		return XDP_DROP;
	__builtin_memcpy(&source, data + SADDR_AT, sizeof(source));
	note(source);
	if (!listed(source))
		return XDP_PASS;
	__sync_fetch_and_add(&dropped, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
