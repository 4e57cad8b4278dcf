"""`share:` and the groups of this host. Used by compile.py and by the engine."""

from __future__ import annotations

from reloader.errors import Problem
from reloader.pipeline import texts


def group_id(name: str) -> int | None:
    """The number of a group; None when this host does not know it."""
    import grp  # late: few pipelines share their maps

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def unknown_group(name: str, *, file: str, line: int = 0, column: int = 0) -> Problem:
    """The finding about a group that does not exist."""
    return Problem.at(file, texts.UNKNOWN_GROUP(group=name), line, column, "spec.share.group")
