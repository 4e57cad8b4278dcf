/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Packets by tenant and port, in a map of maps. `struct usage` is the including version's. */
struct flow_key {
	__be32 saddr, daddr;
	__be16 sport, dport;
	__u8 proto;
};

#include "flow_parse.h"

const volatile struct usage usage_layout = {}; /* or clang leaves its fields out of the BTF */

struct usage_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 200);
	__type(key, __u32);
	__type(value, struct usage);
};

/* For each tenant a map, made and put in by user space; its entries by port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct usage_map);
} tenants SEC(".maps");

SEC("xdp")
int meter(struct xdp_md *ctx)
{
	struct flow_key flow;

	if (parse_flow(ctx, &flow) != PARSED_FLOW)
		return XDP_DROP;
	__u32 tenant = bpf_ntohl(flow.saddr) & 3, port = bpf_ntohs(flow.sport) & 63;
	void *ports = bpf_map_lookup_elem(&tenants, &tenant);
	struct usage first = {}, *usage;

	if (!ports)
		return XDP_DROP;
	usage = bpf_map_lookup_elem(ports, &port);
	if (!usage) {
		bpf_map_update_elem(ports, &port, &first, BPF_NOEXIST);
		usage = bpf_map_lookup_elem(ports, &port);
	}
	if (usage)
		__sync_fetch_and_add(&usage->packets, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
