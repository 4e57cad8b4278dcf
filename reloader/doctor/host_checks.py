"""What is wrong with this host, and what to do about it: one small check each, none changes anything.

A check takes the host and yields findings; CHECKS has them in the order they are printed.
Called by commands/doctor.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import field

from reloader.disk.lock import run_dir_error
from reloader.disk.record_folder import records_error
from reloader.errors import InputError, KernelError, PermissionRefused
from reloader.frozen import frozen
from reloader.kernel import Feature, Presence
from reloader.kernel.host import Host
from reloader.pipeline.host_file import declared
from reloader.store import records
from reloader.store.trial_terms import guarded, overdue


@frozen
class Finding:
    """One thing looked at."""

    check: str
    ok: bool
    what: str
    hint: str = ""  # what to do next; empty when it is well
    reason: str = ""  # the finding as a stable word
    values: dict[str, object] = field(default_factory=dict)  # what it is about, as JSON values


PRIVILEGES = ("cap_bpf", "cap_net_admin", "cap_perfmon")
Check = Callable[[Host], Iterator[Finding]]


def examine(host: Host) -> tuple[Finding, ...]:
    """All checks, in order."""
    from reloader.doctor import pipeline_checks  # which makes findings of its own

    found = (one for check in (*CHECKS, *pipeline_checks.CHECKS) for one in _findings(check, host))
    return tuple({(f.check, f.what): f for f in found}.values())


def _findings(check: Check, host: Host) -> Iterator[Finding]:
    """What a check finds; what this user may not read is a finding, and the other checks go on."""
    try:
        yield from check(host)
    except (OSError, PermissionRefused) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EACCES, errno.EPERM):
            raise
        what = f"{error.filename}: no permission" if isinstance(error, OSError) and error.filename else str(error)
        yield Finding(
            check="privileges", ok=False, what=what, hint="run `reloader doctor` as root", reason="not-permitted"
        )


def from_features(features: tuple[Feature, ...]) -> Iterator[Finding]:
    """What nothing works without, and the privileges; what we may not try is no fault of the kernel's."""
    lacking = [f for f in features if f.needed and f.presence is Presence.NO]
    for feature in lacking:
        what = f"{feature.name}: {feature.why} ({feature.purpose})"
        yield Finding(check="kernel", ok=False, what=what, hint="reloader needs a kernel that has it")
    if not lacking:
        yield Finding(check="kernel", ok=True, what="nothing is known to be missing that all pipelines need")
    held = {f.name for f in features if f.presence is Presence.YES}
    missing = [name.upper() for name in PRIVILEGES if f"host.{name}" not in held]
    if missing:
        what = f"this process has no {', '.join(missing)}"
        yield Finding(check="privileges", ok=False, what=what, hint="run as root, or give it these capabilities")
    else:
        yield Finding(check="privileges", ok=True, what=f"{', '.join(PRIVILEGES).upper()} are there")


def _bpffs(host: Host) -> Iterator[Finding]:
    try:
        mounted = host.kernel.pins.is_bpffs(host.paths.bpffs)
    except KernelError as error:
        yield Finding(check="bpffs", ok=False, what=str(error), hint="ask again as root")
        return
    if mounted:
        yield Finding(check="bpffs", ok=True, what=f"{host.paths.bpffs} is on a bpf filesystem")
    else:
        hint = "mount -t bpf bpf /sys/fs/bpf, or name another with --bpffs"
        yield Finding(check="bpffs", ok=False, what=f"{host.paths.bpffs} is on no bpf filesystem", hint=hint)


def _records(host: Host) -> Iterator[Finding]:
    """There and ours, or not there yet."""
    path = host.paths.records
    parent = next(p for p in (path, *path.parents) if p.exists())
    try:
        error = records_error(host.paths)
    except NotADirectoryError:
        hint = "name a folder with --records"
        yield Finding(check="records", ok=False, what=f"{path} is not a folder", hint=hint, reason="not-a-directory")
        return
    if error:
        what = f"{error.message}: {'; '.join(error.lines)}"
        yield Finding(check="records", ok=False, what=what, hint=error.hint, reason=error.reason, values=error.values)
    elif os.access(parent, os.W_OK):
        what = f"{path} can be written" if parent == path else f"{path} is made by the first apply"
        yield Finding(check="records", ok=True, what=what)
    else:
        hint = "run as its owner, or name another with --records"
        yield Finding(check="records", ok=False, what=f"{path} cannot be written", hint=hint)


def _locks(host: Host) -> Iterator[Finding]:
    """Whether lock files can be made where no other user can hold them."""
    if error := run_dir_error(host.paths):
        yield Finding(check="locks", ok=False, what=error.message, hint=error.hint)


def _trials(host: Host) -> Iterator[Finding]:
    """Whether every generation that is unconfirmed has somebody who sees to it."""
    names = records.on_trial(host.paths)
    for name in names:
        current = records.read_current(host.paths, name)
        trial = current.trial if current else None
        if trial is None or (guarded(trial) and not overdue(trial, host.kernel.boot_id())):
            continue
        what = f"{name}: generation {trial.generation} is unconfirmed and its guard is gone or stuck"
        late = overdue(trial, host.kernel.boot_id())
        hint = (
            f"too late to confirm: `reloader recover {name}` ends its trial"
            if late
            else f"`reloader confirm {name}` keeps it, `reloader rollback {name}` takes it back"
        )
        yield Finding(check="trials", ok=False, what=what, hint=hint)
        names = [n for n in names if n != name]
    if names:
        yield Finding(check="trials", ok=True, what=f"unconfirmed and guarded: {', '.join(names)}")


def _host_file(host: Host) -> Iterator[Finding]:
    """The commands that pipelines may name, if this host declares any."""
    if not host.paths.host_file.exists():
        return
    try:
        found = declared(host.paths.host_file)
    except (InputError, PermissionRefused) as error:
        hint = f"no command is taken from {host.paths.host_file} before that is mended; {error.hint}".rstrip("; ")
        yield Finding(check="host", ok=False, what=f"{error.message}: {'; '.join(error.lines)}", hint=hint)
    else:
        yield Finding(
            check="host", ok=True, what=f"{host.paths.host_file} declares {', '.join(sorted(found)) or 'nothing'}"
        )


CHECKS: tuple[Check, ...] = (_bpffs, _records, _locks, _trials, _host_file)
