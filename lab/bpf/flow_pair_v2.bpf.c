// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* flow_state_v2 with a second program on the same map. */
#include "flow_layout_v2.h"
#include "reloader_state.h"
#include "flow_state.h"

SEC("xdp")
int count_more(struct xdp_md *ctx)
{
	return count(ctx);
}
