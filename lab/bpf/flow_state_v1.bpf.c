// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The first layout. */
#include "flow_layout_v1.h"
#include "reloader_state.h"
#include "flow_state.h"
