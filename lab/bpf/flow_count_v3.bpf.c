// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * A version of programs/flow_count whose `flows` value has the same size and the same field names
 * in another order: put on the old map unseen, it would count bytes as packets. To be refused.
 */
#include "flow_count_rest.h"
#include "reloader_state.h"

struct reordered_flow {
	__u64 bytes;
	__u64 packets;
};

/* Packets and bytes by flow, the other way round. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct reordered_flow);
} flows SEC(".maps");
RELOADER_STATE(flows);

static __always_inline void count_flow(const struct flow_key *key, __u64 length, struct flow_counters *counts)
{
	struct reordered_flow *flow = state_get(flows, key);
	struct reordered_flow empty = {};

	if (!flow) {
		counts->new_flows++;
		flow = state_get_or_create(flows, key, &empty);
	}
	if (!flow) {
		counts->insert_failed++;
		return;
	}
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
}

SEC("xdp")
int count_flows(struct xdp_md *ctx)
{
	__u64 length = packet_length(ctx);
	struct flow_counters *counts;
	struct flow_key key;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&counters, &zero);
	if (!counts)
		return XDP_ABORTED;
	if (!note_parsed(parse_flow(ctx, &key), counts))
		return default_verdict;
	count_flow(&key, length, counts);
	sample(&key, length, counts);
	return judge(&key, counts);
}

char LICENSE[] SEC("license") = "GPL";
