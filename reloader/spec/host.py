"""The host's own file: commands that pipelines may name, and nobody but root can add to.

A pipeline's YAML may come from anywhere; what it can have run stands here. Read before a swap that needs it.
Imports errors, trust, spec.{source,text}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from reloader.errors import InputError, PermissionRefused, Problem
from reloader.spec.source import read_source
from reloader.spec.text import Document, Steps, dotted, read_documents
from reloader.trust import Judge

WHAT = "which commands pipelines may name"
COMMAND_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")


def commands(path: Path, wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The wanted commands, each a program with its arguments.

    PermissionRefused when others than root could have written the file; InputError for all that is wrong with it,
    a wanted command that is not there included.
    """
    if not wanted:
        return {}
    if not path.exists():
        message = f"the host declares no command {', '.join(sorted(wanted))}: there is no {path}"
        raise InputError([_problem(path, None, (), message, "apiVersion, kind: Host, commands: {NAME: [PROGRAM, …]}")])
    found, document = _read(path)
    hint = f"it declares {', '.join(sorted(found)) or 'none'}"
    missing = [f"there is no command {name!r}" for name in sorted(set(wanted) - set(found))]
    if missing:
        raise InputError([_problem(path, document, ("commands",), text, hint) for text in missing])
    return {name: found[name] for name in wanted}


def declared(path: Path) -> dict[str, tuple[str, ...]]:
    """All that a file declares; the errors are those of `commands`."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, tuple[str, ...]], Document | None]:
    document, problems = _document(path)
    found = _commands(document, path, problems) if document else {}
    if problems:
        raise InputError(problems)
    return found, document


class _RootOnly(Judge):
    """Takes commands from root's files and our own only, not even from those of the user who called sudo."""

    def open(self, path: str | Path) -> int:
        fd = super().open(path)
        owner = os.fstat(fd).st_uid
        if owner in (0, os.geteuid()):
            return fd
        os.close(fd)
        self.refuse(WHAT)
        raise PermissionRefused(
            f"{path} belongs to user {owner}; commands are not taken from it", hint=f"chown root {path}",
            reason="others-can-change", values={"files": [{"file": str(path), "at": str(path), "weakness": "owner"}]},
        )  # fmt: skip


def _document(path: Path) -> tuple[Document | None, list[Problem]]:
    judge = _RootOnly()
    data = read_source(path, judge)
    judge.refuse(WHAT)
    documents, problems = read_documents(data, str(path))
    if len(documents) > 1:
        problems.append(_problem(path, documents[1], (), "one document is enough"))
    return (documents[0] if documents else None), problems


def _commands(document: Document, path: Path, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    value = document.value
    head = {"apiVersion": "reloader/v1", "kind": "Host"}
    if not isinstance(value, dict) or any(value.get(k) != v for k, v in head.items()):
        problems.append(_problem(path, document, (), "is no Host", "apiVersion: reloader/v1, kind: Host"))
        return {}
    for name in set(value) - set(head) - {"commands"}:
        problems.append(_problem(path, document, (name,), f"unknown field {name!r}", "there is commands"))
    listed = value.get("commands", {})
    if not isinstance(listed, dict):
        problems.append(_problem(path, document, ("commands",), "must be a mapping of names to lists"))
        return {}
    return {n: tuple(w) for n, w in listed.items() if _is_command(document, path, n, w, problems)}


def _is_command(document: Document, path: Path, name: Any, words: Any, problems: list[Problem]) -> bool:
    good = isinstance(words, list) and bool(words) and all(isinstance(w, str) and "\0" not in w for w in words)
    if not isinstance(name, str) or not COMMAND_NAME.match(name):
        problems.append(_problem(path, document, ("commands",), f"{name!r} is no name of a command"))
    elif not good or not os.path.isabs(words[0]):
        message = "must be a list: the absolute path of a program, then its arguments, all texts"
        problems.append(_problem(path, document, ("commands", name), message))
    else:
        return True
    return False


def _problem(path: Path, document: Document | None, steps: Steps, message: str, hint: str = "") -> Problem:
    mark = document.mark(steps, key=len(steps) == 1) if document else None  # what is wrong with a command is its value
    line, column = (mark.line, mark.column) if mark else (0, 0)
    return Problem(file=str(path), line=line, column=column, path=dotted(steps), message=message, hint=hint)
