/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Packets by the longest prefix of their source, in a trie that is full. `struct net` is the including version's. */
struct flow_key {
	__be32 saddr, daddr;
	__be16 sport, dport;
	__u8 proto;
};

#include "flow_parse.h"

struct prefix {
	__u32 length;
	__be32 address;
};

/* Prefixes are put in by user space; each packet is counted by one. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 300);
	__type(key, struct prefix);
	__type(value, struct net);
} nets SEC(".maps");

SEC("xdp")
int count_nets(struct xdp_md *ctx)
{
	struct flow_key flow;

	if (parse_flow(ctx, &flow) != PARSED_FLOW)
		return XDP_DROP;
	struct prefix key = {.length = 32, .address = flow.saddr};
	struct net *net = bpf_map_lookup_elem(&nets, &key);

	if (net)
		__sync_fetch_and_add(&net->packets, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
