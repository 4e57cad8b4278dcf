// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* An old program that is held up between its look-up and its addition, until `go` or for a long moment. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PATIENCE (1 << 23) /* the most rounds bpf_loop takes */
#define TIMES 16	   /* about a second */

struct key {
	__u64 words[2];
};

struct flow {
	__u64 packets;
	__u64 bytes;
};

/* Packets and bytes by flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct key);
	__type(value, struct flow);
} flows SEC(".maps");

/* Mapped by the test. */
volatile __u64 began = 0;
volatile __u64 go = 0;

static long wait(__u32 i, void *none)
{
	return go != 0;
}

SEC("xdp")
int count_slowly(struct xdp_md *ctx)
{
	struct key key = {};
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	began = 1;
	for (int i = 0; i < TIMES; i++)
		bpf_loop(PATIENCE, wait, 0, 0);
	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
