/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Layouts after: fields reordered, added, dropped, renamed, widened, narrowed; longer keys; other sizes. */
#define ENTRIES 1000
#define SLOTS 10
#define ZONED {.zone = 7} /* where converted keys are found */

struct key {
	__u32 zone;
	__u16 port;
	__u8 proto;
	__u8 pad;
	__u32 addr;
	__u32 pad2;
};

struct mac_key {
	__u8 mac[6];
	__u16 zone;
};

struct state {
	__u64 name_after;
	__u64 added;
	__s64 level;
	__u64 hits;
	__s64 balance;
	__u64 packets;
	__u32 bytes;
	__u32 limit;
	__u8 beside;
	__u8 odd;
	__u16 pad2;
	__u32 marks;
	__u64 owner;
	__u64 low;
	__u64 peak;
	__u32 counts[5];
	__s8 drift;
	__u8 pad[3];
};

struct wide {
	__u64 tail;
	__u8 last;
	__u8 payload[4071];
	__u64 packets;
	__u64 more;
};

struct locked {
	__u64 packets;
	__u64 level;
	struct bpf_spin_lock lock;
	__u32 pad;
};

__u32 sec_level;
__u64 added = 1;
__u64 sec_seen;
__u32 sec_tuned = 11;
__u64 sec_init = 100;
