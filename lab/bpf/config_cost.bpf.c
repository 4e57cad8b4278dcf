// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What it costs a packet that a config map can be exchanged: one look-up, plain and by way of the side. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "reloader_config.h"

/* One entry is enough: both programs look it up. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} rules SEC(".maps");
RELOADER_CONFIG(rules);

SEC("xdp")
int plain(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *found = bpf_map_lookup_elem(&rules, &key);

	return found && *found ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int exchanged(struct xdp_md *ctx)
{
	__u32 key = 0, side = config_side();
	__u64 *found = config_get(rules, side, &key);

	return found && *found ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
