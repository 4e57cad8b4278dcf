// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The lab's traffic: run by BPF_PROG_RUN on live frames that hold an Ethernet/IPv4/UDP template, it
 * gives each its flow's source, counts it and sends it out of an interface.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FIRST_ADDRESS 0x0a000001 /* 10.0.0.1 */
#define FIRST_PORT 1024
#define PORTS_PER_ADDRESS 256

const volatile __u32 out_ifindex = 0;
const volatile __u32 flow_count = 1;

/* Frames handed to the sending interface. Read from user space. */
__u64 sent = 0;

static __always_inline __u16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 flow;

	if ((void *)(udp + 1) > end)
		return XDP_DROP;
	flow = __sync_fetch_and_add(&sent, 1) % flow_count;
	ip->saddr = bpf_htonl(FIRST_ADDRESS + flow / PORTS_PER_ADDRESS);
	udp->source = bpf_htons(FIRST_PORT + flow % PORTS_PER_ADDRESS);
	ip->check = 0;
	ip->check = ip_checksum(ip);
	return bpf_redirect(out_ifindex, 0);
}

char LICENSE[] SEC("license") = "GPL";
