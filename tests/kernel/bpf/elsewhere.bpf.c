// Programs whose sections say nothing, or another type: what their attachments need decides.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("own/connect")
int allow(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("cgroup/bind4")
int refuse(struct bpf_sock_addr *ctx)
{
	return 0;
}

SEC("own/packets")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
