// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Fields reordered and added: the same counts at other offsets. */
#include "flow_layout_v2.h"
#include "reloader_state.h"
#include "flow_state.h"
