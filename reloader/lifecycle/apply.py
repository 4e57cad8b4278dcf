"""Make the kernel look like a wish.

Called by commands/, daemon/, boot.py and trial/start.py.
"""

from __future__ import annotations

from reloader.disk.lock import Writer
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.transaction import Progress
from reloader.lifecycle import trial_record
from reloader.lifecycle.carry_out import Result, TrialStarter, apply_when_ready, quiet
from reloader.lifecycle.ready import ready
from reloader.store import records


def apply(
    writer: Writer,
    intake: ApplyRequest,
    *,
    progress: Progress = quiet,
    post: TrialStarter | None = None,
) -> Result:
    """Make the kernel look like the wish, or leave it as it was (see transaction.run for the errors)."""
    recovered = tuple(ready(writer, intake.wish.pipeline))
    current = records.read_current(writer.paths, intake.wish.pipeline)
    if current is not None and current.trial:
        raise trial_record.refuse(current, writer.kernel.boot_id())
    return apply_when_ready(writer, intake, progress=progress, post=post, recovered=recovered)
