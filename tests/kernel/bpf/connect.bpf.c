// connect() of a cgroup: each is counted for the version that saw it, then refused, sent elsewhere or allowed.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 version = 1;
const volatile __u32 refused_port = 0;
const volatile __u32 service_port = 0; // nothing listens here
const volatile __u32 backend_port = 0; // where connects to it go

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} connects SEC(".maps");

static __always_inline int steer(struct bpf_sock_addr *ctx)
{
	__u32 key = version, port = bpf_ntohs(ctx->user_port);
	__u64 *count = bpf_map_lookup_elem(&connects, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	if (port == refused_port)
		return 0;
	if (port == service_port)
		ctx->user_port = bpf_htons(backend_port);
	return 1;
}

SEC("cgroup/connect4")
int steer4(struct bpf_sock_addr *ctx)
{
	return steer(ctx);
}

SEC("cgroup/connect6")
int steer6(struct bpf_sock_addr *ctx)
{
	return steer(ctx);
}

char LICENSE[] SEC("license") = "GPL";
