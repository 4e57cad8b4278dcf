// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Functions of the kernel itself: every program here is refused; ../expected.yaml says in which words. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

struct sock_common {
	int skc_family;
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern int bpf_never_was(int value) __ksym __weak;

SEC("xdp")
int kernel_function_argument(struct xdp_md *ctx)
{
	return bpf_task_acquire((void *)ctx) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int kernel_function_refused(struct xdp_md *ctx)
{
	return bpf_sock_destroy((void *)ctx);
}

SEC("xdp")
int kernel_function_missing(struct xdp_md *ctx)
{
	return bpf_never_was(1);
}

SEC("xdp")
int rcu_kept(struct xdp_md *ctx)
{
	bpf_rcu_read_lock();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
