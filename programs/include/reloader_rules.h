/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The rule table and its interpreter: how an entry of one layout becomes an entry of another.
 *
 * A table is frozen .rodata, so the verifier knows every rule and folds the walk over it into straight code.
 * Taking an entry moves its counters: each is exchanged for zero, so that a count is in one map or in the
 * other, never in both and never in none. Shared by reloader_state.h and programs/migrate.
 */
#ifndef RELOADER_RULES_H
#define RELOADER_RULES_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define RL_RULES 64
#define RL_KEY_RULES 16
#define RL_KEY_MAX 256	  /* bytes */
#define RL_VALUE_MAX 4096 /* bytes */
#define RL_LOCKS 4096
#define RL_SPINS (1 << 20)

enum rl_mode {
	RL_CLEAN,  /* plain map calls */
	RL_BRIDGE, /* on a miss, take the entry over from the old map */
};

enum rl_op {
	RL_COPY = 1,	 /* the first to write wins: an entry that is there already keeps its own */
	RL_KEEP_OLD = 2, /* the old entry's value replaces what is there */
	RL_SUM = 3,	 /* moved: exchanged for zero, added where an entry is there already */
	RL_MAX = 4,
	RL_MIN = 5,
	RL_OR = 6,
	RL_CONST = 7,
};

enum rl_flag {
	RL_SIGNED = 1,
	RL_CHECKED = 2, /* the value must fit into dst_size */
};

struct rl_rule {
	__u16 src_off;
	__u16 dst_off;
	__u8 src_size;
	__u8 dst_size;
	__u8 op;
	__u8 flags;
	__u64 imm;
};

struct rl_table {
	__u32 mode;	   /* enum rl_mode */
	__u32 value_rules; /* used slots of value[] */
	__u32 key_rules;   /* used slots of key[]; 0: keys are the same bytes */
	__u32 per_cpu;	   /* the maps are per CPU: a slot that is all zeros is fresh */
	struct rl_rule value[RL_RULES];
	struct rl_rule key[RL_KEY_RULES]; /* of the direction that is needed: see old_key / new_key */
};

struct rl_scratch {
	__u8 value[RL_VALUE_MAX];
	__u8 key[RL_KEY_MAX];
	__u8 other[RL_KEY_MAX];
};

static __always_inline __u64 rl_read(const void *p, __u32 size, int is_signed)
{
	switch (size) {
	case 1:
		return is_signed ? (__u64)(__s64)*(const volatile __s8 *)p : *(const volatile __u8 *)p;
	case 2:
		return is_signed ? (__u64)(__s64)*(const volatile __s16 *)p : *(const volatile __u16 *)p;
	case 4:
		return is_signed ? (__u64)(__s64)*(const volatile __s32 *)p : *(const volatile __u32 *)p;
	default:
		return *(const volatile __u64 *)p;
	}
}

static __always_inline void rl_write(void *p, __u32 size, __u64 v)
{
	switch (size) {
	case 1:
		*(volatile __u8 *)p = v;
		break;
	case 2:
		*(volatile __u16 *)p = v;
		break;
	case 4:
		*(volatile __u32 *)p = v;
		break;
	default:
		*(volatile __u64 *)p = v;
	}
}

/* Exchange a counter for zero; only whole words can be taken atomically. */
static __always_inline __u64 rl_take_count(void *p, __u32 size, int is_signed)
{
	if (size == 8)
		return __sync_lock_test_and_set((__u64 *)p, 0);
	__u32 was = __sync_lock_test_and_set((__u32 *)p, 0);

	return is_signed ? (__u64)(__s64)(__s32)was : was;
}

static __always_inline void rl_add_count(void *p, __u32 size, __u64 v)
{
	if (size == 8)
		__sync_fetch_and_add((__u64 *)p, v);
	else
		__sync_fetch_and_add((__u32 *)p, (__u32)v);
}

/* Whether every narrowed field's value fits its new size. */
static __always_inline int rl_fits(const volatile struct rl_rule *rules, __u32 count, const void *src)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		if (!(rules[i].flags & RL_CHECKED))
			continue;
		__u32 shift = 64 - 8 * rules[i].dst_size;
		__u64 v = rl_read(src + rules[i].src_off, rules[i].src_size, rules[i].flags & RL_SIGNED);
		__u64 kept = rules[i].flags & RL_SIGNED ? (__u64)((__s64)(v << shift) >> shift) : v << shift >> shift;

		if (kept != v)
			return 0;
	}
	return 1;
}

