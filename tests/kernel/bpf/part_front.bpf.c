// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Half of a program: calls what part_back.bpf.c defines, and shares its map. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 front_step = 1;

extern int back_verdict(int step);

SEC("xdp")
int joined(struct xdp_md *ctx)
{
	return back_verdict(front_step);
}

char LICENSE[] SEC("license") = "GPL";
