// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Calls, locks and references: every program here is refused; ../expected.yaml says in which words. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct guarded {
	struct bpf_spin_lock lock;
	__u32 count;
};

/* A counter behind a lock. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} guarded SEC(".maps");

/* Events to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct sk_buff___old {
	int gone;
} __attribute__((preserve_access_index));

SEC("xdp")
int helper_of_another_type(struct xdp_md *ctx)
{
	return bpf_skb_store_bytes((void *)ctx, 0, "x", 1, 0);
}

SEC("xdp")
int helper_unknown(struct xdp_md *ctx)
{
	asm volatile("call 9999" ::: "r0", "r1", "r2", "r3", "r4", "r5");
	return XDP_PASS;
}

SEC("xdp")
int field_missing(struct xdp_md *ctx)
{
	struct sk_buff___old *skb = (void *)ctx;

	return __builtin_preserve_access_index(skb->gone);
}

SEC("xdp")
int lock_kept(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *found = bpf_map_lookup_elem(&guarded, &key);

	if (found)
		bpf_spin_lock(&found->lock);
	return XDP_PASS;
}

SEC("xdp")
int lock_twice(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *found = bpf_map_lookup_elem(&guarded, &key);

	if (!found)
		return XDP_PASS;
	bpf_spin_lock(&found->lock);
	bpf_spin_lock(&found->lock);
	bpf_spin_unlock(&found->lock);
	return XDP_PASS;
}

SEC("xdp")
int lock_not_taken(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *found = bpf_map_lookup_elem(&guarded, &key);

	if (found)
		bpf_spin_unlock(&found->lock);
	return XDP_PASS;
}

SEC("xdp")
int call_under_lock(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *found = bpf_map_lookup_elem(&guarded, &key);

	if (!found)
		return XDP_PASS;
	bpf_spin_lock(&found->lock);
	found->count += bpf_get_prandom_u32();
	bpf_spin_unlock(&found->lock);
	return XDP_PASS;
}

SEC("xdp")
int lock_field_written(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *found = bpf_map_lookup_elem(&guarded, &key);

	if (found)
		*(__u32 *)&found->lock = 0;
	return XDP_PASS;
}

SEC("xdp")
int record_kept(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (record)
		*record = 1;
	return XDP_PASS;
}

SEC("xdp")
int record_may_be_null(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	*record = 1;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int record_too_short(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (!record)
		return XDP_PASS;
	record[1] = 1;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int record_used_after(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (!record)
		return XDP_PASS;
	bpf_ringbuf_submit(record, 0);
	*record = 1;
	return XDP_PASS;
}

SEC("xdp")
int record_given_twice(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (!record)
		return XDP_PASS;
	bpf_ringbuf_submit(record, 0);
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("tc")
int socket_kept(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);

	return found ? 1 : 0;
}

SEC("tc")
int socket_may_be_null(struct __sk_buff *ctx)
{
	struct bpf_sock *found = ctx->sk;

	return found->family;
}

SEC("xdp")
int record_of_any_size(struct xdp_md *ctx)
{
	void *record = bpf_ringbuf_reserve(&events, ctx->rx_queue_index, 0);

	if (record)
		bpf_ringbuf_discard(record, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
