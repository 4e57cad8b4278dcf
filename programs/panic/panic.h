/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What serves in a panic: which verdict each program gives. */
#ifndef PANIC_H
#define PANIC_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define PANIC_XDP_OPEN XDP_PASS	/* as if no program were attached */
#define PANIC_XDP_CLOSED XDP_DROP	/* nothing comes in */
#define PANIC_TCX_OPEN TC_ACT_UNSPEC	/* TCX_NEXT: whoever sits behind us decides */
#define PANIC_TCX_CLOSED TC_ACT_SHOT
#define PANIC_CONNECT_OPEN 1	/* allowed, unless another program refuses */
#define PANIC_CONNECT_CLOSED 0	/* EPERM */

#endif
