/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A flow counter by the three calls of reloader_state.h. Each version brings its own struct flow and
 * its own touch() before it includes this.
 */
#ifndef FLOW_STATE_H
#define FLOW_STATE_H

#define DELETE_PORT 10 /* a packet to here deletes the flow that the same packet to FLOW_PORT made */
#define FLOW_PORT 9
#define STEADY_HOST 0xc0000201 /* 192.0.2.1 */

#ifndef FLOWS_TYPE
#define FLOWS_TYPE BPF_MAP_TYPE_HASH
#endif

struct state_counters {
	__u64 packets; /* every packet to FLOW_PORT */
	__u64 created; /* that found no entry */
	__u64 failed;  /* and could not make one */
	__u64 deleted;
};

enum state_counter {
	COUNT_ALL,
	COUNT_STEADY, /* only those to STEADY_HOST, where tests send what nobody deletes */
	COUNTERS,
};

/* Packets and bytes by flow. */
struct {
	__uint(type, FLOWS_TYPE);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");
RELOADER_STATE(flows);

/* What became of every packet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct state_counters);
} counters SEC(".maps");

static __always_inline void count_steady(const struct flow_key *key)
{
	__u32 slot = COUNT_STEADY;
	struct state_counters *steady;

	if (key->daddr != bpf_htonl(STEADY_HOST))
		return;
	steady = bpf_map_lookup_elem(&counters, &slot);
	if (steady)
		steady->packets++;
}

static __always_inline int count(struct xdp_md *ctx)
{
	struct state_counters *counts;
	struct flow first = {};
	struct flow_key key;
	struct flow *flow;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&counters, &zero);
	if (!counts || parse_flow(ctx, &key) != PARSED_FLOW)
		return XDP_DROP;
	if (key.dport == bpf_htons(DELETE_PORT)) {
		key.dport = bpf_htons(FLOW_PORT);
		if (!state_delete(flows, &key))
			counts->deleted++;
		return XDP_DROP;
	}
	counts->packets++;
	count_steady(&key);
	flow = state_get(flows, &key);
	if (!flow) {
		counts->created++;
		flow = state_get_or_create(flows, &key, &first);
	}
	if (flow)
		touch(flow, packet_length(ctx));
	else
		counts->failed++;
	return XDP_DROP;
}

SEC("xdp")
int count_flows(struct xdp_md *ctx)
{
	return count(ctx);
}

char LICENSE[] SEC("license") = "GPL";

#endif
