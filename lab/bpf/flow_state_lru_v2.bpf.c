// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* flow_state_v2 with its flows in another type of map. */
#define FLOWS_TYPE BPF_MAP_TYPE_LRU_HASH
#include "flow_layout_v2.h"
#include "reloader_state.h"
#include "flow_state.h"
