// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Constants in two read-only sections, variables in .data and .bss, and a branch only a constant makes safe. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define STATIC_MARK 7

const volatile __u32 verdict = XDP_PASS;
const volatile __u64 wide = 1;
const volatile _Bool unsafe = 0;
static const volatile __u16 hidden = STATIC_MARK;
const volatile __u32 more SEC(".rodata.more") = 11;

__u64 seen = 0;
__u64 sum = 100;

SEC("xdp")
int judge(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&seen, 1);
	__sync_fetch_and_add(&sum, wide + hidden + more);
	if (unsafe) /* the verifier refuses this, unless it knows that it is never reached */
		return *(__u8 *)(long)ctx->data;
	return verdict;
}

/* The constants of the other section only. */
SEC("xdp")
int judge_more(struct xdp_md *ctx)
{
	return more;
}

char LICENSE[] SEC("license") = "GPL";
