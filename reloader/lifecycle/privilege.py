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
from reloader.lifecycle import texts
from reloader.plan.model import Plan

NEEDED = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")


@contextmanager
def privileged(kernel: Kernel, plan: Plan) -> Iterator[None]:
    """Carry out a plan in here. PermissionRefused (77) ahead when it cannot succeed, and instead of what the verifier
    says only to those without CAP_PERFMON."""
    lacking = _lacking(kernel)
    missing = [texts.CAP_BPF_MISSING()] if "CAP_BPF" in lacking else []
    missing += [texts.CAP_NET_ADMIN_MISSING()] if "CAP_NET_ADMIN" in lacking else []
    if missing and any(op.privileged for op in plan.ops):
        raise PermissionRefused(texts.CAPABILITIES_MISSING(pipeline=plan.pipeline, missing="; ".join(missing)))
    try:
        yield
    except VerifierRejected as error:
        if "CAP_PERFMON" not in lacking:
            raise
        missing_too = texts.CAP_PERFMON_MISSING(why=error.message, verifier_hint=error.hint)
        raise PermissionRefused(missing_too, detail=error.lines) from error


def _lacking(kernel: Kernel) -> list[str]:
    held = kernel.capabilities()
    return [] if "CAP_SYS_ADMIN" in held else [c for c in NEEDED if c not in held]
