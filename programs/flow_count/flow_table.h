/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The flows of flow_count, by the calls that survive a new layout. */
#ifndef FLOW_TABLE_H
#define FLOW_TABLE_H

#include "flow_count.h"
#include "reloader_state.h"

#ifndef FLOW_VALUE
#define FLOW_VALUE flow /* a struct that has packets and bytes */
#endif

/* Packets and bytes by flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct FLOW_VALUE);
} flows SEC(".maps");
RELOADER_STATE(flows);

/* A packet that finds the map full is counted as such. */
static __always_inline void count_flow(const struct flow_key *key, __u64 length, struct flow_counters *counts)
{
	struct FLOW_VALUE *flow = state_get(flows, key);
	struct FLOW_VALUE first = {};

	if (!flow) {
		counts->new_flows++;
		flow = state_get_or_create(flows, key, &first);
	}
	if (!flow) {
		counts->insert_failed++;
		return;
	}
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
}

#endif
