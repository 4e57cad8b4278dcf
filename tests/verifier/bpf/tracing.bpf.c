// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A tracing program for a function that no kernel has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("fentry/never_was")
int target_missing(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
