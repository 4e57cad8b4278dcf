"""Roles that `init` left to the author: `role: TODO`. Every one is a finding, beside whatever else is wrong.

Between check.py and parse.py, and again in compile.py, which knows the map's type and so the choices. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from reloader.errors import Problem
from reloader.pipeline import texts
from reloader.pipeline.document import Document, dotted
from reloader.pipeline.enums import TODO, Role
from reloader.pipeline.model import Mark

REASON = texts.ROLE_NOT_CHOSEN.code
_CHOICES = (Role.STATE, Role.CONFIG, Role.SCRATCH, Role.EXTERNAL)  # of a map that `init` asks about


def take_out(document: Document) -> dict[str, Mark]:
    """Map → where its `TODO` stands. In the document a role that asks for nothing takes its place, so that all other
    findings come at once."""
    spec = document.value.get("spec") if isinstance(document.value, dict) else None
    maps = spec.get("maps") if isinstance(spec, dict) else None
    found: dict[str, Mark] = {}
    for name, item in maps.items() if isinstance(maps, dict) else ():
        if isinstance(item, dict) and item.get("role") == TODO:
            found[name] = document.mark(("spec", "maps", name, "role"))
            item["role"] = Role.STATE.value
    return found


def problem(name: str, mark: Mark, file: str, choices: Iterable[Role] = _CHOICES) -> Problem:
    """The finding of one map."""
    words = [role.value for role in choices]
    message = texts.ROLE_NOT_CHOSEN(map=name, choices=words, todo=TODO)
    return Problem.at(file, message, *mark, dotted(("spec", "maps", name, "role")))
