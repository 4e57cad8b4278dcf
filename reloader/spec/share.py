"""`share:` and the groups of this host. Used by compile.py and by the engine. Imports errors."""

from __future__ import annotations

from reloader.errors import Problem


def group_id(name: str) -> int | None:
    """The number of a group; None when this host does not know it."""
    import grp  # late: few pipelines share their maps

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def unknown_group(name: str, *, file: str, line: int = 0, column: int = 0) -> Problem:
    """The finding about a group that does not exist."""
    return Problem(
        file=file,
        line=line,
        column=column,
        path="spec.share.group",
        message=f"group {name!r} does not exist on this host",
        hint=f"groupadd --system {name}, or name another one",
        reason="unknown-group",
        values={"group": name},
    )
