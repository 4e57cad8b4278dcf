/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* From a packet to its flow key; BPF side only. */
#ifndef FLOW_PARSE_H
#define FLOW_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum parsed {
	PARSED_FLOW,
	PARSED_NOT_IP,
	PARSED_NOT_L4,
	PARSED_TRUNCATED,
};

#define IP_OFFSET_MASK 0x1fff

/* TCP and UDP begin alike; nothing more is needed of either. */
struct l4_ports {
	__be16 source;
	__be16 dest;
};

static __always_inline __u64 packet_length(const struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/* Fills every byte of `key`, padding included: the key is hashed as bytes. */
static __always_inline enum parsed parse_flow(const struct xdp_md *ctx, struct flow_key *key)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct l4_ports *ports;

	if ((void *)(eth + 1) > end)
		return PARSED_TRUNCATED;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return PARSED_NOT_IP;
	if ((void *)(ip + 1) > end)
		return PARSED_TRUNCATED;
	if (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_TCP)
		return PARSED_NOT_L4;
	if (ip->frag_off & bpf_htons(IP_OFFSET_MASK))
		return PARSED_NOT_L4;
	if (ip->version != 4 || ip->ihl < 5)
		return PARSED_NOT_IP;
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > end)
		return PARSED_TRUNCATED;

	*key = (struct flow_key){
		.saddr = ip->saddr,
		.daddr = ip->daddr,
		.sport = ports->source,
		.dport = ports->dest,
		.proto = ip->protocol,
	};
	return PARSED_FLOW;
}

#endif
