// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Counts packets and bytes of every IPv4 TCP or UDP flow, and drops what the blocklist names. */
#include "flow_packets.h"
#include "flow_table.h"

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
