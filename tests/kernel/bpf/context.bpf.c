// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A program to be run by bpf(2) on a context of its caller's. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct args {
	__u64 given;
	__u64 doubled;
};

SEC("syscall")
int twice(struct args *args)
{
	args->doubled = args->given * 2;
	return 5;
}

char LICENSE[] SEC("license") = "GPL";
