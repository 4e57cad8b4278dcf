"""Detach a pipeline; its state maps stay parked unless they are dropped too.

Called by commands/remove.py.
"""

from __future__ import annotations

from reloader.disk.lock import Writer
from reloader.engine.transaction import Progress
from reloader.lifecycle import trial_record
from reloader.lifecycle.carry_out import Result, quiet, remove_when_ready
from reloader.lifecycle.ready import ready
from reloader.store import records


def remove(writer: Writer, pipeline: str, *, drop_state: bool, progress: Progress = quiet) -> Result:
    """Detach and unpin everything; state maps stay parked unless `drop_state`."""
    ready(writer, pipeline)
    current = records.read_current(writer.paths, pipeline)
    if current is not None and current.trial:
        trial_record.note_outcome(
            writer.paths, current, trial_record.REMOVED
        )  # first: should the removal fail, the trial goes on and ends anew
    return remove_when_ready(writer, pipeline, drop_state=drop_state, progress=progress)
