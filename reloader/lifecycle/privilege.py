"""Which capabilities a change needs, told before anything is done. Called by carry_out.py.

CAP_BPF loads and creates, CAP_NET_ADMIN does so for networking programs and attaches them, CAP_PERFMON lets the
verifier reason about pointers as for root. CAP_SYS_ADMIN stands for all three. Nothing else is needed for pins of
one's own in one's own network namespace; to enter another and to find objects by their ids takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reloader.errors import PermissionRefused, VerifierRejected
from reloader.kernel import Kernel
from reloader.plan.model import Plan

PURPOSE = {
    "CAP_BPF": "to load programs and create maps",
    "CAP_NET_ADMIN": "to load networking programs and attach them",
    "CAP_PERFMON": "for the verifier to reason about pointers as for root",
}
HINT = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"


@contextmanager
def privileged(kernel: Kernel, plan: Plan) -> Iterator[None]:
    """Carry out a plan in here. PermissionRefused (77) ahead when it cannot succeed, and instead of what the verifier
    says only to those without CAP_PERFMON."""
    lacking = _lacking(kernel)
    needed = [c for c in ("CAP_BPF", "CAP_NET_ADMIN") if c in lacking]
    if needed and any(op.privileged for op in plan.ops):
        told = "; ".join(f"{c} is missing, {PURPOSE[c]}" for c in needed)
        raise PermissionRefused(f"{plan.pipeline}: {told}; nothing was touched", hint=HINT)
    try:
        yield
    except VerifierRejected as error:
        if "CAP_PERFMON" not in lacking:
            raise
        why = f"{error.message}; CAP_PERFMON is missing, {PURPOSE['CAP_PERFMON']}"
        raise PermissionRefused(why, hint=f"{HINT}; {error.hint}", detail=error.lines) from error


def _lacking(kernel: Kernel) -> list[str]:
    held = kernel.capabilities()
    return [] if "CAP_SYS_ADMIN" in held else [c for c in PURPOSE if c not in held]
