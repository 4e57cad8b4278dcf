// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Moves entries from a map of one layout to a map of another, by a table of rules.
 *
 * An XDP program only because BPF_PROG_RUN runs those with bottom halves off: nothing on this CPU that
 * uses the maps can interrupt it while it holds an entry's lock. It sees no packet of any interface.
 * A run stops after `budget` entries, so that no CPU is away for long; drained entries are deleted, so
 * that the next run goes on where this one stopped.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "migrate.h"
#include "reloader_rules.h"

#define EEXIST 17

const volatile __u32 key_size = 4;     /* of the old map */
const volatile __u32 new_key_size = 4;
const volatile __u32 pass = MIGRATE_DRAIN;
const volatile __u32 shards = 1; /* how many CPUs share the work, by key */
const volatile __u32 slots = 0;	 /* an array: every key is there from the start */
const volatile struct rl_table table = {};

/* The map to be emptied; its shape is the live map's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} rl_from SEC(".maps");

/* The map to be filled. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} rl_to SEC(".maps");

/* The bridge's own locks: what they guard is the same. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RL_LOCKS);
	__type(key, __u32);
	__type(value, __u64);
} rl_locks SEC(".maps");

/* Room to build an entry in. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rl_scratch);
} rl_scratch SEC(".maps");

/* What this run did; one writer a CPU. Read from user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct migrate_result);
} results SEC(".maps");

struct run {
	struct rl_scratch *scratch;
	struct migrate_result *result;
	__u32 budget;
	__u32 shard;
};

static __always_inline void copy_key(__u8 *to, const __u8 *from)
{
	for (__u32 i = 0; i < RL_KEY_MAX; i++) {
		if (i >= key_size)
			break;
		to[i] = from[i];
	}
}

/* Under the lock. False when the entry must stay where it is. */
static __always_inline int move(struct run *run, const void *new_key)
{
	struct rl_scratch *scratch = run->scratch;
	void *there, *old = bpf_map_lookup_elem(&rl_from, scratch->key);
	long err;

	if (!old)
		return 0; /* deleted, or taken over, meanwhile */
	if (!rl_fits(table.value, table.value_rules, old)) {
		run->result->unfit++;
		return 0;
	}
	rl_build(table.value, table.value_rules, old, scratch->value, pass != MIGRATE_COPY);
	err = bpf_map_update_elem(&rl_to, new_key, scratch->value, BPF_NOEXIST);
	if (!err) {
		run->result->inserted++;
		return 1;
	}
	there = err == -EEXIST ? bpf_map_lookup_elem(&rl_to, new_key) : NULL;
	if (pass == MIGRATE_COPY) {
		/* A slot that the map, or another CPU's turn, made: copied fields are still to come. */
		if (there && (slots || table.per_cpu))
			rl_merge(table.value, table.value_rules, scratch->value, there, 1);
		return 0;
	}
	if (!there) {
		rl_put_back(table.value, table.value_rules, old, scratch->value);
		run->result->failed++;
		return 0;
	}
	rl_merge(table.value, table.value_rules, scratch->value, there,
		 table.per_cpu && rl_is_zero(table.value, table.value_rules, there));
	run->result->merged++;
	return 1;
}

struct bpf_map;

static long visit(struct bpf_map *map, const void *key, void *value, struct run *run)
{
	struct rl_scratch *scratch = run->scratch;
	const __u8 *new_key = scratch->key;
	__u64 *lock, hash;
	__u32 slot;

	copy_key(scratch->key, key);
	if (table.key_rules) {
		rl_other_key(table.key, table.key_rules, scratch->key, scratch->other);
		new_key = scratch->other;
	}
	hash = rl_hash(new_key, new_key_size);
	if (shards > 1 && ((hash >> 20) & (shards - 1)) != run->shard)
		return 0;
	slot = hash & (RL_LOCKS - 1);
	lock = bpf_map_lookup_elem(&rl_locks, &slot);
	if (!lock)
		return 1;
	if (!rl_lock(lock)) {
		run->result->lock_failed++;
		return 0;
	}
	if (move(run, new_key) && pass == MIGRATE_DRAIN)
		bpf_map_delete_elem(&rl_from, scratch->key);
	rl_unlock(lock);
	run->result->visited++;
	return --run->budget == 0;
}

/* The packet's first bytes say how far to go: budget, shard. */
SEC("xdp")
int migrate(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 *words = (void *)(long)ctx->data, zero = 0;
	struct run run = {};

	if ((void *)(words + 2) > end)
		return XDP_ABORTED;
	run.budget = words[0];
	run.shard = words[1];
	run.scratch = bpf_map_lookup_elem(&rl_scratch, &zero);
	run.result = bpf_map_lookup_elem(&results, &zero);
	if (!run.scratch || !run.result || !run.budget)
		return XDP_ABORTED;
	bpf_for_each_map_elem(&rl_from, visit, &run, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
