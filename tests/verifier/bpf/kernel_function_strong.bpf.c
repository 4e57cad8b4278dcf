// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A kernel function that no kernel has, and no way to go without. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int bpf_never_was(int value) __ksym;

SEC("xdp")
int kernel_function_absent(struct xdp_md *ctx)
{
	return bpf_never_was(1);
}

char LICENSE[] SEC("license") = "GPL";
