/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Configuration that changes as a whole: at any packet all of the old one or all of the new one.
 *
 *	struct { __uint(type, BPF_MAP_TYPE_HASH); ... __type(value, struct rule); } blocklist SEC(".maps");
 *	RELOADER_CONFIG(blocklist);
 *
 *	__u32 side = config_side();			once a packet
 *	struct rule *rule = config_get(blocklist, side, &key);
 *
 * The map is one of two sides. To change it, reloader fills a new map of the same shape, puts it on the side that
 * nobody looks at, and flips the side of all maps declared here by one store. A packet that asks for the side once
 * sees maps that belong together, whatever their number; one that asks again may see two generations.
 */
#ifndef RELOADER_CONFIG_H
#define RELOADER_CONFIG_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* The side that packets look at: 0 or 1, for all maps at once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} rl_side SEC(".maps");

/*
 * Declares the two sides of a map; the second stays empty until the first flip.
 */
#define RELOADER_CONFIG(name)                                                                                          \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                              \
		__uint(max_entries, 2);                                                                                \
		__type(key, __u32);                                                                                    \
		__array(values, typeof(name));                                                                         \
	} rl_slots_##name SEC(".maps") = {.values = {&name}}

#define config_get(name, side, k) ((typeof(name.value))rl_config_get(&rl_slots_##name, side, k))

static __always_inline __u32 config_side(void)
{
	__u32 zero = 0, *side = bpf_map_lookup_elem(&rl_side, &zero);

	return side ? *(volatile __u32 *)side : 0;
}

static __always_inline void *rl_config_get(void *slots, __u32 side, const void *key)
{
	void *map = bpf_map_lookup_elem(slots, &side);

	return map ? bpf_map_lookup_elem(map, key) : 0;
}

#endif
