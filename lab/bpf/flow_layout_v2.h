/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Fields reordered and added: the same counts at other offsets. */
#ifndef FLOW_LAYOUT_H
#define FLOW_LAYOUT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define flow base_flow
#include "flow_count/flow_count.h"
#undef flow
#include "flow_parse.h"

struct flow {
	__u64 bytes;
	__u64 first_ns; /* when its entry was made or taken over; not in version 1 */
	__u64 packets;
	__u32 mark;
	__u32 pad;
};

static __always_inline void touch(struct flow *flow, __u64 length)
{
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
}

#endif
