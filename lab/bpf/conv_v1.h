/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Layouts before. */
#define ENTRIES 2000
#define SLOTS 10
#define ZONED {} /* where converted keys are found */

struct key {
	__u32 addr;
	__u16 port;
	__u8 proto;
	__u8 pad;
};

struct mac_key {
	__u8 mac[6];
};

struct state {
	__u64 packets;
	__u32 hits; /* widened */
	__s32 balance;
	__u64 bytes; /* narrowed, with a check */
	__u64 limit; /* likewise, but no count */
	__s16 level; /* widened */
	__u16 dropped;
	__u8 odd; /* a count of one byte */
	__u8 beside;
	__u16 counts[5];
	__u32 marks;
	__u64 name_before;
	__u64 peak;
	__u64 low;
	__u64 owner;
	__s32 drift; /* narrowed, signed */
	__u32 pad;
};

struct wide {
	__u64 packets;
	__u8 payload[4071];
	__u8 last;
	__u64 tail;
	__u64 more;
};

struct locked {
	struct bpf_spin_lock lock;
	__u32 level;
	__u64 packets;
};

__u64 sec_seen;
__u32 sec_level;
__u16 sec_dropped;
__u64 sec_init = 5;
__u32 sec_tuned = 9;
