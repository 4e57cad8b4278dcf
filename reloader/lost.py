"""Pipelines that the kernel has and the records do not explain. Reads only; used by doctor, recover and gc.

Imports records, pins, kernel, layout, errors.
"""

from __future__ import annotations

from reloader import records
from reloader.errors import NeedsHuman, NotFoundError, OtherVersion
from reloader.kernel import Kernel
from reloader.layout import PIPELINE_NAME, Layout
from reloader.pins import loads_of, pinned_pipelines


def unrecorded(kernel: Kernel, layout: Layout) -> list[str]:
    """Pipelines with pinned programs and no record at all."""
    names = pinned_pipelines(kernel, layout)
    return [n for n in names if not layout.current_file(n).exists() and loads_of(kernel, layout, n)]


def is_lost(kernel: Kernel, layout: Layout, pipeline: str) -> bool:
    """Whether the pipeline's records are gone, damaged or of an earlier version, while the kernel has its programs.
    OtherVersion when they are of a later one: they are whole, and another reloader's."""
    if not PIPELINE_NAME.match(pipeline) or not loads_of(kernel, layout, pipeline):
        return False
    try:
        current = records.read_current(layout, pipeline)
        if current and current.generation:
            records.read_generation(layout, pipeline, current.generation)
    except (NeedsHuman, NotFoundError) as error:
        if isinstance(error, OtherVersion) and error.is_later:
            raise
        return True
    return current is None
