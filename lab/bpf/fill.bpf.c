// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Fills a map from inside the kernel, as fast as the kernel can insert, and sums up what a map holds: the
 * state bench's stock of entries, what it holds a conversion against, and its check that nothing is missing.
 * Run by BPF_PROG_RUN; sees no packet of any interface.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define VALUE_MAX 64

const volatile __u32 indexed = 0; /* keys are array indices */
const volatile __u32 summed = 0;  /* where in a value the number to sum up lies */

/* Its shape is the live map's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 16);
	__uint(value_size, VALUE_MAX);
} filled SEC(".maps");

struct fill_key {
	__u32 index;
	__u32 address;
	__u32 spread;
	__u32 proto;
};

/* Read from user space: inserts the kernel refused; entries with a sum other than zero, and the sum, of a tally. */
__u64 failed = 0;
__u64 entries = 0;
__u64 sum = 0;

struct bpf_map;

static long fill_one(__u32 i, const __u32 *first)
{
	__u32 index = *first + i;
	struct fill_key key = {index, 0xc0000201, index * 2654435761U, 17};
	__u64 value[VALUE_MAX / 8] = {index + 1ULL, 64ULL * (index + 1ULL)};

	if (bpf_map_update_elem(&filled, indexed ? (void *)&index : (void *)&key, value, BPF_ANY))
		__sync_fetch_and_add(&failed, 1);
	return 0;
}

static long tally_one(struct bpf_map *map, const void *key, void *value, void *none)
{
	__u64 number = *(__u64 *)(value + summed);

	entries += number != 0;
	sum += number;
	return 0;
}

/* The packet's first bytes say which: the first index, how many. */
SEC("xdp")
int fill(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 *words = (void *)(long)ctx->data, first;

	if ((void *)(words + 2) > end)
		return XDP_ABORTED;
	first = words[0];
	bpf_loop(words[1], fill_one, &first, 0);
	return XDP_PASS;
}

/* Adds this CPU's values, where each has its own. */
SEC("xdp")
int tally(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&filled, tally_one, 0, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
