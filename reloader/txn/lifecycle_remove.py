"""Detach a pipeline; its state maps stay parked unless they are dropped too.

Called by commands/change.py. Imports ready, carry_out, trial.
"""

from __future__ import annotations

from reloader import records
from reloader.kernel import Kernel
from reloader.layout import Layout
from reloader.lock import WriterLock
from reloader.txn import trial
from reloader.txn.carry_out import Result, quiet, remove_when_ready
from reloader.txn.ready import ready
from reloader.txn.transaction import Progress


def remove(
    kernel: Kernel, layout: Layout, pipeline: str, lock: WriterLock, *, drop_state: bool, progress: Progress = quiet
) -> Result:
    """Detach and unpin everything; state maps stay parked unless `drop_state`."""
    ready(kernel, layout, pipeline, lock)
    current = records.read_current(layout, pipeline)
    if current is not None and current.trial:
        trial.note_outcome(
            layout, current, trial.REMOVED
        )  # first: should the removal fail, the trial goes on and ends anew
    return remove_when_ready(kernel, layout, pipeline, lock, drop_state=drop_state, progress=progress)
