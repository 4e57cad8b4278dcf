// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Moves entries from a map of one layout to a map of another, by a table of rules.
 *
 * An XDP program only because BPF_PROG_RUN runs those with bottom halves off: nothing on this CPU that
 * uses the maps can interrupt it while it holds an entry's lock. It sees no packet of any interface.
 * User space lists the keys and hands them over piece by piece, so that no CPU is away for long and the
 * work grows with the entries only; a walk from here could not be taken up again where it stopped.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "migrate.h"
#include "reloader_rules.h"

/* What a map says is an int: before Linux 6.4 the upper half of the register holds anything (d7ba4cc900bf). */
#define EEXIST 17
#define ENOSPC 28

#define GROUP 8 /* look-ups a call: where the processor distrusts returns, each costs as much as one of them */

const volatile __u32 key_size = 4; /* of the old map */
const volatile __u32 new_key_size = 4;
const volatile __u32 new_value_size = 8;
const volatile __u32 pass = MIGRATE_DRAIN;
const volatile __u32 slots = 0; /* an array: every key is there from the start */
const volatile __u32 lossy = 0; /* what has no place in the new map goes, and is counted */
const volatile __u32 trie = 0;	/* a look-up is content with a prefix that covers the key */
const volatile __u32 remember = 0; /* rl_copied is in use: the copy fills it, the drain heeds it */
const volatile __u32 guarded = 1; /* somebody else may want the same entry meanwhile: take its lock */
const volatile __u32 shape = 0; /* which no-ops are in it: see SHAPED */
const volatile struct rl_table table = {};

/*
 * A no-op that only some shapes of this program have; user space tries the next shape where the x86 JIT compiler ends
 * with "bpf_jit: fatal error" (ENOTSUPP): the lengths of jumps had not settled. That was so for one table in 30 until
 * the branches in front of rl_build() and of the look-up stood here: switched off, they are folded away, but clang lays
 * the code around them out otherwise. Since then no table was seen to fail (1,900 loads).
 */
#define SHAPED(bit)                                                                                                    \
	do {                                                                                                           \
		if (shape & (1u << (bit))) {                                                                           \
			__u64 nothing;                                                                                 \
			asm volatile("%0 = 0x100000000 ll" : "=r"(nothing));                                           \
		}                                                                                                      \
	} while (0)

struct keys {
	__u8 bytes[MIGRATE_PIECE + RL_KEY_MAX];
};

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

/* Old keys that were copied ahead: one of them that the new map has no more was deleted there, and stays so. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} rl_copied SEC(".maps");

/* Which entries to move, one behind the other; several pieces. User space writes them where they lie. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct keys);
} rl_keys SEC(".maps");

/* What this CPU did; one writer a CPU. Read from user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct migrate_result);
} results SEC(".maps");

struct run {
	struct migrate_run asked;
	__u32 index;
	struct keys *keys;
	struct rl_scratch *scratch;
	struct migrate_result *result;
};

static __always_inline void *find(struct run *run, void *map, const void *key)
{
	if (table.per_cpu && run->asked.remote)
		return bpf_map_lookup_percpu_elem(map, key, run->asked.remote - 1);
	return bpf_map_lookup_elem(map, key);
}

/* Insert what was built. Another CPU's value cannot be inserted: its entry is, and the value merged. */
static __always_inline int insert(struct run *run, const void *new_key, int copied)
{
	struct rl_scratch *scratch = run->scratch;

	if (slots || copied || pass == MIGRATE_CARRY)
		return -EEXIST;
	if (table.per_cpu && run->asked.remote) {
		__u32 zero = 0;
		struct rl_scratch *other = bpf_map_lookup_percpu_elem(&rl_scratch, &zero, run->asked.remote - 1);
		int err;

		if (!other)
			return -EEXIST;
		rl_zero(other->value, new_value_size);
		err = bpf_map_update_elem(&rl_to, new_key, other->value, BPF_NOEXIST);
		return err ? err : -EEXIST;
	}
	return bpf_map_update_elem(&rl_to, new_key, scratch->value, BPF_NOEXIST);
}

