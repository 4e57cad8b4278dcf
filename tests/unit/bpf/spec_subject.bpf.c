/* What compiling a YAML needs to meet: every sort of map, two programs that may attach, one that may not. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

enum verdict { PASS, DROP };

struct policy {
	enum verdict verdict;
	__u16 port;
	__u8 level;
};

struct prefix {
	__u32 prefixlen;
	__be32 addr;
};

struct settings {
	__u32 rate;
	__u8 mode;
};

struct pair {
	__u32 id;
	__u16 port;
};

/* config: policy by id */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

/* config: prefixes to drop */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 300000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} blocklist SEC(".maps");

/* config: key and value share the name `port` */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 300000);
	__type(key, struct pair);
	__type(value, struct policy);
} pairs SEC(".maps");

/* config: by index */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

/* config: an address whose byte order BTF does not say */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} unsaid SEC(".maps");

/* stream */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

/* live */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} ports SEC(".maps");

int tail_target(struct xdp_md *ctx);

/* tail calls, set in the source */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
	.values = { [0] = (void *)&tail_target },
};

const volatile __u32 sample_rate = 64;
const volatile struct settings settings = { .rate = 5, .mode = 2 };
__u64 total;

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct prefix prefix = { .prefixlen = 32, .addr = ctx->rx_queue_index };
	struct pair pair = { .id = 1 };
	__u32 key = sample_rate + settings.rate;

	total++;
	bpf_map_lookup_elem(&blocklist, &prefix);
	bpf_map_lookup_elem(&pairs, &pair);
	bpf_map_lookup_elem(&slots, &key);
	bpf_map_lookup_elem(&unsaid, &key);
	bpf_ringbuf_output(&events, &key, sizeof(key), 0);
	return bpf_map_lookup_elem(&policies, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return bpf_redirect_map(&ports, 0, 0);
}

SEC("xdp")
int tail_target(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
