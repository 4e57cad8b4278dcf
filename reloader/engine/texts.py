"""The words of this room, by module: a journal, a transaction and its end, groups of readers."""

from __future__ import annotations

from reloader.wording.message import Text

# --- journal

_COMPARE_LINKS = "compare `bpftool link show` with the records of the generations, then remove the journal"
JOURNAL_DAMAGED = Text("journal-damaged", "the journal {path} is damaged: {why}", hint=_COMPARE_LINKS)
JOURNAL_LINE_DAMAGED = Text("journal-line-damaged", "{path}:{line}: the journal is damaged", hint=_COMPARE_LINKS)
JOURNAL_VERSION = Text(
    "record-version",
    "the journal {path} has format version {found}; this reloader reads version {wanted}",
    hint="run `reloader recover` with the version of reloader that wrote it",
)
