/* Every construct the readers must understand, in one object; it is read, not run. */
#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#define __kptr __attribute__((btf_type_tag("kptr")))

enum action { ACT_PASS, ACT_DROP = 7, ACT_BELOW = -2 };
enum wide { WIDE_SMALL = 1, WIDE_BIG = 0x1ffffffffULL };
typedef unsigned char mac_t[6];
typedef __be32 address_t;
struct task_struct;

struct pair {
	__u32 left;
	union {
		__u16 half;
		__u8 bytes[2];
	};
};

struct flow_key {
	__be32 saddr;
	address_t daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
};

struct flow_value {
	struct bpf_spin_lock lock;
	__u64 packets;
	__s64 delta;
	unsigned int low : 3, mid : 7;
	int high : 5;
	bool seen;
	char comment[13];
	mac_t mac;
	enum action action;
	enum wide wide;
	struct {
		__u16 inner_a;
		struct {
			__u8 inner_b;
		};
	};
	struct pair pairs[3];
	union {
		__be32 v4;
		struct in6_addr v6;
	} address;
	struct task_struct __kptr *task;
	void *nothing;
	int (*callback)(void);
	double ratio;
	volatile const __u16 grid[2][3];
	__u8 rest[];
};

struct prefix {
	__u32 prefixlen;
	__be32 addr;
};

struct settings {
	__u32 rate;
	__u8 mode;
};

struct timed {
	struct bpf_timer timer;
	__u64 hits;
};

int pass_on(struct xdp_md *ctx);

/* flows by their five-tuple */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

/* what to drop */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, enum action);
} blocked SEC(".maps");

/* declared by size only */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 12);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} opaque SEC(".maps");

/* to user space */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
} events SEC(".maps");

/* a timer in each value */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

/* an inner map */
struct small {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} small_a SEC(".maps"), small_b SEC(".maps");

/* a map of maps with two of its four slots set */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct small);
} outer SEC(".maps") = {
	.values = { [0] = &small_a, [2] = &small_b },
};

/* tail calls, set in the source */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
	.values = { [1] = (void *)&pass_on },
};

const volatile __u32 sample_rate = 64;
const volatile struct settings settings = { .rate = 5, .mode = 2 };
const volatile __u16 ports[3] = { 80, 443, 8080 };
const volatile bool verbose SEC(".rodata.debug") = true;
const __u32 folded = 3;
__u64 total;
static __u64 hidden_total;
static __u32 hidden_counts[5];
__u32 limit = 17;
__u32 special_limit SEC(".data.special") = 18;
extern unsigned CONFIG_HZ __kconfig;
extern bool CONFIG_BPF __kconfig;

static __noinline int touch_opaque(__u32 index)
{
	__u32 *found = bpf_map_lookup_elem(&opaque, &index);

	return found ? (int)*found : 0;
}

__noinline int through_two(struct xdp_md *ctx)
{
	hidden_total++;
	hidden_counts[ctx->rx_queue_index & 3]++;
	return touch_opaque(ctx->rx_queue_index);
}

static long each(__u32 index, void *ctx)
{
	bpf_map_lookup_elem(&small_b, &index);
	return 0;
}

SEC("xdp.frags")
int count_flows(struct xdp_md *ctx)
{
	struct flow_key key = {};
	struct flow_value *value = bpf_map_lookup_elem(&flows, &key);

	total += sample_rate + settings.rate + ports[ctx->rx_queue_index & 1] + verbose + limit + special_limit;
	if (value)
		value->packets++;
	return through_two(ctx) ? XDP_DROP : XDP_PASS;
}

SEC("xdp/second")
int jump(struct xdp_md *ctx)
{
	bpf_loop(4, each, (void *)0, 0);
	bpf_tail_call(ctx, &jumps, 1);
	return XDP_ABORTED;
}

SEC("xdp")
int pass_on(struct xdp_md *ctx)
{
	return folded + CONFIG_HZ > 3 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int drop_all(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *inner = bpf_map_lookup_elem(&outer, &key);

	return inner && bpf_map_lookup_elem(inner, &key) ? XDP_DROP : XDP_PASS;
}

SEC("?tc")
int optional(struct __sk_buff *skb)
{
	return CONFIG_BPF ? 0 : 2;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct prefix key = { .prefixlen = 32, .addr = ctx->user_ip4 };

	bpf_map_lookup_elem(&blocked, &key);
	bpf_map_lookup_elem(&timers, &key.prefixlen);
	bpf_ringbuf_output(&events, &key, sizeof(key), 0);
	return 1;
}

SEC("sk_reuseport")
int choose(struct sk_reuseport_md *ctx)
{
	return SK_PASS;
}

SEC("syscall")
int work(void *ctx)
{
	return 0;
}

SEC("iter/bpf_map_elem")
int walk(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
