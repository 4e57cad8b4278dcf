/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a careful C program does from user space: read a map in batches, convert, write the new one in batches,
 * each of its threads a batch at a time. `batch_convert OLD_FD NEW_FD ENTRIES THREADS`, descriptors inherited;
 * prints the nanoseconds it took. Nobody may write to either map meanwhile: unlike reloader's, this way loses
 * what they write.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCH 16384
#define THREADS 64

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

struct batch {
	struct key keys[BATCH];
	struct old_flow old[BATCH];
	struct new_flow new[BATCH];
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int old_fd, new_fd;
static long long moved;
static __u32 token; /* where the next batch begins */
static int begun, over, failed;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The entries of the next batch, 0 when there are no more. */
static __u32 read_in(struct batch *batch)
{
	union bpf_attr attr = {};

	pthread_mutex_lock(&turn);
	if (!over) {
		attr.batch.map_fd = old_fd;
		attr.batch.in_batch = begun ? (__u64)(unsigned long)&token : 0;
		attr.batch.out_batch = (__u64)(unsigned long)&token;
		attr.batch.keys = (__u64)(unsigned long)batch->keys;
		attr.batch.values = (__u64)(unsigned long)batch->old;
		attr.batch.count = BATCH;
		if (syscall(__NR_bpf, BPF_MAP_LOOKUP_BATCH, &attr, sizeof(attr))) {
			over = 1;
			if (errno != ENOENT)
				perror("lookup"), failed = 1, attr.batch.count = 0;
		}
		begun = 1;
		moved += attr.batch.count;
	}
	pthread_mutex_unlock(&turn);
	return attr.batch.count;
}

static int write_out(struct batch *batch, __u32 count)
{
	struct old_flow *old = batch->old;
	union bpf_attr attr = {};

	for (__u32 i = 0; i < count; i++)
		batch->new[i] = (struct new_flow){.bytes = old[i].bytes, .first_ns = 777, .packets = old[i].packets};
	attr.batch.map_fd = new_fd;
	attr.batch.keys = (__u64)(unsigned long)batch->keys;
	attr.batch.values = (__u64)(unsigned long)batch->new;
	attr.batch.count = count;
	return syscall(__NR_bpf, BPF_MAP_UPDATE_BATCH, &attr, sizeof(attr));
}

static void *convert(void *none)
{
	struct batch *batch = malloc(sizeof(*batch));
	__u32 count;

	while (batch && (count = read_in(batch)))
		if (write_out(batch, count)) {
			perror("update");
			over = failed = 1;
		}
	free(batch);
	return none;
}

int main(int argc, char **argv)
{
	long long started = now();
	pthread_t others[THREADS];
	int threads, i;

	if (argc != 5)
		return 2;
	old_fd = atoi(argv[1]);
	new_fd = atoi(argv[2]);
	threads = atoi(argv[4]) < THREADS ? atoi(argv[4]) : THREADS;
	for (i = 1; i < threads; i++)
		if (pthread_create(&others[i], NULL, convert, NULL))
			return 3;
	convert(NULL);
	for (i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	if (failed || moved != atoll(argv[3]))
		return fprintf(stderr, "%lld entries moved\n", moved), 1;
	printf("%lld\n", now() - started);
	return 0;
}