/* How what is there already is treated. */
static __always_inline int how_to_merge(void)
{
	if (pass == MIGRATE_COPY)
		return RL_UNUSED;
	if (pass == MIGRATE_LATE)
		return RL_LATE;
	if (table.per_cpu && !slots)
		return RL_PER_CPU;
	return slots ? RL_SLOT : RL_EXISTING;
}

/*
 * Whether a trie that no program uses holds this very prefix: it refuses to have it twice. Between two such answers
 * a look-up finds that entry, and not one that covers it.
 */
static __always_inline int holds(struct run *run, void *map, const void *key)
{
	int err = bpf_map_update_elem(map, key, run->scratch->value, BPF_NOEXIST);

	if (!err)
		bpf_map_delete_elem(map, key);
	else if (err != -EEXIST && err != -ENOSPC)
		run->result->failed++;
	return err == -EEXIST;
}

/* An entry, or one CPU's value, that has no place in the new map. `forgets`: nobody else has to see it any more. */
static __always_inline void leave_out(struct run *run, const void *key, __u64 *unfit, int forgets)
{
	if (!lossy)
		(*unfit)++;
	else if (pass == MIGRATE_COPY || pass == MIGRATE_LATE)
		return;
	else if (!forgets)
		run->result->left_out += unfit == &run->result->unfit;
	else if (!bpf_map_delete_elem(&rl_from, key))
		run->result->left_out++;
}

static __always_inline void move(struct run *run, const void *key, const void *new_key)
{
	struct rl_scratch *scratch = run->scratch;
	void *there, *old;
	int err, copied;

	SHAPED(0);
	if (trie && pass == MIGRATE_DRAIN && !holds(run, &rl_from, key))
		return;
	old = find(run, &rl_from, key);
	if (!old)
		return; /* deleted, or taken over, meanwhile */
	if (trie && pass == MIGRATE_DRAIN && !holds(run, &rl_from, key))
		return;
	if (!rl_fits(table.value, RL_RULES, table.value_rules, old)) {
		leave_out(run, key, &run->result->unfit, pass == MIGRATE_DRAIN);
		return;
	}
	if (pass == MIGRATE_CHECK)
		return;
	SHAPED(1);
	rl_build(table.value, table.value_rules, old, scratch->value, new_value_size, pass != MIGRATE_COPY);
	copied = remember && pass != MIGRATE_COPY && bpf_map_lookup_elem(&rl_copied, key);
	SHAPED(2);
	err = insert(run, new_key, copied);
	if (!err) {
		run->result->inserted++;
		goto moved;
	}
	SHAPED(3);
	there = err == -EEXIST ? find(run, &rl_to, new_key) : NULL;
	if (trie && there) {
		err = insert(run, new_key, copied);
		if (!err) {
			run->result->inserted++;
			goto moved;
		}
		there = err == -EEXIST ? there : NULL; /* else it may be one that covers what was deleted meanwhile */
	}
	if (!there && copied)
		goto moved; /* the new program deleted it: what the old one counted goes with it */
	if (!there) {
		if (pass != MIGRATE_COPY)
			rl_put_back(table.value, table.value_rules, old, scratch->value);
		if (pass != MIGRATE_CARRY)
			run->result->failed++;
		return;
	}
	if (pass != MIGRATE_COPY || slots || table.per_cpu)
		rl_merge(table.value, table.value_rules, scratch->value, there, how_to_merge());
	run->result->merged++;
	SHAPED(5);
moved:
	if (pass == MIGRATE_DRAIN)
		bpf_map_delete_elem(&rl_from, key);
	if (remember && pass == MIGRATE_COPY && bpf_map_update_elem(&rl_copied, key, &(__u32){1}, BPF_ANY))
		run->result->failed++;
}

