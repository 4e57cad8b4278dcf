// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Three programs in a row by tail calls: a packet that enters must come out at the end. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum place { ENTERED, MIDDLE, LEFT, FELL_THROUGH, MIXED, PLACES };

const volatile __u32 version = 1;

int middle(struct xdp_md *ctx);
int last(struct xdp_md *ctx);

/* Packets by the place they reached. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, __u64);
} places SEC(".maps");

/* The version a packet entered by. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} entered_by SEC(".maps");

/* The next program. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
	.values = {[0] = (void *)&middle, [1] = (void *)&last},
};

static __always_inline void count(__u32 place)
{
	__u64 *packets = bpf_map_lookup_elem(&places, &place);

	if (packets)
		++*packets;
}

static __always_inline void same_version(void)
{
	__u32 zero = 0, *by = bpf_map_lookup_elem(&entered_by, &zero);

	if (by && *by != version)
		count(MIXED);
}

SEC("xdp")
int last(struct xdp_md *ctx)
{
	same_version();
	count(LEFT);
	return XDP_DROP;
}

SEC("xdp")
int middle(struct xdp_md *ctx)
{
	same_version();
	count(MIDDLE);
	bpf_tail_call(ctx, &jumps, 1);
	count(FELL_THROUGH);
	return XDP_DROP;
}

SEC("xdp")
int enter(struct xdp_md *ctx)
{
	__u32 zero = 0, *by = bpf_map_lookup_elem(&entered_by, &zero);

	if (by)
		*by = version;
	count(ENTERED);
	bpf_tail_call(ctx, &jumps, 0);
	count(FELL_THROUGH);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
