// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * A reader of configuration that must change together: two entries of one map, and one of another. Counts the
 * packets that saw a mixture, and when; an author's mistake can be switched on to see that it shows.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "reloader_config.h"

const volatile __be32 first_key = 0;
const volatile __be32 last_key = 0;
const volatile __u32 latched = 1; /* 0: ask for the side again at every look-up, which is wrong */
const volatile __u32 pause = 0;	  /* turns of a loop between the look-ups */

struct rule {
	__u32 stamp; /* equal in all entries of one generation */
	__u32 weight;
	__u64 hits;
};

struct class {
	__u64 hits;
	__u64 stamp;
};

struct seen {
	__u64 packets;
	__u64 mixed;	/* two generations in one map */
	__u64 mismatch; /* two generations in two maps */
	__u64 missing;	/* no entry */
	__u64 first_ns; /* of a mixture in one map, since boot */
	__u64 last_ns;
};

/* What a rule weighs, by address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, __be32);
	__type(value, struct rule);
} rules SEC(".maps");
RELOADER_CONFIG(rules);

/* Of another shape, so that no pointer can flip both. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct class);
} classes SEC(".maps");
RELOADER_CONFIG(classes);

/* What was seen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

static long turn(__u32 i, void *sum)
{
	*(volatile __u64 *)sum += i;
	return 0;
}

static __always_inline void note_mixture(struct seen *all)
{
	__u64 now = bpf_ktime_get_ns();

	if (!all->first_ns)
		all->first_ns = now;
	all->last_ns = now;
	__sync_fetch_and_add(&all->mixed, 1);
}

SEC("xdp")
int watch(struct xdp_md *ctx)
{
	__u32 side = config_side(), zero = 0, one = 1, stamp;
	__be32 first = first_key, last = last_key;
	struct seen *all = bpf_map_lookup_elem(&seen, &zero);
	struct rule *rule = config_get(rules, side, &first);
	struct class *class;
	__u64 sum = 0;

	if (!all)
		return XDP_ABORTED;
	__sync_fetch_and_add(&all->packets, 1);
	if (!rule)
		goto missing;
	__sync_fetch_and_add(&rule->hits, 1);
	stamp = *(volatile __u32 *)&rule->stamp;
	if (pause)
		bpf_loop(pause, turn, &sum, 0);
	rule = config_get(rules, latched ? side : config_side(), &last);
	class = config_get(classes, latched ? side : config_side(), &one);
	if (!rule || !class)
		goto missing;
	__sync_fetch_and_add(&class->hits, 1);
	if (*(volatile __u32 *)&rule->stamp != stamp)
		note_mixture(all);
	if (*(volatile __u64 *)&class->stamp != stamp)
		__sync_fetch_and_add(&all->mismatch, 1);
	return XDP_DROP;
missing:
	__sync_fetch_and_add(&all->missing, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
