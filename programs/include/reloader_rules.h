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
	RL_CONST = 7,  /* imm itself */
	RL_EXPECT = 8, /* of keys: where the field at src_off is not imm, there is no other key */
};

enum rl_flag {
	RL_SIGNED = 1,
	RL_CHECKED = 2, /* the value must fit into dst_size; a SUM's always must */
};

struct rl_rule {
	__u16 src_off;
	__u16 dst_off;
	__u8 src_size;
	__u8 dst_size;
	__u8 op;
	__u8 flags;
	__u64 imm; /* of CONST and EXPECT the value; else how many more such fields lie behind the first */
};

struct rl_table {
	__u32 mode;	   /* enum rl_mode */
	__u32 value_rules; /* used slots of value[] */
	__u32 key_rules;   /* used slots of key[]; 0: keys are the same bytes */
	__u32 per_cpu;	   /* the maps are per CPU: a field that is zero counts as not written yet */
	struct rl_rule value[RL_RULES];
	struct rl_rule key[RL_KEY_RULES]; /* of the direction that is needed: see rl_other_key */
};

struct rl_scratch {
	__u8 value[RL_VALUE_MAX];
	__u8 key[RL_KEY_MAX];
	__u8 other[RL_KEY_MAX];
};

/* What a lock word protects: the keys that hash to it, while an entry moves. A bridge and the drain beside it share them. */
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

/* Whether the machine has an instruction for it: whole words, where they belong. */
static __always_inline int rl_is_atomic(__u32 off, __u32 size)
{
	return (size == 8 || size == 4) && !(off & (size - 1));
}

/* Exchange a counter for zero. `off` is its place in the value. */
static __always_inline __u64 rl_take_count(void *value, __u32 off, __u32 size, int is_signed)
{
	void *p = value + off;
	__u64 was;

	if (!rl_is_atomic(off, size)) {
		was = rl_read(p, size, is_signed);
		rl_write(p, size, 0);
		return was;
	}
	if (size == 8)
		return __sync_lock_test_and_set((__u64 *)p, 0);
	was = __sync_lock_test_and_set((__u32 *)p, 0);
	return is_signed ? (__u64)(__s64)(__s32)was : was;
}

static __always_inline void rl_add_count(void *value, __u32 off, __u32 size, __u64 v)
{
	void *p = value + off;

	if (!rl_is_atomic(off, size))
		rl_write(p, size, rl_read(p, size, 0) + v);
	else if (size == 8)
		__sync_fetch_and_add((__u64 *)p, v);
	else
		__sync_fetch_and_add((__u32 *)p, (__u32)v);
}

/* How many fields in a row a rule is for. */
static __always_inline __u32 rl_run(const volatile struct rl_rule *rule)
{
	return rule->op == RL_CONST || rule->op == RL_EXPECT ? 1 : (__u32)rule->imm + 1;
}

/* Whether every narrowed field's value fits its new size. */
static __always_inline int rl_fits(const volatile struct rl_rule *rules, __u32 most, __u32 count, const void *src)
{
	for (__u32 i = 0; i < most; i++) {
		if (i >= count)
			break;
		__u32 wide = rules[i].src_size, out = rules[i].dst_size, from = rules[i].src_off, run = rl_run(&rules[i]);
		__u32 is_signed = rules[i].flags & RL_SIGNED, op = rules[i].op;

		if (op == RL_CONST || op == RL_EXPECT || out >= wide || !(op == RL_SUM || rules[i].flags & RL_CHECKED))
			continue;
		for (__u32 j = 0; j < RL_VALUE_MAX; j++) {
			if (j >= run)
				break;
			__u64 v = rl_read(src + from + j * wide, wide, is_signed);
			__u32 shift = 64 - 8 * out;

			if ((is_signed ? (__u64)((__s64)(v << shift) >> shift) : v << shift >> shift) != v)
				return 0;
		}
	}
	return 1;
}

static __always_inline void rl_zero(void *p, __u32 size)
{
	for (__u32 i = 0; i < RL_VALUE_MAX; i += 8) {
		if (i >= size)
			break;
		*(volatile __u64 *)(p + i) = 0;
	}
}

/*
 * Make dst, of `size` bytes, from src; what no rule names becomes zero. `take`: counters are moved; otherwise
 * they stay and dst starts at zero.
 */
static __always_inline void rl_build(const volatile struct rl_rule *rules, __u32 count, void *src, void *dst,
				     __u32 size, int take)
{
	rl_zero(dst, size);
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		__u32 from = rules[i].src_off, to = rules[i].dst_off, wide = rules[i].src_size, out = rules[i].dst_size;
		__u32 is_signed = rules[i].flags & RL_SIGNED, op = rules[i].op, run = rl_run(&rules[i]);
		__u64 v = rules[i].imm;

		for (__u32 j = 0; j < RL_VALUE_MAX; j++) {
			if (j >= run)
				break;
			if (op == RL_SUM)
				v = take ? rl_take_count(src, from + j * wide, wide, is_signed) : 0;
			else if (op != RL_CONST)
				v = rl_read(src + from + j * wide, wide, is_signed);
			rl_write(dst + to + j * out, out, v);
		}
	}
}

/* Give counters that were taken back to where they came from. */
static __always_inline void rl_put_back(const volatile struct rl_rule *rules, __u32 count, void *src, const void *dst)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		__u32 from = rules[i].src_off, to = rules[i].dst_off, wide = rules[i].src_size, out = rules[i].dst_size;
		__u32 is_signed = rules[i].flags & RL_SIGNED, run = rl_run(&rules[i]);

		if (rules[i].op != RL_SUM)
			continue;
		for (__u32 j = 0; j < RL_VALUE_MAX; j++) {
			if (j >= run)
				break;
			rl_add_count(src, from + j * wide, wide, rl_read(dst + to + j * out, out, is_signed));
		}
	}
}

