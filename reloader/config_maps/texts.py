"""The words of this room: entries that were not written."""

from __future__ import annotations

from reloader.wording.message import Text

# --- write

ENTRIES_NOT_HELD = Text("entries-not-held", "map {map} does not hold the entries that were written to it")
