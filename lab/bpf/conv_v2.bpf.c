// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* conv.h by the calls of reloader_state.h. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "conv_v2.h"
#include "reloader_state.h"
#include "conv.h"
