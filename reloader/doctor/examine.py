"""All checks of `doctor`, one after the other. A check yields findings and changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from reloader.doctor import host_checks, pipeline_checks, texts
from reloader.doctor.finding import Finding
from reloader.errors import PermissionRefused
from reloader.kernel import Feature
from reloader.kernel.host import Host

Check = Callable[[Host], Iterator[Finding]]


def examine(host: Host, features: tuple[Feature, ...]) -> tuple[Finding, ...]:
    """Return what all checks find, in order. `features`: what the kernel has."""
    checks = (*host_checks.CHECKS, *pipeline_checks.CHECKS)
    found = {(f.check, f.what): f for check in checks for f in _findings(check, host)}
    return (*host_checks.from_features(features), *found.values())


def _findings(check: Check, host: Host) -> Iterator[Finding]:
    """What a check finds; what this user may not read is a finding, and the other checks go on."""
    try:
        yield from check(host)
    except (OSError, PermissionRefused) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EACCES, errno.EPERM):
            raise
        file = error.filename if isinstance(error, OSError) else ""
        why = texts.PERMISSION_DENIED(file=file) if file else error
        yield Finding.of("privileges", texts.NOT_PERMITTED(why=why))
