// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The next version of programs/flow_count: other code, a new scratch map, the same state layout. */
#include "flow_count/flow_packets.h"
#include "flow_count/flow_table.h"

#define SIZE_BUCKETS 16
#define BYTES_PER_BUCKET 128

/* New in this version: packets by size; may start empty at any load. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SIZE_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

static __always_inline void count_size(__u64 length)
{
	__u32 bucket = length / BYTES_PER_BUCKET;
	__u64 *packets;

	if (bucket >= SIZE_BUCKETS)
		bucket = SIZE_BUCKETS - 1;
	packets = bpf_map_lookup_elem(&sizes, &bucket);
	if (packets)
		++*packets;
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
	count_size(length);
	if (!note_parsed(parse_flow(ctx, &key), counts))
		return default_verdict;
	count_flow(&key, length, counts);
	sample(&key, length, counts);
	return judge(&key, counts);
}

char LICENSE[] SEC("license") = "GPL";
