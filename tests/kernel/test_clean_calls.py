"""What the three calls of reloader_state.h leave in a program that is not being converted, once it is translated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import state_cost
from bench.entries import KERNEL
from lab.sandbox import Sandbox

pytestmark = pytest.mark.kernel

CALLS = 3  # in flow_state.h
LEFT = 4  # instructions a call, behind a miss or before a deletion: the mode is loaded, and never looked at


def test_a_clean_build_has_no_more_than_plain_calls(sandbox: Sandbox, objects: Callable[[str], Path]) -> None:
    """The verifier has taken the bridge out; the bridge build shows what there was to take."""
    objects("lab/bpf/flow_state_plain")
    with ExitStack() as stack:
        plain, clean, other = (stack.enter_context(state_cost.loaded(name)) for name in ("plain", "v1", "v2"))
        bridge = stack.enter_context(state_cost.loaded("v1", bridge_from=other.maps["flows"]))
        plain_size, clean_size, bridge_size = (
            KERNEL.progs.info(made.progs["count_flows"]).xlated_len // 8 for made in (plain, clean, bridge)
        )
    assert clean_size - plain_size <= CALLS * LEFT
    assert bridge_size - plain_size > 10 * CALLS * LEFT
