"""What a source tried last and how that went, and whether its file is missing, remembered with the pipeline's record.

Called by carry_out.py and daemon/.
"""

from __future__ import annotations

from dataclasses import replace

from reloader.disk.lock import Writer
from reloader.store import records


def note_attempt(writer: Writer, pipeline: str, source: str, digest: str, error: str) -> None:
    """Remember what a source tried last and how that went; without a digest it was no wish at all."""
    before = records.read_current(writer.paths, pipeline)
    if before is None:
        return
    tried = {**before.tried, source: digest} if source and digest else before.tried
    after = replace(before, tried=tried, last_error=error, orphaned=before.orphaned and not source)
    if after != before:
        records.write_current(writer.paths, after)


def note_orphan(writer: Writer, pipeline: str) -> int:
    """Remember that a pipeline's file is gone: the generation that runs on; 0 when that is no news."""
    before = records.read_current(writer.paths, pipeline)
    if before is None or before.orphaned or not before.generation:
        return 0
    records.write_current(writer.paths, replace(before, orphaned=True))
    return before.generation
