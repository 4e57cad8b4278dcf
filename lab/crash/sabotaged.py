"""gated.py with intent and effect exchanged: the journal's `begin` is written only with the commit record.

What the kill loop must catch, or it proves nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from lab.crash.gated import gate
from reloader import fault_points
from reloader.cli import main
from reloader.engine import journal

_begin, _commit = journal.Journal.begin, journal.Journal.commit
_held: list[dict[str, Any]] = []


def late_begin(_journal: journal.Journal, body: dict[str, Any]) -> None:
    _held.append(body)


def commit_with_begin(open_journal: journal.Journal, body: dict[str, Any]) -> None:
    _begin(open_journal, _held.pop())
    _commit(open_journal, body)


if __name__ == "__main__":
    mode, when, point, _, *words = sys.argv[1:]
    for name, replacement in (("begin", late_begin), ("commit", commit_with_begin)):
        setattr(journal.Journal, name, replacement)
    fault_points.install(gate(mode, when, point))
    sys.exit(main(words))
