// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Packets and contexts: every program here is refused; ../expected.yaml says in which words. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

#define DATA(ctx) ((void *)(long)(ctx)->data)
#define END(ctx) ((void *)(long)(ctx)->data_end)

SEC("xdp")
int packet_unchecked(struct xdp_md *ctx)
{
	struct iphdr *ip = DATA(ctx) + sizeof(struct ethhdr);

	return ip->saddr == 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int packet_short_check(struct xdp_md *ctx)
{
	struct ethhdr *eth = DATA(ctx);
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(eth + 1) > END(ctx))
		return XDP_PASS;
	return ip->protocol == 17 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int packet_written(struct xdp_md *ctx)
{
	struct ethhdr *eth = DATA(ctx);

	eth->h_proto = 8;
	return XDP_PASS;
}

SEC("xdp")
int packet_options(struct xdp_md *ctx)
{
	struct iphdr *ip = DATA(ctx);
	__u8 *next;

	if ((void *)(ip + 1) > END(ctx))
		return XDP_PASS;
	next = (__u8 *)ip + ip->ihl * 4;
	return *next;
}

SEC("xdp")
int packet_far(struct xdp_md *ctx)
{
	__u8 *data = DATA(ctx);
	__u32 at;

	if ((void *)(data + 4) > END(ctx))
		return XDP_PASS;
	at = *(__u32 *)data;
	if ((void *)(data + at + 1) > END(ctx))
		return XDP_PASS;
	return data[at];
}

SEC("xdp")
int packet_moved(struct xdp_md *ctx)
{
	__u8 *data = DATA(ctx);

	if ((void *)(data + 1) > END(ctx))
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, 4))
		return XDP_PASS;
	return *data;
}

SEC("xdp")
int packet_end_moved(struct xdp_md *ctx)
{
	__u8 *data = DATA(ctx);

	return (void *)data > END(ctx) - 14 ? XDP_PASS : *data;
}

SEC("cgroup_skb/ingress")
int packet_read_only(struct __sk_buff *ctx)
{
	__u8 *data = DATA(ctx);

	if ((void *)(data + 1) > END(ctx))
		return 1;
	*data = 0;
	return 1;
}

SEC("xdp")
int context_written(struct xdp_md *ctx)
{
	ctx->data = 0;
	return XDP_PASS;
}

SEC("xdp")
int context_beyond(struct xdp_md *ctx)
{
	return *(__u32 *)((void *)ctx + 64);
}

SEC("xdp")
int context_offset(struct xdp_md *ctx)
{
	__u32 *at = (void *)ctx + ctx->rx_queue_index;

	return *at;
}

SEC("xdp")
int context_as_number(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->rx_queue_index;
}

char LICENSE[] SEC("license") = "GPL";
