// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Refused at its end, after so many instructions that the log is longer than 64 KiB. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ROUNDS 600

__u64 values[ROUNDS] = {};

SEC("xdp")
int refused(struct xdp_md *ctx)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < ROUNDS; i++)
		values[i] += ctx->data_end - ctx->data;
	return *(__u8 *)(long)ctx->data; /* the packet may be empty */
}

char LICENSE[] SEC("license") = "GPL";
