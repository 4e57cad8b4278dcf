/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The calls of reloader_state.h as bare map helpers: what a program that knows nothing of reloader does. */
#ifndef PLAIN_CALLS_H
#define PLAIN_CALLS_H

#define RELOADER_STATE(name) struct name##_is_plain

#define state_get(name, k) ((typeof(name.value))bpf_map_lookup_elem(&name, k))
#define state_get_or_create(name, k, first) ((typeof(name.value))plain_get_or_create(&name, k, first))
#define state_delete(name, k) bpf_map_delete_elem(&name, k)

static __always_inline void *plain_get_or_create(void *map, const void *key, const void *first)
{
	void *found = bpf_map_lookup_elem(map, key);

	if (found)
		return found;
	bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

#endif