/* One step of max or min, by compare-and-swap where there is an instruction for it. */
static __always_inline void rl_extreme(void *value, __u32 off, __u32 size, __u64 v, int is_signed, int largest)
{
	void *p = value + off;

	for (int i = 0; i < 8; i++) {
		__u64 now = rl_read(p, size, is_signed);
		int above = is_signed ? (__s64)v > (__s64)now : v > now;

		if (v == now || above != largest)
			return;
		if (!rl_is_atomic(off, size)) {
			rl_write(p, size, v);
			return;
		}
		if (size == 8 && __sync_val_compare_and_swap((__u64 *)p, now, v) == now)
			return;
		if (size == 4 && __sync_val_compare_and_swap((__u32 *)p, (__u32)now, (__u32)v) == (__u32)now)
			return;
	}
}

static __always_inline void rl_or(void *value, __u32 off, __u32 size, __u64 v)
{
	void *p = value + off;

	if (!rl_is_atomic(off, size))
		rl_write(p, size, rl_read(p, size, 0) | v);
	else if (size == 8)
		__sync_fetch_and_or((__u64 *)p, v);
	else
		__sync_fetch_and_or((__u32 *)p, (__u32)v);
}

enum rl_how {
	RL_EXISTING, /* an entry that programs made or use: its own fields win where the rule says so */
	RL_SLOT,     /* the same, but a field that is zero counts as not written yet */
	RL_PER_CPU,  /* the same, and so it does on the other side: a CPU may never have met the old entry */
	RL_UNUSED,   /* nobody uses it yet: all is written over */
	RL_LATE,     /* converted before: counters only */
};

/* Merge a built entry into one that is there already; both have the new layout. */
static __always_inline void rl_merge(const volatile struct rl_rule *rules, __u32 count, const void *built, void *there,
				     int how)
{
	for (__u32 i = 0; i < RL_RULES; i++) {
		if (i >= count)
			break;
		__u32 to = rules[i].dst_off, size = rules[i].dst_size;
		__u32 is_signed = rules[i].flags & RL_SIGNED, op = rules[i].op, run = rl_run(&rules[i]);

		if (how == RL_LATE && op != RL_SUM)
			continue;
		for (__u32 j = 0; j < RL_VALUE_MAX; j++) {
			if (j >= run)
				break;
			__u32 at = to + j * size;
			__u64 v = rl_read(built + at, size, is_signed);

			if (how == RL_UNUSED || (op == RL_KEEP_OLD && (how != RL_PER_CPU || v)))
				rl_write(there + at, size, v);
			else if (op == RL_SUM)
				rl_add_count(there, at, size, v);
			else if ((how == RL_SLOT || how == RL_PER_CPU) && !rl_read(there + at, size, 0))
				rl_write(there + at, size, v);
			else if (op == RL_MAX || op == RL_MIN)
				rl_extreme(there, at, size, v, is_signed, op == RL_MAX);
			else if (op == RL_OR)
				rl_or(there, at, size, v);
		}
	}
}

/*
 * The other map's key, of the same entry; `key` must be no stack memory, which has to be read aligned. False
 * when there can be none: a field does not fit, or is not what all converted keys have there.
 */
static __always_inline int rl_other_key(const volatile struct rl_rule *rules, __u32 count, const void *key, void *other)
{
	rl_zero(other, RL_KEY_MAX);
	if (!rl_fits(rules, RL_KEY_RULES, count, key))
		return 0;
	for (__u32 i = 0; i < RL_KEY_RULES; i++) {
		if (i >= count)
			break;
		__u32 from = rules[i].src_off, to = rules[i].dst_off, wide = rules[i].src_size, out = rules[i].dst_size;
		__u32 is_signed = rules[i].flags & RL_SIGNED, op = rules[i].op, run = rl_run(&rules[i]);
		__u64 v = rules[i].imm;

		if (op == RL_EXPECT) {
			if (rl_read(key + from, wide, is_signed) != v)
				return 0;
			continue;
		}
		for (__u32 j = 0; j < RL_KEY_MAX; j++) {
			if (j >= run)
				break;
			if (op != RL_CONST)
				v = rl_read(key + from + j * wide, wide, is_signed);
			rl_write(other + to + j * out, out, v);
		}
	}
	return 1;
}

/* Keys may lie on the stack, which has to be read aligned: hence bytes, which the compiler joins where it can. */
static __always_inline __u64 rl_hash(const __u8 *key, __u32 size)
{
	__u64 h = size;
	__u32 word;

	for (__u32 i = 0; i + 4 <= RL_KEY_MAX; i += 4) {
		if (i + 4 > size)
			break;
		__builtin_memcpy(&word, key + i, 4);
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	for (__u32 i = 0; i < 3; i++) {
		if ((size & ~3U) + i >= size)
			break;
		h = (h ^ *(const volatile __u8 *)(key + (size & ~3U) + i)) * 0x9e3779b97f4a7c15ULL;
	}
	return h ^ (h >> 32);
}

static __always_inline void rl_copy_key(__u8 *to, const __u8 *from, __u32 size)
{
	for (__u32 i = 0; i < RL_KEY_MAX; i++) {
		if (i >= size)
			break;
		to[i] = *(const volatile __u8 *)(from + i);
	}
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
