"""The words of this room, by module: entries that were not moved, and imports."""

from __future__ import annotations

from reloader.wording.message import Text

# --- migrate: entries that stay in the old map

LOCKS_BUSY = Text(
    "locks-busy", "{map}: {left:entry} stayed locked and did not move; {moved:,} moved", hint="run the command again"
)
NEW_MAP_FULL = Text(
    "new-map-full",
    "{map}: the new map is full: {left:entry} did not move; {moved:,} moved",
    hint="increase max_entries of the map, or delete entries",
)
ONLY_ENTRIES = Text("only-entries", " (only entries where {demands})")
UNFIT_ENTRIES = Text(
    "unfit-entries",
    "{map}: {faults}{only}",
    hint="`reloader show PIPELINE --map MAP` lists the entries: delete or change these, or keep the old layout",
)
UNFIT_KEYS = Text("unfit-keys", "{count:key} cannot be converted")
UNFIT_VALUES = Text("unfit-values", "{count:value} cannot be converted: too large for a narrower field")

# --- nested, tries

INNER_MAP_NOT_PUT = Text(
    "inner-map-not-put",
    "{map}[{key}] holds a map of the pipeline; the new object does not put its successor there",
    hint="declare it in the initial values of the outer map",
)
TRIES_NOT_CONVERTED = Text(
    "tries-not-converted",
    "{map}: this kernel cannot convert LPM tries: it ignores BPF_NOEXIST",
    hint="use Linux 6.13 or later, or run `reloader apply FILE --reset MAP`",
)

# --- transfer: an exported file, and what came of its entries

FILE_CHANGED = Text("file-changed", "{file} was changed after it was checked", hint="run the import again")
FILE_DAMAGED = Text("file-damaged", "{file} is damaged: {why}", hint="export the state again")
FILE_WITHOUT_MAP = Text("file-without-map", "{file} does not contain map {map}")
IMPORT_FILE = Text("import-file", "the file to import")
MAP_FULL = Text("map-full", "{map}: the map is full: {left:entry} of the file dropped")
MERGED = Text("merged", "{map}: {added:entry} added, {merged:,} merged with existing entries")
