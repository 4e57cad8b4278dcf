"""The one place every lasting effect passes: what outlives this process if it dies right after.

Pins, links, map writes and record files go through `lasting()`. In production it only calls the
effect; a test installs a gate that kills the process or raises an error before or after effect N.
A leaf: imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")
Gate = Callable[[Literal["before", "after", "failed"], str], None]

_gate: Gate | None = None


def install(gate: Gate | None) -> None:
    """Put a test's gate before and after every lasting effect; None takes it away."""
    global _gate
    _gate = gate


def lasting(name: str, effect: Callable[[], T]) -> T:
    """Run `effect`, which changes something that outlives this process; `name` says what for a test's report."""
    if _gate is None:
        return effect()
    _gate("before", name)
    try:
        result = effect()
    except BaseException:
        _gate("failed", name)
        raise
    _gate("after", name)
    return result
