// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A version of programs/flow_count that reads the packet without a look at its end: the verifier refuses it. */
#include <linux/if_ether.h>
#include <linux/ip.h>

#include "flow_count/flow_packets.h"

/* Packets and bytes by flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

SEC("xdp")
int count_flows(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	/* The mistake: nobody asked whether the packet is as long as that. */
	struct flow_key key = {.saddr = ip->saddr, .daddr = ip->daddr, .proto = ip->protocol};
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	struct flow_counters *counts;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&counters, &zero);
	if (!counts)
		return XDP_ABORTED;
	counts->packets++;
	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	sample(&key, packet_length(ctx), counts);
	return judge(&key, counts);
}

char LICENSE[] SEC("license") = "GPL";
