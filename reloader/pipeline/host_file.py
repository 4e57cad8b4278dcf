"""The host's own file: commands that pipelines may name, and nobody but root can add to.

A pipeline's YAML may come from anywhere; what it can have run stands here. Read before a swap that needs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from reloader.disk.trust import Judge
from reloader.errors import InputError, PermissionRefused, Problem
from reloader.pipeline import texts
from reloader.pipeline.document import Document, Steps, dotted, read_documents
from reloader.pipeline.source import read_source
from reloader.wording.message import Message

WHAT = texts.HOST_COMMANDS()
COMMAND_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")


def commands(path: Path, wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The wanted commands, each a program with its arguments.

    PermissionRefused when others than root could have written the file; InputError for all that is wrong with it,
    a wanted command that is not there included.
    """
    if not wanted:
        return {}
    if not path.exists():
        raise InputError([_problem(path, None, (), texts.NO_HOST_FILE(names=sorted(wanted), path=path))])
    found, document = _read(path)
    hint = texts.DECLARED_COMMANDS(names=sorted(found)) if found else ""
    missing = [texts.NO_SUCH_COMMAND(name=name, hint=hint) for name in sorted(set(wanted) - set(found))]
    if missing:
        raise InputError([_problem(path, document, ("commands",), message) for message in missing])
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
        files = [{"file": str(path), "at": str(path), "weakness": "owner"}]
        raise PermissionRefused(texts.OTHERS_CAN_CHANGE(path=path, owner=owner, files=files))


def _document(path: Path) -> tuple[Document | None, list[Problem]]:
    judge = _RootOnly()
    data = read_source(path, judge)
    judge.refuse(WHAT)
    documents, problems = read_documents(data, str(path))
    if len(documents) > 1:
        problems.append(_problem(path, documents[1], (), texts.SEVERAL_DOCUMENTS()))
    return (documents[0] if documents else None), problems


def _commands(document: Document, path: Path, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    value = document.value
    head = {"apiVersion": "reloader/v1", "kind": "Host"}
    if not isinstance(value, dict) or any(value.get(k) != v for k, v in head.items()):
        problems.append(_problem(path, document, (), texts.NOT_A_HOST()))
        return {}
    for name in set(value) - set(head) - {"commands"}:
        hint = texts.CHOOSE_ONE(names=["commands"])
        problems.append(_problem(path, document, (name,), texts.UNKNOWN_FIELD(name=name, hint=hint)))
    listed = value.get("commands", {})
    if not isinstance(listed, dict):
        problems.append(_problem(path, document, ("commands",), texts.COMMANDS_NOT_MAPPING()))
        return {}
    return {n: tuple(w) for n, w in listed.items() if _is_command(document, path, n, w, problems)}


def _is_command(document: Document, path: Path, name: Any, words: Any, problems: list[Problem]) -> bool:
    good = isinstance(words, list) and bool(words) and all(isinstance(w, str) and "\0" not in w for w in words)
    if not isinstance(name, str) or not COMMAND_NAME.match(name):
        problems.append(_problem(path, document, ("commands",), texts.COMMAND_NAME(name=name)))
    elif not good or not os.path.isabs(words[0]):
        problems.append(_problem(path, document, ("commands", name), texts.COMMAND_WORDS()))
    else:
        return True
    return False


def _problem(path: Path, document: Document | None, steps: Steps, message: Message) -> Problem:
    mark = document.mark(steps, key=len(steps) == 1) if document else None  # what is wrong with a command is its value
    return Problem.at(str(path), message, *(mark or (0, 0)), dotted(steps))
