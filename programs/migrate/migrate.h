/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the migration program and reloader both see. */
#ifndef MIGRATE_H
#define MIGRATE_H

#include <linux/types.h>

#define MIGRATE_PIECE 65536 /* bytes of keys a run can be given */

enum migrate_pass {
	MIGRATE_CHECK, /* only look whether all values fit */
	MIGRATE_COPY,  /* existence and copied fields only; counters stay where they are */
	MIGRATE_DRAIN, /* counters move, and the old entry goes */
	MIGRATE_MERGE, /* counters move, the old entry stays: per-CPU maps and arrays */
	MIGRATE_LATE,  /* the same, after the commit: only counters, for all else was moved before */
	MIGRATE_CARRY, /* into entries that are there; none is made, none goes */
};

/* The packet of a run. */
struct migrate_run {
	__u32 slot;   /* which piece of rl_keys */
	__u32 count;  /* keys in it */
	__u32 start;  /* of arrays: the first index; else which key of the piece comes first */
	__u32 forget; /* delete these entries, which are in the new map by now */
	__u32 remote; /* 1 + the CPU whose values are meant; 0: this one's */
};

struct migrate_result {
	__u64 visited;
	__u64 inserted;
	__u64 merged;
	__u64 failed;	   /* not moved: the new map refused it; counters were put back */
	__u64 unfit;	   /* not moved: a value does not fit its narrowed field */
	__u64 lock_failed; /* not moved: somebody held the lock too long */
	__u64 unfit_keys;  /* not moved: the new map has no key for it */
	__u64 left_out;	   /* given up for one of these two reasons, as was asked for */
};

#endif
