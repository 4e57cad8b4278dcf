// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * A drain as one would write it first: one walk over the old map, in one run, for one layout, without locks.
 * The state bench runs it by BPF_PROG_RUN to show for how long a CPU is away.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct old_flow {
	__u64 packets;
	__u64 bytes;
};

struct new_flow {
	__u64 bytes;
	__u64 first_ns;
	__u64 packets;
	__u64 mark;
};

/* The map to be emptied. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 16);
	__type(value, struct old_flow);
} old_flows SEC(".maps");

/* The map to be filled. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 16);
	__type(value, struct new_flow);
} new_flows SEC(".maps");

struct bpf_map;

static long visit(struct bpf_map *map, const void *key, struct old_flow *old, void *none)
{
	struct new_flow flow = {
		.bytes = __sync_lock_test_and_set(&old->bytes, 0),
		.packets = __sync_lock_test_and_set(&old->packets, 0),
	};
	struct new_flow *there;

	if (bpf_map_update_elem(&new_flows, key, &flow, BPF_NOEXIST)) {
		there = bpf_map_lookup_elem(&new_flows, key);
		if (!there)
			return 0;
		__sync_fetch_and_add(&there->bytes, flow.bytes);
		__sync_fetch_and_add(&there->packets, flow.packets);
	}
	return 0;
}

SEC("xdp")
int drain(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&old_flows, visit, 0, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
