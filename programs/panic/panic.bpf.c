// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The programs of `reloader panic`, two for each hook: one lets everything pass, one lets nothing. Run by
 * reloader itself.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "panic.h"

/* Takes packets in fragments, so that it fits any interface whatever its MTU. */
SEC("xdp.frags")
int panic_xdp_open(struct xdp_md *ctx)
{
	return PANIC_XDP_OPEN;
}

SEC("xdp.frags")
int panic_xdp_closed(struct xdp_md *ctx)
{
	return PANIC_XDP_CLOSED;
}

/* The next program on the hook decides. */
SEC("tc")
int panic_tcx_open(struct __sk_buff *skb)
{
	return PANIC_TCX_OPEN;
}

SEC("tc")
int panic_tcx_closed(struct __sk_buff *skb)
{
	return PANIC_TCX_CLOSED;
}

/* Sockets connect as if no program were attached; or not at all (EPERM). */
SEC("cgroup/connect4")
int panic_cgroup_connect4_open(struct bpf_sock_addr *ctx)
{
	return PANIC_CONNECT_OPEN;
}

SEC("cgroup/connect4")
int panic_cgroup_connect4_closed(struct bpf_sock_addr *ctx)
{
	return PANIC_CONNECT_CLOSED;
}

SEC("cgroup/connect6")
int panic_cgroup_connect6_open(struct bpf_sock_addr *ctx)
{
	return PANIC_CONNECT_OPEN;
}

SEC("cgroup/connect6")
int panic_cgroup_connect6_closed(struct bpf_sock_addr *ctx)
{
	return PANIC_CONNECT_CLOSED;
}

char LICENSE[] SEC("license") = "GPL";
