// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Constants of many shapes in two sections, as the program sees them: each packet copies their bytes into maps. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

enum mood { MOOD_CALM, MOOD_WILD = 7 };
struct inner { __u16 a; __u16 b; };
struct conf {
	__u32 limit;
	struct inner in;
	union { __u32 whole; __u8 parts[4]; };
	__u8 on : 1, mode : 3, rest : 4;
	__u8 lvl[3];
	char name[8];
	__u64 arr[2];
	enum mood mood;
	__be16 port;
	__u32 addr;
};
struct copy { __u8 bytes[64]; };

const volatile struct conf conf = {
	.limit = 1000, .in = { 11, 22 }, .whole = 0x04030201, .on = 1, .mode = 5, .rest = 9, .lvl = { 7, 8, 9 },
	.name = "orig", .arr = { 1, 2 }, .mood = MOOD_WILD, .port = bpf_htons(443), .addr = 0,
};
const volatile struct inner list[3] = { { 1, 2 }, { 3, 4 }, { 5, 6 } };
const volatile __u16 grid[2][3] SEC(".rodata.more") = { { 1, 2, 3 }, { 4, 5, 6 } };
const volatile struct inner one[1] = { { 1, 2 } };
const volatile char label[16] SEC(".rodata.more") = "default-label";
extern int LINUX_KERNEL_VERSION __kconfig;

/* Which constant → its bytes, as the program had them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, struct copy);
} seen SEC(".maps");
/* Addresses by port, both in network order though their types do not say so. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u16);
	__type(value, __u32);
} byport SEC(".maps");
struct wide_key { __u32 addr; __u16 port; __u16 pad; };
struct wide { __u32 gw; __u16 ports[2]; __u64 hits; };
/* The same inside structs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct wide_key);
	__type(value, struct wide);
} routes SEC(".maps");

#define COPY(INDEX, FROM) do { \
	__u32 index = INDEX; \
	struct copy *to = bpf_map_lookup_elem(&seen, &index); \
	if (to) { \
		_Pragma("unroll") for (unsigned i = 0; i < sizeof(FROM); i++) \
			to->bytes[i] = ((const volatile __u8 *)&FROM)[i]; \
	} \
} while (0)

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u16 port = bpf_htons(443);
	struct wide_key key = {};

	COPY(0, conf);
	COPY(1, list);
	COPY(2, grid);
	COPY(3, label);
	COPY(4, one);
	if (bpf_map_lookup_elem(&byport, &port) && bpf_map_lookup_elem(&routes, &key) && LINUX_KERNEL_VERSION)
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