/* Make dst from src. `take`: counters are moved; otherwise they stay and dst starts at zero. */
static __always_inline void rl_build(const volatile struct rl_rule *rules, __u32 count, void *src, void *dst, int take)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		__u32 from = rules[i].src_off, to = rules[i].dst_off;
		__u32 wide = rules[i].src_size, out = rules[i].dst_size;
		int is_signed = rules[i].flags & RL_SIGNED;
		__u64 v;

		if (rules[i].op == RL_CONST)
			v = rules[i].imm;
		else if (rules[i].op != RL_SUM)
			v = rl_read(src + from, wide, is_signed);
		else
			v = take ? rl_take_count(src + from, wide, is_signed) : 0;
		rl_write(dst + to, out, v);
	}
}

/* Give counters that were taken back to where they came from. */
static __always_inline void rl_put_back(const volatile struct rl_rule *rules, __u32 count, void *src, const void *dst)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		if (rules[i].op != RL_SUM)
			continue;
		rl_add_count(src + rules[i].src_off, rules[i].src_size,
			     rl_read(dst + rules[i].dst_off, rules[i].dst_size, rules[i].flags & RL_SIGNED));
	}
}

/* One step of max or min: 8 bytes, by compare-and-swap. */
static __always_inline void rl_extreme(__u64 *p, __u64 v, int is_signed, int largest)
{
	for (int i = 0; i < 8; i++) {
		__u64 now = *(volatile __u64 *)p;
		int above = is_signed ? (__s64)v > (__s64)now : v > now;

		if (v == now || above != largest)
			return;
		if (__sync_val_compare_and_swap(p, now, v) == now)
			return;
	}
}

/* Merge a built entry into one that is there already; both have the new layout. */
static __always_inline void rl_merge(const volatile struct rl_rule *rules, __u32 count, const void *built, void *there,
				     int fresh)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		__u32 at = rules[i].dst_off, size = rules[i].dst_size;
		int is_signed = rules[i].flags & RL_SIGNED;
		__u32 op = rules[i].op;

		if (op == RL_SUM)
			rl_add_count(there + at, size, rl_read(built + at, size, is_signed));
		else if (op == RL_KEEP_OLD || (fresh && (op == RL_COPY || op == RL_CONST)))
			rl_write(there + at, size, rl_read(built + at, size, 0));
		else if (op == RL_MAX || (op == RL_MIN && !fresh))
			rl_extreme(there + at, rl_read(built + at, 8, 0), is_signed, op == RL_MAX);
		else if (op == RL_MIN)
			rl_write(there + at, 8, rl_read(built + at, 8, 0));
		else if (op == RL_OR && size == 8)
			__sync_fetch_and_or((__u64 *)(there + at), rl_read(built + at, 8, 0));
		else if (op == RL_OR && size == 4)
			__sync_fetch_and_or((__u32 *)(there + at), (__u32)rl_read(built + at, 4, 0));
	}
}

/* Whether every field a rule writes is zero: a slot of this CPU that nobody has written yet. */
static __always_inline int rl_is_zero(const volatile struct rl_rule *rules, __u32 count, const void *there)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		if (rl_read(there + rules[i].dst_off, rules[i].dst_size, 0))
			return 0;
	}
	return 1;
}

/* The other map's key. */
static __always_inline void rl_other_key(const volatile struct rl_rule *rules, __u32 count, const void *key, void *other)
{
	for (__u32 i = 0; i < RL_KEY_RULES; i++) {
		if (i >= count)
			break;
		__u64 v = rules[i].imm;

		if (rules[i].op != RL_CONST)
			v = rl_read(key + rules[i].src_off, rules[i].src_size, rules[i].flags & RL_SIGNED);
		rl_write(other + rules[i].dst_off, rules[i].dst_size, v);
	}
}

static __always_inline __u64 rl_hash(const __u8 *key, __u32 size)
{
	__u64 h = size;

	for (__u32 i = 0; i + 4 <= RL_KEY_MAX; i += 4) {
		if (i + 4 > size)
			break;
		h = (h ^ *(const volatile __u32 *)(key + i)) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	for (__u32 i = 0; i < 3; i++) {
		if ((size & ~3U) + i >= size)
			break;
		h = (h ^ *(const volatile __u8 *)(key + (size & ~3U) + i)) * 0x9e3779b97f4a7c15ULL;
	}
	return h ^ (h >> 32);
}

struct rl_wait {
	__u64 *word;
	__u32 got;
};

static long rl_try(__u32 i, struct rl_wait *wait)
{
	if (__sync_val_compare_and_swap(wait->word, 0, 1))
		return 0;
	wait->got = 1;
	return 1;
}

/* True when held. Its holder runs with bottom halves off and never sleeps, so the wait is short; it is bounded all the same. */
static __always_inline int rl_lock(__u64 *word)
{
	struct rl_wait wait = {.word = word};

	if (!__sync_val_compare_and_swap(word, 0, 1))
		return 1;
	bpf_loop(RL_SPINS, rl_try, &wait, 0);
	return wait.got;
}

static __always_inline void rl_unlock(__u64 *word)
{
	__sync_lock_test_and_set(word, 0);
}

#endif
