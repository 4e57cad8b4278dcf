/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Attachments that must change together: the first hook writes its generation beside the packet, and later hooks
 * let the version of that generation judge it.
 *
 *	SEC("xdp") int enter(struct xdp_md *ctx)	{ gate_enter(ctx); ... }
 *	RELOADER_GATE(leave);
 *	SEC("tc") int leave(struct __sk_buff *skb)	{ gate_check(skb, leave); ... }
 *
 * The carrier is XDP metadata, which traffic control on the same interface finds in front of the packet. While two
 * versions are in use, a packet whose generation is not the later program's own is handed to the version before.
 * gate_enter moves the metadata, so pointers into the packet are to be taken after it; gate_check comes first of all.
 */
#ifndef RELOADER_GATE_H
#define RELOADER_GATE_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct rl_carried {
	__u32 pipeline;
	__u32 generation;
};

/* Set by reloader for each load. */
const volatile struct rl_carried rl_gate = {};

struct rl_gate_stats {
	__u64 bare;	/* a first hook could carry nothing: its driver has no room for metadata */
	__u64 unmarked; /* a later hook met a packet without a generation and judged it itself */
	__u64 stale;	/* ... with one that is gone, and judged it itself */
};

/* What the gate could not keep together, per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rl_gate_stats);
} rl_gate_stats SEC(".maps");

/*
 * Declares where a later program finds the version before it, while there is one.
 */
#define RELOADER_GATE(name)                                                                                            \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} rl_gate_##name SEC(".maps")

#define gate_check(skb, name)                                                                                          \
	do {                                                                                                           \
		if (rl_is_of_another(skb)) {                                                                           \
			bpf_tail_call(skb, &rl_gate_##name, 0);                                                        \
			rl_gate_count(2);                                                                              \
		}                                                                                                      \
	} while (0)

static __always_inline void rl_gate_count(int which)
{
	__u32 zero = 0;
	struct rl_gate_stats *stats = bpf_map_lookup_elem(&rl_gate_stats, &zero);

	if (!stats)
		return;
	if (which == 0)
		stats->bare++;
	else if (which == 1)
		stats->unmarked++;
	else
		stats->stale++;
}

/* Of the first hook. */
static __always_inline void gate_enter(struct xdp_md *ctx)
{
	struct rl_carried *carried;

	if (!bpf_xdp_adjust_meta(ctx, -(int)sizeof(*carried))) {
		carried = (void *)(long)ctx->data_meta;
		if ((void *)(carried + 1) <= (void *)(long)ctx->data) {
			carried->pipeline = rl_gate.pipeline;
			carried->generation = rl_gate.generation;
			return;
		}
	}
	rl_gate_count(0);
}

static __always_inline int rl_is_of_another(struct __sk_buff *skb)
{
	struct rl_carried *carried = (void *)(long)skb->data_meta;

	if ((void *)(carried + 1) > (void *)(long)skb->data || carried->pipeline != rl_gate.pipeline) {
		rl_gate_count(1);
		return 0;
	}
	return carried->generation != rl_gate.generation;
}

#endif
