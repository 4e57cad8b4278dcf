/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a careful C program does from user space: read a map in batches, convert, write the new one in batches.
 * `batch_convert OLD_FD NEW_FD ENTRIES`, descriptors inherited; prints the nanoseconds it took. Nobody may
 * write to either map meanwhile: unlike reloader's, this way loses what they write.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCH 65536

struct key {
	unsigned char bytes[16];
};

struct old_flow {
	__u64 packets;
	__u64 bytes;
};

struct new_flow {
	__u64 bytes;
	__u64 first_ns;
	__u64 packets;
	__u64 mark;
};

static struct key keys[BATCH];
static struct old_flow old[BATCH];
static struct new_flow new[BATCH];

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int write_out(int fd, __u32 count)
{
	union bpf_attr attr = {};

	for (__u32 i = 0; i < count; i++)
		new[i] = (struct new_flow){.bytes = old[i].bytes, .first_ns = 777, .packets = old[i].packets};
	attr.batch.map_fd = fd;
	attr.batch.keys = (__u64)(unsigned long)keys;
	attr.batch.values = (__u64)(unsigned long)new;
	attr.batch.count = count;
	return count ? syscall(__NR_bpf, BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr)) : 0;
}

int main(int argc, char **argv)
{
	long long started = now(), moved = 0;
	union bpf_attr attr;
	__u32 token = 0;
	int err = 0;

	if (argc != 4)
		return 2;
	for (int first = 1; !err; first = 0) {
		memset(&attr, 0, sizeof(attr));
		attr.batch.map_fd = atoi(argv[1]);
		attr.batch.in_batch = first ? 0 : (__u64)(unsigned long)&token;
		attr.batch.out_batch = (__u64)(unsigned long)&token;
		attr.batch.keys = (__u64)(unsigned long)keys;
		attr.batch.values = (__u64)(unsigned long)old;
		attr.batch.count = BATCH;
		err = syscall(__NR_bpf, BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr));
		if (err && errno != ENOENT)
			return perror("lookup"), 1;
		if (write_out(atoi(argv[2]), attr.batch.count))
			return perror("update"), 1;
		moved += attr.batch.count;
	}
	if (moved != atoll(argv[3]))
		return fprintf(stderr, "%lld entries moved\n", moved), 1;
	printf("%lld\n", now() - started);
	return 0;
}
