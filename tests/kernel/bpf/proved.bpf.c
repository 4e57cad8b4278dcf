// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What tests in the YAML are tried on: counts, forwards with one hop less, and can be made wrong or slow. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile enum xdp_action otherwise = XDP_PASS;
const volatile __u32 spin = 0; /* look-ups that nobody needs */
const volatile __u32 forward = 0;

enum mood {
	MOOD_CALM = 1,
	MOOD_BUSY = 2,
};

struct tally {
	__u64 packets;
	__u32 length : 20;
	__u32 hops : 12;
	enum mood mood;
	__be16 last;
	__u8 mac[6];
};

/* Source address to what came from it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __be32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* Every packet, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

/* The last few sources; who is not among them is forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __be32);
	__type(value, __u32);
} recent SEC(".maps");

/* Source to verdict; filled from the YAML. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct { __u32 prefixlen; __be32 address; });
	__type(value, enum xdp_action);
} policies SEC(".maps");

/* An event for every packet, room for few. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

__u64 unsent = 0;

static __always_inline void waste(void)
{
	__u32 zero = 0;

	for (__u32 i = 0; i < 2000; i++) {
		if (i >= spin)
			break;
		__u64 *total = bpf_map_lookup_elem(&totals, &zero);
		if (total)
			*(volatile __u64 *)total += 0;
	}
}

static __always_inline void count(struct ethhdr *eth, struct iphdr *ip, __u32 length)
{
	struct tally *tally = bpf_map_lookup_elem(&tallies, &ip->saddr);
	struct tally first = {.mood = MOOD_CALM};
	__u32 one = 1;

	bpf_map_update_elem(&recent, &ip->saddr, &one, BPF_ANY);
	if (!tally) {
		bpf_map_update_elem(&tallies, &ip->saddr, &first, BPF_NOEXIST);
		tally = bpf_map_lookup_elem(&tallies, &ip->saddr);
	}
	if (!tally)
		return;
	tally->packets++;
	tally->length = length;
	tally->hops = ip->ttl;
	tally->mood = tally->packets > 1 ? MOOD_BUSY : MOOD_CALM;
	tally->last = bpf_htons(length);
	__builtin_memcpy(tally->mac, eth->h_source, sizeof(tally->mac));
}

/* One hop less, and the checksum that goes with it (RFC 1624). */
static __always_inline void hop(struct iphdr *ip)
{
	__u32 sum = ip->check + bpf_htons(0x0100);

	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

static __always_inline int judge_packet(struct ethhdr *eth, struct iphdr *ip, __u32 length)
{
	struct { __u32 prefixlen; __be32 address; } key = {.prefixlen = 32, .address = ip->saddr};
	enum xdp_action *policy = bpf_map_lookup_elem(&policies, &key);

	count(eth, ip, length);
	if (bpf_ringbuf_output(&events, &key.address, sizeof(key.address), 0))
		__sync_fetch_and_add(&unsent, 1);
	if (policy)
		return *policy;
	if (!forward)
		return otherwise;
	hop(ip);
	return XDP_TX;
}

SEC("xdp")
int judge(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u64 length = end - (void *)eth;
	__u32 which = 0;
	__u64 *total;

	waste();
	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		which = 1;
	total = bpf_map_lookup_elem(&totals, &which);
	if (total)
		++*total;
	return which ? otherwise : judge_packet(eth, ip, length);
}

char LICENSE[] SEC("license") = "GPL";
