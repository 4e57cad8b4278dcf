/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * State that survives a new layout: three calls in place of the map helpers.
 *
 *	struct { __uint(type, BPF_MAP_TYPE_HASH); ... __type(value, struct flow); } flows SEC(".maps");
 *	RELOADER_STATE(flows);
 *
 *	struct flow *flow = state_get(flows, &key);
 *	struct flow *flow = state_get_or_create(flows, &key, &first);
 *	long err = state_delete(flows, &key);
 *
 * Loaded as it is, they are bpf_map_lookup_elem, _update_elem(BPF_NOEXIST) and _delete_elem. While a
 * version with another layout is replaced, reloader loads the program a second time in bridge mode: an
 * entry that is not in the new map yet is taken over from the old one at that moment, and a deletion acts
 * on both maps, under a lock that is taken on misses and deletions only.
 */
#ifndef RELOADER_STATE_H
#define RELOADER_STATE_H

#include "reloader_rules.h"

#define RL_ENOMEM 12

struct rl_stats {
	__u64 taken;	     /* entries taken over on a miss */
	__u64 insert_failed; /* the new map was full */
	__u64 lock_failed;   /* a lock was not had in time; the caller saw a miss */
};

/* What the bridge did, per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rl_stats);
} rl_stats SEC(".maps");

/*
 * Declares the old map, whose shape is the live map's at load time, and the table of rules.
 */
#define RELOADER_STATE(name)                                                                                           \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                       \
		__uint(max_entries, 1);                                                                                \
		__uint(key_size, sizeof(*name.key));                                                                   \
		__uint(value_size, sizeof(*name.value));                                                               \
	} rl_old_##name SEC(".maps");                                                                                  \
	const volatile struct rl_table rl_table_##name = {}

#define RL_MAPS(name) &name, &rl_old_##name, &rl_table_##name, sizeof(*name.key), sizeof(*name.value)
#define state_get(name, k) ((typeof(name.value))rl_get(RL_MAPS(name), k, 0))
#define state_get_or_create(name, k, first) ((typeof(name.value))rl_get_or_create(RL_MAPS(name), k, first))
#define state_delete(name, k) rl_delete(RL_MAPS(name), k)

struct rl_place {
	__u64 *lock;
	struct rl_scratch *scratch;
	struct rl_stats *stats;
	const void *old_key; /* NULL: no entry of the old map becomes this one */
};

/* False when a map of ours is missing, which the verifier cannot know to be impossible. */
static __always_inline int rl_find_place(const volatile struct rl_table *table, __u32 key_size, const void *key,
					 struct rl_place *place)
{
	__u32 slot = rl_hash(key, key_size) & (RL_LOCKS - 1), zero = 0;

	place->lock = bpf_map_lookup_elem(&rl_locks, &slot);
	place->scratch = bpf_map_lookup_elem(&rl_scratch, &zero);
	place->stats = bpf_map_lookup_elem(&rl_stats, &zero);
	if (!place->lock || !place->scratch || !place->stats)
		return 0;
	place->old_key = key;
	if (table->key_rules) {
		struct rl_scratch *scratch = place->scratch;

		rl_copy_key(scratch->key, key, key_size);
		place->old_key = scratch->other;
		if (!rl_other_key(table->key, table->key_rules, scratch->key, scratch->other))
			place->old_key = 0;
	}
	return 1;
}

/* Under the lock: move the old entry over, or make one from `first`; NULL when there is neither. */
static __always_inline void *rl_settle(void *map, void *old_map, const volatile struct rl_table *table,
				       __u32 value_size, const void *key, const void *first, struct rl_place *place)
{
	void *there = bpf_map_lookup_elem(map, key);
	void *old = 0;
	long err;

	if (there)
		return there;
	if (place->old_key)
		old = bpf_map_lookup_elem(old_map, place->old_key);
	if (!old && !first)
		return 0;
	err = -RL_ENOMEM;
	if (old && rl_fits(table->value, RL_RULES, table->value_rules, old)) {
		rl_build(table->value, table->value_rules, old, place->scratch->value, value_size, 1);
		err = bpf_map_update_elem(map, key, place->scratch->value, BPF_NOEXIST);
		if (err)
			rl_put_back(table->value, table->value_rules, old, place->scratch->value);
		else
			place->stats->taken++;
	} else if (!old) {
		err = bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	}
	if (err)
		place->stats->insert_failed++;
	return bpf_map_lookup_elem(map, key);
}

static __always_inline void *rl_bridge(void *map, void *old_map, const volatile struct rl_table *table, __u32 key_size,
				       __u32 value_size, const void *key, const void *first)
{
	struct rl_place place = {};
	void *found;

	if (!rl_find_place(table, key_size, key, &place))
		return 0;
	if (!rl_lock(place.lock)) {
		place.stats->lock_failed++;
		return 0;
	}
	found = rl_settle(map, old_map, table, value_size, key, first, &place);
	rl_unlock(place.lock);
	return found;
}

/* The verifier folds this; what it leaves of it in a clean build is a load off the path of a hit. */
static __always_inline int rl_is_bridge(const volatile struct rl_table *table)
{
	return __builtin_expect(table->mode == RL_BRIDGE, 0);
}

static __always_inline void *rl_get(void *map, void *old_map, const volatile struct rl_table *table, __u32 key_size,
				    __u32 value_size, const void *key, const void *first)
{
	void *found = bpf_map_lookup_elem(map, key);

	if (found || !rl_is_bridge(table))
		return found;
	return rl_bridge(map, old_map, table, key_size, value_size, key, first);
}

static __always_inline void *rl_get_or_create(void *map, void *old_map, const volatile struct rl_table *table,
					      __u32 key_size, __u32 value_size, const void *key, const void *first)
{
	void *found = bpf_map_lookup_elem(map, key);

	if (found)
		return found;
	if (rl_is_bridge(table))
		return rl_bridge(map, old_map, table, key_size, value_size, key, first);
	/* EEXIST: another CPU was first. */
	bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static __always_inline long rl_delete(void *map, void *old_map, const volatile struct rl_table *table, __u32 key_size,
				      __u32 value_size, const void *key)
{
	struct rl_place place = {};
	int err, old_err = -1; /* what a map says is an int, see migrate.bpf.c */

	if (!rl_is_bridge(table))
		return bpf_map_delete_elem(map, key);
	if (!rl_find_place(table, key_size, key, &place))
		return -RL_ENOMEM;
	if (!rl_lock(place.lock)) {
		place.stats->lock_failed++;
		return -RL_ENOMEM;
	}
	if (place.old_key)
		old_err = bpf_map_delete_elem(old_map, place.old_key);
	err = bpf_map_delete_elem(map, key);
	rl_unlock(place.lock);
	return err && old_err ? err : 0;
}

#endif
