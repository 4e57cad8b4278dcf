// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Map values and what calls take: every program here is refused; ../expected.yaml says in which words. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct pair {
	__u64 packets;
	__u64 bytes;
};

/* Two counters by any key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct pair);
} pairs SEC(".maps");

/* Programs may read it only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} settings SEC(".maps");

/* Programs may write it only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_WRONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} inbox SEC(".maps");

/* A table to index into. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[64]);
} table SEC(".maps");

const volatile __u64 limit = 7;

SEC("xdp")
int value_may_be_null(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct pair *found = bpf_map_lookup_elem(&pairs, &key);

	found->packets++;
	return XDP_PASS;
}

SEC("xdp")
int value_may_be_null_moved(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *found = bpf_map_lookup_elem(&pairs, &key);

	asm volatile("%0 += 8" : "+r"(found));
	return found ? *(__u8 *)found : 0;
}

SEC("xdp")
int value_too_short(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct pair *found = bpf_map_lookup_elem(&pairs, &key);

	return found ? found[1].packets : 0;
}

SEC("xdp")
int value_any_index(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u8 *found = bpf_map_lookup_elem(&table, &key);

	return found ? found[ctx->rx_queue_index] : 0;
}

SEC("xdp")
int value_index_off_by_one(struct xdp_md *ctx)
{
	__u32 key = 0, at = ctx->rx_queue_index;
	__u8 *found = bpf_map_lookup_elem(&table, &key);

	return found && at <= 64 ? found[at] : 0;
}

SEC("xdp")
int value_negative_index(struct xdp_md *ctx)
{
	__u32 key = 0;
	long at = (int)ctx->rx_queue_index;
	__u8 *found = bpf_map_lookup_elem(&table, &key);

	return found && at < 64 ? found[at] : 0;
}

SEC("xdp")
int value_read_only(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *found = bpf_map_lookup_elem(&settings, &key);

	if (found)
		*found = 1;
	return XDP_PASS;
}

SEC("xdp")
int value_write_only(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *found = bpf_map_lookup_elem(&inbox, &key);

	return found ? *found : 0;
}

SEC("xdp")
int constant_written(struct xdp_md *ctx)
{
	__u64 *at = (__u64 *)&limit;

	asm volatile("" : "+r"(at));
	*at = 8;
	return XDP_PASS;
}

SEC("xdp")
int key_is_context(struct xdp_md *ctx)
{
	return bpf_map_lookup_elem(&pairs, ctx) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int key_is_number(struct xdp_md *ctx)
{
	return bpf_map_lookup_elem(&pairs, (void *)7) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int map_is_number(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem((void *)7, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int map_of_another_type(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &pairs, 0);
	return XDP_PASS;
}

SEC("xdp")
int stack_read_past_end(struct xdp_md *ctx)
{
	struct pair value = {};
	__u32 key = 0;

	asm volatile("" : : "r"(&value) : "memory");
	return bpf_map_update_elem(&table, &key, &value, 0);
}

SEC("xdp")
int size_without_bound(struct xdp_md *ctx)
{
	__u8 buffer[64] = {};
	__u32 size = ctx->rx_queue_index;

	return bpf_xdp_load_bytes(ctx, 0, buffer, size);
}

SEC("xdp")
int size_may_be_zero(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u8 *found = bpf_map_lookup_elem(&table, &key);
	__u32 size = ctx->rx_queue_index & 63;

	if (!found)
		return XDP_PASS;
	asm volatile("" : "+r"(size));
	return bpf_xdp_load_bytes(ctx, 0, found, size);
}

SEC("xdp")
int size_too_large(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u8 *found = bpf_map_lookup_elem(&table, &key);

	return found ? bpf_xdp_load_bytes(ctx, 0, found, 65) : 0;
}

char LICENSE[] SEC("license") = "GPL";
