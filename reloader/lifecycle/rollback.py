"""Apply a stored generation again.

Called by commands/rollback.py.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import replace

from reloader.disk.lock import Writer
from reloader.engine.transaction import Progress
from reloader.errors import KernelError, NothingSwapped, RolledBack
from reloader.lifecycle import trial_record
from reloader.lifecycle.carry_out import Result, apply_when_ready, quiet
from reloader.lifecycle.ready import make_ready
from reloader.lifecycle.return_to_previous import again
from reloader.store import records
from reloader.store.records import Cause
from reloader.store.rollback_targets import rollback_target


def rollback(
    writer: Writer,
    pipeline: str,
    to: int | None,
    *,
    progress: Progress = quiet,
    tests: bool = True,
    leave_out: bool = False,
    reset: Collection[str] = (),
) -> Result:
    """Apply a stored generation's wish again, from stored objects. `to` None: the one before the current. `tests`:
    whether it has to pass its own. `leave_out`: entries of state that its layout has no place for may go. `reset`: maps
    that start empty."""
    recovered, sent = make_ready(writer, pipeline)
    if sent is not None and to is None:  # that was what it was asked for
        return replace(sent, recovered=tuple(recovered))
    target = rollback_target(writer.paths, pipeline, to)
    current = records.read_current(writer.paths, pipeline)
    intake = replace(
        again(target, f"rollback to {target.number}", Cause.ROLLBACK), tests=tests, leave_out=leave_out, reset=reset
    )
    try:
        result = apply_when_ready(writer, intake, progress=progress, recovered=tuple(recovered))
    except (NothingSwapped, RolledBack) as error:
        if isinstance(error.__cause__, KernelError) and error.__cause__.errno == errno.ERANGE:
            error.hint = "--allow-lossy-rollback leaves these entries out and goes back"
        raise
    if current is not None and current.trial and result.changed:  # its guard sees that it was decided
        trial_record.note_outcome(writer.paths, current, trial_record.back(" by hand"))
    return result
