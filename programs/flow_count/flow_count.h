/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the flow counter and its readers in user space both see. */
#ifndef FLOW_COUNT_H
#define FLOW_COUNT_H

#include <linux/bpf.h>
#include <linux/types.h>

#define MAX_FLOWS 65536
#define MAX_BLOCKED 262144

struct flow_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

struct flow {
	__u64 packets;
	__u64 bytes;
};

/*
 * A packet is counted in exactly one flow or in exactly one of the uncounted reasons:
 * packets == sum of flow.packets + not_ip + not_l4 + truncated + insert_failed.
 */
struct flow_counters {
	__u64 packets;       /* every packet the program saw */
	__u64 not_ip;        /* uncounted: no IPv4 */
	__u64 not_l4;        /* uncounted: neither TCP nor UDP, or a later fragment */
	__u64 truncated;     /* uncounted: ends inside a header */
	__u64 insert_failed; /* uncounted: no room for a new flow */
	__u64 blocked;       /* counted in its flow, then judged by the blocklist */
	__u64 sampled;       /* handed to the events ring buffer */
	__u64 events_lost;   /* the ring buffer was full */
	__u64 new_flows;     /* met no entry: first of their flow, or of one that was forgotten */
};

/* A blocklist value: what happens to packets from that source. */
struct block {
	enum xdp_action action;
};

struct flow_event {
	struct flow_key key;
	__u32 length;
};

#endif
