/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The first layout. */
#ifndef FLOW_LAYOUT_H
#define FLOW_LAYOUT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define flow base_flow
#include "flow_count/flow_count.h"
#undef flow
#include "flow_parse.h"

struct flow {
	__u64 packets;
	__u64 bytes;
};

static __always_inline void touch(struct flow *flow, __u64 length)
{
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
}

#endif
