/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What every version of flow_count does with a packet, whatever its flows look like; the lab has more of them. */
#ifndef FLOW_PACKETS_H
#define FLOW_PACKETS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow_count.h"
#include "flow_parse.h"

const volatile enum xdp_action default_verdict = XDP_PASS;
const volatile __u32 sample_rate = 0; /* one event for about so many packets; 0: none */

/* Every packet, and why it is in no flow. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_counters);
} counters SEC(".maps");

/* Source address to the verdict on its packets; filled from the YAML. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BLOCKED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct block);
} blocklist SEC(".maps");

/* struct flow_event of sampled packets, for a reader in user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

static __always_inline void sample(const struct flow_key *key, __u64 length, struct flow_counters *counts)
{
	struct flow_event event = {.key = *key, .length = length};

	if (!sample_rate || bpf_get_prandom_u32() % sample_rate)
		return;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		counts->events_lost++;
	else
		counts->sampled++;
}

static __always_inline int judge(const struct flow_key *key, struct flow_counters *counts)
{
	struct block *block = bpf_map_lookup_elem(&blocklist, &key->saddr);

	if (!block)
		return default_verdict;
	counts->blocked++;
	return block->action;
}

/* False when the packet belongs to no flow. */
static __always_inline int note_parsed(enum parsed parsed, struct flow_counters *counts)
{
	counts->packets++;
	switch (parsed) {
	case PARSED_FLOW:
		return 1;
	case PARSED_NOT_IP:
		counts->not_ip++;
		break;
	case PARSED_NOT_L4:
		counts->not_l4++;
		break;
	case PARSED_TRUNCATED:
		counts->truncated++;
		break;
	}
	return 0;
}

#endif
