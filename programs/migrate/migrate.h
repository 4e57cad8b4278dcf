/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the migration program and reloader both see. */
#ifndef MIGRATE_H
#define MIGRATE_H

#include <linux/types.h>

enum migrate_pass {
	MIGRATE_COPY,  /* existence and copied fields only; counters stay where they are */
	MIGRATE_DRAIN, /* counters move, and the old entry goes */
	MIGRATE_MERGE, /* counters move, the old entry stays: per-CPU maps and arrays */
};

struct migrate_result {
	__u64 visited;
	__u64 inserted;
	__u64 merged;
	__u64 failed;	   /* not moved: the new map refused it; counters were put back */
	__u64 unfit;	   /* not moved: a value does not fit its narrowed field */
	__u64 lock_failed; /* not moved: somebody held the lock too long */
};

#endif
