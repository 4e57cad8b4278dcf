// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Values in maps of a map in layout 1, for the kill loop. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct usage {
	__u64 packets;
	__u64 quota;
};

#include "tenants.h"
