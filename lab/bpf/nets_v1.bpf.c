// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A trie's values in layout 1, for the kill loop. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct net {
	__u64 packets;
	__u32 owner;
};

#include "nets.h"
