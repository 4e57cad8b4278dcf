// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Control flow, registers and stack: every program here is refused; ../expected.yaml says in which words. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NAKED __attribute__((naked))

SEC("xdp")
int loop_without_end(struct xdp_md *ctx)
{
	volatile int i = 0;

	while (1)
		asm volatile("" ::: "memory");
	return i;
}

SEC("xdp")
int too_many_steps(struct xdp_md *ctx)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < 10000000; i++) {
		asm volatile("" : "+r"(i));
		sum += i;
	}
	return sum;
}

SEC("xdp")
NAKED int unreachable_code(void)
{
	asm volatile("r0 = 0; exit; r0 = 1; exit");
}

SEC("xdp")
NAKED int jump_out_of_program(void)
{
	asm volatile("r0 = 0; if r0 == 0 goto +1000; exit");
}

SEC("xdp")
NAKED int no_exit(void)
{
	asm volatile("r0 = 0");
}

SEC("xdp")
NAKED int result_never_set(void)
{
	asm volatile("exit");
}

SEC("xdp")
NAKED int register_never_set(void)
{
	asm volatile("r0 = r5; exit");
}

SEC("xdp")
NAKED int register_lost_in_call(void)
{
	asm volatile("call 5; r0 = r1; exit");
}

SEC("xdp")
NAKED int stack_too_deep(void)
{
	asm volatile("r0 = 0; *(u64 *)(r10 - 560) = r0; exit");
}

SEC("xdp")
NAKED int stack_above(void)
{
	asm volatile("r0 = 0; *(u64 *)(r10 + 8) = r0; exit");
}

SEC("xdp")
NAKED int stack_misaligned(void)
{
	asm volatile("r0 = 0; *(u64 *)(r10 - 15) = r0; exit");
}

SEC("xdp")
NAKED int stack_any_index(void)
{
	asm volatile("r2 = *(u32 *)(r1 + 16); r3 = r10; r3 += r2; r0 = 0; *(u8 *)(r3 - 8) = r0; exit");
}

static __noinline int deep(struct xdp_md *ctx)
{
	volatile __u8 buffer[280] = {};

	return buffer[ctx->rx_queue_index & 15];
}

SEC("xdp")
int stacks_too_deep(struct xdp_md *ctx)
{
	volatile __u8 buffer[280] = {};

	return deep(ctx) + buffer[ctx->rx_queue_index & 15];
}

#define CALL(name, next)                                                                                               \
	static __noinline int name(struct xdp_md *ctx)                                                                 \
	{                                                                                                              \
		volatile int got = next;                                                                               \
		return got + 1;                                                                                        \
	}

CALL(level9, ctx->rx_queue_index)
CALL(level8, level9(ctx))
CALL(level7, level8(ctx))
CALL(level6, level7(ctx))
CALL(level5, level6(ctx))
CALL(level4, level5(ctx))
CALL(level3, level4(ctx))
CALL(level2, level3(ctx))
CALL(level1, level2(ctx))

SEC("xdp")
int calls_too_deep(struct xdp_md *ctx)
{
	return level1(ctx);
}

static __noinline int again(struct xdp_md *ctx)
{
	volatile int got = ctx->rx_queue_index ? again(ctx) : 0;

	return got + 1;
}

SEC("xdp")
int calls_itself(struct xdp_md *ctx)
{
	return again(ctx);
}

SEC("xdp")
NAKED int pointer_multiplied(void)
{
	asm volatile("r1 *= 2; r0 = 0; exit");
}

SEC("xdp")
NAKED int pointers_added(void)
{
	asm volatile("r1 += r10; r0 = 0; exit");
}

SEC("xdp")
NAKED int pointer_in_32_bits(void)
{
	asm volatile("w1 += 1; r0 = 0; exit");
}

SEC("xdp")
NAKED int frame_pointer_written(void)
{
	asm volatile("r10 = 0; r0 = 0; exit");
}

SEC("xdp")
NAKED int divided_by_zero(void)
{
	asm volatile("r0 = 1; r0 /= 0; exit");
}

SEC("xdp")
NAKED int shifted_too_far(void)
{
	asm volatile("r0 = 1; r0 <<= 70; exit");
}

SEC("xdp")
NAKED int number_as_pointer(void)
{
	asm volatile("r1 = 7; r0 = *(u64 *)(r1 + 0); exit");
}

SEC("cgroup/connect4")
int verdict_out_of_range(struct bpf_sock_addr *ctx)
{
	return 7;
}

SEC("cgroup/connect4")
int verdict_unknown(struct bpf_sock_addr *ctx)
{
	return ctx->user_port;
}

static long twice(__u32 index, void *ctx)
{
	return 2;
}

SEC("xdp")
int callback_verdict(struct xdp_md *ctx)
{
	bpf_loop(3, twice, NULL, 0);
	return XDP_PASS;
}

__noinline int global_null(__u32 *value)
{
	return *value;
}

SEC("xdp")
int argument_of_global(struct xdp_md *ctx)
{
	__u32 one = 1;

	return global_null(&one);
}

char LICENSE[] SEC("license") = "GPL";
