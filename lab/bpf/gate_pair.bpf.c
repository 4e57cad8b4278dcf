// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Two hooks that must change together: XDP writes its version into the packet, where traffic control compares it with
 * its own. Counts pairs that do not match, by means that know nothing of the gate.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "reloader_gate.h"

const volatile __u8 version = 1;
const volatile __u32 gated = 1; /* 0: the gate is not asked */

struct pairs {
	__u64 entered;
	__u64 left;
	__u64 mixed;
};

/* What both hooks saw. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pairs);
} pairs SEC(".maps");

RELOADER_GATE(leave);

SEC("xdp")
int enter(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct pairs *seen = bpf_map_lookup_elem(&pairs, &zero);
	struct ethhdr *eth;

	if (gated)
		gate_enter(ctx);
	eth = (void *)(long)ctx->data;
	if (!seen || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	eth->h_source[5] = version;
	__sync_fetch_and_add(&seen->entered, 1);
	return XDP_PASS;
}

SEC("tc")
int leave(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct pairs *seen;
	__u8 source[ETH_ALEN] = {};

	if (gated)
		gate_check(skb, leave);
	seen = bpf_map_lookup_elem(&pairs, &zero);
	if (!seen || bpf_skb_load_bytes(skb, ETH_ALEN, source, sizeof(source)))
		return TC_ACT_SHOT;
	__sync_fetch_and_add(&seen->left, 1);
	if (source[5] != version)
		__sync_fetch_and_add(&seen->mixed, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
