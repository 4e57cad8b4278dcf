"""Pipelines that the kernel has and the records do not explain. Reads only; used by doctor, recover and gc."""

from __future__ import annotations

from reloader.errors import NeedsHuman, NotFoundError, OtherVersion
from reloader.kernel.host import Host
from reloader.paths import PIPELINE_NAME
from reloader.pins.inventory import loads_of, pinned_pipelines
from reloader.store import records


def unrecorded(host: Host) -> list[str]:
    """Pipelines with pinned programs and no record at all."""
    names = pinned_pipelines(host)
    return [n for n in names if not host.paths.current_file(n).exists() and loads_of(host, n)]


def is_lost(host: Host, pipeline: str) -> bool:
    """Whether the pipeline's records are gone, damaged or of an earlier version, while the kernel has its programs.
    OtherVersion when they are of a later one: they are whole, and another reloader's."""
    if not PIPELINE_NAME.match(pipeline) or not loads_of(host, pipeline):
        return False
    try:
        current = records.read_current(host.paths, pipeline)
        if current and current.generation:
            records.read_generation(host.paths, pipeline, current.generation)
    except (NeedsHuman, NotFoundError) as error:
        if isinstance(error, OtherVersion) and error.is_later:
            raise
        return True
    return current is None
