/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * State in every map type that can be converted. A version brings struct key, mac_key, state, wide and
 * locked, ENTRIES and its global variables before it includes this, and reloader_state.h or plain_calls.h.
 */
#ifndef CONV_H
#define CONV_H

/* Each type with the same key and value. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct state);
} hash SEC(".maps");
RELOADER_STATE(hash);

/* Elements are allocated one by one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct state);
} sparse SEC(".maps");
RELOADER_STATE(sparse);

/* Each CPU has values of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct state);
} percpu_hash SEC(".maps");
RELOADER_STATE(percpu_hash);

/* The kernel makes room by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct state);
} lru_hash SEC(".maps");
RELOADER_STATE(lru_hash);

/* Both. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct state);
} lru_percpu_hash SEC(".maps");
RELOADER_STATE(lru_percpu_hash);

/* Every entry is there from the start. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct state);
} array SEC(".maps");
RELOADER_STATE(array);

/* The same for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct state);
} percpu_array SEC(".maps");
RELOADER_STATE(percpu_array);

/* A key of bytes, which may lie anywhere on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct mac_key);
	__type(value, struct state);
} macs SEC(".maps");
RELOADER_STATE(macs);

/* Values far beyond the BPF stack. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct wide);
} wide SEC(".maps");
RELOADER_STATE(wide);

/* Fields beside a lock that only the kernel writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, struct locked);
} locked SEC(".maps");
RELOADER_STATE(locked);

#define TOUCH(name, k)                                                                                                 \
	do {                                                                                                           \
		typeof(name.value) found = state_get(name, k);                                                         \
                                                                                                                       \
		if (!found)                                                                                            \
			found = state_get_or_create(name, k, &first);                                                  \
		if (found)                                                                                             \
			__sync_fetch_and_add(&found->packets, 1);                                                      \
	} while (0)

SEC("xdp")
int touch_all(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct locked first_locked = {};
	struct state first = {};
	struct mac_key mac = ZONED;
	struct key key = ZONED;
	struct wide *found;
	__u32 slot = 0;

	if (data + 14 > end)
		return XDP_DROP;
	__builtin_memcpy(mac.mac, data, sizeof(mac.mac));
	__sync_fetch_and_add(&sec_seen, 1);
	__sync_fetch_and_add(&sec_init, 1);
	TOUCH(hash, &key);
	TOUCH(sparse, &key);
	TOUCH(percpu_hash, &key);
	TOUCH(lru_hash, &key);
	TOUCH(lru_percpu_hash, &key);
	TOUCH(array, &slot);
	TOUCH(percpu_array, &slot);
	TOUCH(macs, &mac);
	state_delete(macs, &mac);
	if (!state_get(locked, &slot))
		state_get_or_create(locked, &slot, &first_locked);
	found = state_get(wide, &slot);
	if (found)
		__sync_fetch_and_add(&found->packets, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";

#endif
