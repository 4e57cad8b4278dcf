"""What is wrong with this host, and what to do about it: one small check each, none changes anything.

A check takes the host and yields findings; CHECKS has them in the order they are printed.
Called by commands/doctor.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from reloader.disk.lock import run_dir_error
from reloader.disk.record_folder import records_error
from reloader.doctor import texts
from reloader.doctor.finding import Finding
from reloader.errors import InputError, KernelError, PermissionRefused
from reloader.kernel import Feature, Presence
from reloader.kernel.host import Host
from reloader.pipeline.host_file import declared
from reloader.store import records
from reloader.store.trial_terms import guarded, overdue

PRIVILEGES = ("cap_bpf", "cap_net_admin", "cap_perfmon")


def from_features(features: tuple[Feature, ...]) -> Iterator[Finding]:
    """What nothing works without, and the privileges; what we may not try is no fault of the kernel's."""
    lacking = [f for f in features if f.needed and f.presence is Presence.NO]
    for feature in lacking:
        about = {"feature": feature.name, "purpose": feature.purpose}
        yield Finding.of("kernel", texts.FEATURE_MISSING(why=feature.why, **about))
    if not lacking:
        yield Finding.of("kernel", texts.FEATURES(), ok=True)
    held = {f.name for f in features if f.presence is Presence.YES}
    missing = [name.upper() for name in PRIVILEGES if f"host.{name}" not in held]
    if missing:
        yield Finding.of("privileges", texts.PRIVILEGES_MISSING(capabilities=missing))
    else:
        yield Finding.of("privileges", texts.PRIVILEGES(capabilities=[p.upper() for p in PRIVILEGES]), ok=True)


def _bpffs(host: Host) -> Iterator[Finding]:
    try:
        mounted = host.kernel.pins.is_bpffs(host.paths.bpffs)
    except KernelError as error:
        yield Finding.of("bpffs", texts.BPFFS_UNKNOWN(why=error))
        return
    text = texts.BPFFS if mounted else texts.NOT_BPFFS
    yield Finding.of("bpffs", text(path=host.paths.bpffs), ok=mounted)


def _records(host: Host) -> Iterator[Finding]:
    """There and ours, or not there yet."""
    path = host.paths.records
    parent = next(p for p in (path, *path.parents) if p.exists())
    try:
        error = records_error(host.paths)
    except NotADirectoryError:
        yield Finding.of("records", texts.NOT_A_DIRECTORY(path=path))
        return
    if error:
        what = f"{error.message}: {'; '.join(error.lines)}"
        yield Finding(check="records", ok=False, what=what, hint=error.hint, reason=error.reason, values=error.values)
    elif os.access(parent, os.W_OK):
        text = texts.RECORDS_WRITABLE if parent == path else texts.RECORDS_CREATED_LATER
        yield Finding.of("records", text(path=path), ok=True)
    else:
        yield Finding.of("records", texts.RECORDS_READ_ONLY(path=path))


def _locks(host: Host) -> Iterator[Finding]:
    """Whether lock files can be made where no other user can hold them."""
    if error := run_dir_error(host.paths):
        what, hint = error.message, error.hint
        yield Finding(check="locks", ok=False, what=what, hint=hint, reason=error.reason, values=error.values)


def _trials(host: Host) -> Iterator[Finding]:
    """Whether every generation that is unconfirmed has a guard."""
    names = records.on_trial(host.paths)
    for name in names:
        current = records.read_current(host.paths, name)
        trial = current.trial if current else None
        if trial is None or (guarded(trial) and not overdue(trial, host.kernel.boot_id())):
            continue
        text = texts.TRIAL_OVERDUE if overdue(trial, host.kernel.boot_id()) else texts.TRIAL_UNGUARDED
        yield Finding.of("trials", text(pipeline=name, generation=trial.generation))
        names = [n for n in names if n != name]
    if names:
        yield Finding.of("trials", texts.TRIALS_GUARDED(pipelines=names), ok=True)


def _host_file(host: Host) -> Iterator[Finding]:
    """The commands that pipelines may name, if this host declares any."""
    if not host.paths.host_file.exists():
        return
    try:
        found = declared(host.paths.host_file)
    except (InputError, PermissionRefused) as error:
        why = f"{error.message}: {'; '.join(error.lines)}"
        text = texts.COMMANDS_REFUSED_ADVICE if error.hint else texts.COMMANDS_REFUSED
        yield Finding.of("host", text(path=host.paths.host_file, why=why, advice=error.hint))
    else:
        text = texts.COMMANDS if found else texts.COMMANDS_NONE
        yield Finding.of("host", text(path=host.paths.host_file, commands=sorted(found)), ok=True)


CHECKS = (_bpffs, _records, _locks, _trials, _host_file)