/* NULL when the lock was not to be had. Any other pointer where none is needed. */
static __always_inline __u64 *lock_entry(struct run *run, const void *new_key)
{
	__u32 slot = guarded ? rl_hash(new_key, new_key_size) & (RL_LOCKS - 1) : 0;
	__u64 *lock = bpf_map_lookup_elem(&rl_locks, &slot);

	if (!guarded || !lock || rl_lock(lock))
		return lock;
	run->result->lock_failed++;
	return NULL;
}

static __always_inline void visit_key(struct run *run, const void *key)
{
	struct rl_scratch *scratch = run->scratch;
	const void *new_key = key;
	__u64 *lock;

	if (table.key_rules) {
		rl_copy_key(scratch->key, key, key_size);
		SHAPED(4);
		if (!rl_other_key(table.key, table.key_rules, scratch->key, scratch->other)) {
			leave_out(run, key, &run->result->unfit_keys, pass == MIGRATE_DRAIN || run->asked.forget);
			return;
		}
		new_key = scratch->other;
	}
	lock = lock_entry(run, new_key);
	if (!lock)
		return;
	if (run->asked.forget)
		bpf_map_delete_elem(&rl_from, key);
	else
		move(run, key, new_key);
	if (guarded)
		rl_unlock(lock);
	run->result->visited++;
}

/* The i-th key of the piece, NULL behind the last. Each CPU begins elsewhere, so that not all want the same entry. */
static __always_inline const void *key_of(struct run *run, __u32 i)
{
	__u64 at = (__u64)i + run->asked.start; /* in 32 bits, Linux 6.1 forgets the bound below */

	if (i >= run->asked.count)
		return NULL;
	if (at >= run->asked.count)
		at -= run->asked.count;
	at *= key_size;
	return at > MIGRATE_PIECE ? NULL : run->keys->bytes + at;
}

/* Some look-ups whose answers nobody needs yet: what the inserts will read is in the cache then. */
static long touch(__u32 group, struct run *run)
{
	for (__u32 i = 0; i < GROUP; i++) {
		const void *key = key_of(run, group * GROUP + i);

		if (!key)
			return 1;
		bpf_map_lookup_elem(&rl_to, key);
	}
	return 0;
}

static long visit(__u32 i, struct run *run)
{
	const void *key = key_of(run, i);

	if (!key)
		return 1;
	visit_key(run, key);
	return 0;
}

static long visit_slot(__u32 i, struct run *run)
{
	run->index = run->asked.start + i;
	visit_key(run, &run->index);
	return 0;
}

static __always_inline void visit_all(struct run *run)
{
	__u32 groups = (run->asked.count + GROUP - 1) / GROUP;

	if (slots) {
		bpf_loop(run->asked.count, visit_slot, run, 0);
		return;
	}
	if (pass != MIGRATE_CHECK && !table.key_rules && !trie)
		bpf_loop(groups, touch, run, 0);
	bpf_loop(run->asked.count, visit, run, 0);
}

static __always_inline __u64 stuck(const struct migrate_result *result)
{
	return result->failed + result->unfit + result->lock_failed + result->unfit_keys;
}

/* XDP_PASS when all of it moved, XDP_DROP when something stayed. */
SEC("xdp")
int migrate(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct migrate_run *asked = (void *)(long)ctx->data;
	struct run run = {};
	__u32 zero = 0;
	__u64 before;

	if ((void *)(asked + 1) > end)
		return XDP_ABORTED;
	run.asked = *asked;
	run.keys = bpf_map_lookup_elem(&rl_keys, &run.asked.slot);
	run.scratch = bpf_map_lookup_elem(&rl_scratch, &zero);
	run.result = bpf_map_lookup_elem(&results, &zero);
	if (!run.keys || !run.scratch || !run.result)
		return XDP_ABORTED;
	before = stuck(run.result);
	visit_all(&run);
	return stuck(run.result) == before ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
