// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* conv.h by bare map helpers. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "conv_v1.h"
#include "plain_calls.h"
#include "conv.h"
