"""The words of this room, by module: the rescue script."""

from __future__ import annotations

from reloader.wording.message import Text

# --- script

SCRIPT_NOT_WRITTEN = Text("script-not-written", "{pipeline}: the rescue script was not written: {why}")
