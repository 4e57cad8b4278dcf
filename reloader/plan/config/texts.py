"""The words of this room: why entries of a config map change as they do, and which entries others wrote."""

from __future__ import annotations

from reloader.wording.message import Text

# strategy

APPLY_MAP = Text("apply-map", "its YAML says apply: map")
APPLY_MAP_WITHOUT_SIDES = Text(
    "apply-map-without-sides", "its YAML says apply: map, but the pins of its sides are missing"
)
APPLY_PROGRAM = Text("apply-program", "its YAML says apply: program")
FEW_CHANGE = Text("few-change", "only {changed} of {total:entry} change")
MANY_CHANGE = Text("many-change", "{changed} of {total:entry} change")
MAP_TOO_FULL = Text("map-too-full", "the live map is too full to add entries before it deletes others")
TIED = Text("tied", "it is tied to {maps}")

# foreign: entries that reloader did not write

FOREIGN_ENTRIES = Text(
    "foreign-entries", "config map {map}: {count:entry} that reloader did not write would be deleted: {shown}"
)
FOREIGN_HANDLES = Text(
    "foreign-handles",
    "map {map}: a new load starts it empty; {count:entry} that reloader did not put there would be lost: {shown}",
)
NOT_WRITTEN = Text("not-written", "{count:entry} that reloader did not write: {shown}")
