// SPDX-License-Identifier: Apache-2.0
/* Refused for its licence, which keeps it from calling what the kernel gives to GPL programs only. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int licence(struct xdp_md *ctx)
{
	return bpf_ktime_get_boot_ns() + bpf_probe_read_kernel(&ctx, 8, ctx);
}

char LICENSE[] SEC("license") = "Proprietary";
