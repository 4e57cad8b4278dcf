// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * A version of programs/flow_count whose `flows` value has the same size and the same field names
 * in another order: put on the old map unseen, it would count bytes as packets. To be refused.
 */
#include "flow_count/flow_packets.h"

struct reordered_flow {
	__u64 bytes;
	__u64 packets;
};

#define FLOW_VALUE reordered_flow
#include "flow_count/flow_table.h"

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
