"""The words of this room: how two maps differ, why state cannot be carried over, what a plan says of a conversion."""

from __future__ import annotations

from reloader.wording.message import Text

# plan/state/compat: how two maps differ, behind the path of the field

ADDED = Text("added", "added")
BYTE_ORDER = Text("byte-order", "byte order")
CHANGED = Text("changed", "{old} → {new}")
CHANGED_BYTES = Text("changed-bytes", "{old} → {new} bytes")
COUNT_AND_SIZE_CHANGED = Text("count-and-size-changed", "count {old} → {new}, size {old_size} → {new_size}")
COUNT_CHANGED = Text("count-changed", "count {old} → {new}")
ENUMERATOR_ADDED = Text("enumerator-added", "enumerator {name} = {value} added")
ENUMERATOR_CHANGED = Text("enumerator-changed", "enumerator {name} = {old} → {new}")
ENUMERATOR_REMOVED = Text("enumerator-removed", "enumerator {name} = {value} removed")
INNER_TYPE_CHANGED = Text("inner-type-changed", "maps of type {old} → {new}")
MOVED_AND = Text("moved-and", "{moved}, {change}")
OFFSET_CHANGED = Text("offset-changed", "offset {old} → {new}")
ONE_SIDE_UNDESCRIBED = Text("one-side-undescribed", "BTF describes only one side")
REMOVED = Text("removed", "removed")
RENAMED = Text("renamed", "renamed to {name}")
SIGN = Text("sign", "sign")
SIZE_CHANGED = Text("size-changed", "size {old} → {new}")
TYPE = Text("type", "type")

AT_BIT = Text("at-bit", "bit {bit}, {width} wide")
AT_OFFSET = Text("at-offset", "offset {offset}")
PLACED = Text("placed", "{type} at {place}")
UNDESCRIBED = Text("undescribed", "unknown")

_NOT_CONVERTED = "keep the layout, remove the map, or discard its contents with --reset"

# plan/state/conversion: why rules cannot be carried out on these maps

ARRAY_KEYS = Text("array-keys", "the keys of an array are indices and cannot change")
BYTES_TOO_MANY = Text("bytes-too-many", "{part} of more than {most} bytes cannot be converted")
ENTRIES_TOO_MANY = Text("entries-too-many", "it holds {count:entry}; max_entries {max_entries} is too small")
INNER_MAPS = Text("inner-maps", "the maps in it: {why}")
INNER_SPECIAL = Text("inner-special", "the maps in it hold {special}, which only maps that an object declares can hold")
INNER_UNDECLARED = Text(
    "inner-undeclared",
    "the object does not declare the maps in it",
    hint="write __array(values, struct {{ … }}) into the map's declaration",
)
MAPS_TOO_MANY = Text("maps-too-many", "it holds {count:map}; max_entries {max_entries} is too small")
TRIE_KEYS = Text("trie-keys", "the key of an LPM trie is a prefix: its bytes cannot move")
TYPE_CHANGES = Text("type-changes", "{old} cannot become {new}")
TYPE_NOT_CONVERTIBLE = Text("type-not-convertible", "maps of type {type} cannot be converted")
TOO_MANY_RULES = Text(
    "too-many-rules", "the conversion needs more than {value_rules} rules for a value, or {key_rules} for a key"
)

# lifecycle/conversions: why there are no rules

CANNOT_BE_LISTED = Text("cannot-be-listed", "entries of maps of type {type} cannot be listed", hint=_NOT_CONVERTED)
HOLDS_BOUND = Text(
    "holds-bound", "the {layout} layout holds a {special}, which only the kernel may write", hint=_NOT_CONVERTED
)
INNER_LAYOUT_DIFFERS = Text(
    "inner-layout-differs", "a map in it ({name}, id {id}) has another layout than the recorded one"
)
INNER_SIZES_DIFFER = Text("inner-sizes-differ", "a map in it ({name}, id {id}) has other sizes than the recorded ones")
NO_RULES = Text("no-rules", "no rules: {why}")
NO_STATE_SCHEMA = Text(
    "no-state-schema",
    "no rules: a state schema does not record its layouts",
    hint="name one with stateSchema; `reloader state new OBJECT --schema SCHEMA` makes it",
)
STORED_WITH_OWNER = Text(
    "stored-with-owner",
    "entries of maps of type {type} are stored with their {owners} and deleted with them",
    hint=_NOT_CONVERTED,
)
VERSION_EDITED = Text(
    "version-edited",
    "version {version} in the registry is not the version {version} that generation {generation} was committed with:",
    hint="do not edit a version that was applied: restore its file, then add a new version "
    "(`reloader state new OBJECT --schema SCHEMA`)",
)
VERSION_UNKNOWN = Text(
    "version-unknown", "no rules: the {layout} layout is not one of versions {first}–{last} of its schema"
)

# plan/state/conversion: what the plan says

BRIDGED = Text("bridged", "bridge and drain: counts exact, established entries always found")
COPIED_AHEAD = Text("copied-ahead", "copied ahead, then drained: counts exact, other fields as of the copy")
COSTS = Text("costs", "{count:entry}, about {seconds:.2f} s")
CPUS_FOLLOW = Text("cpus-follow", "an entry's values of other CPUs follow during the drain")
CREATED_LATER = Text(
    "created-later",
    "an entry created during the switch is not visible until the conversion finishes, about {seconds:.2f} s",
)
DELETED_BY_NEW_REAPPEARS = Text(
    "deleted-by-new-reappears",
    "an entry deleted by the new program before the drain reappears with the old program's counters",
)
DELETED_BY_NEW_STAYS_DELETED = Text("deleted-by-new-stays-deleted", "an entry deleted by the new program stays deleted")
DELETED_BY_OLD_REAPPEARS = Text(
    "deleted-by-old-reappears", "an entry deleted by the old program after the copy reappears with zero counters"
)
ENTRIES_CONVERTED = Text("entries-converted", "only entries where {demand} can be converted")
EVICTION = Text("eviction", "the order of last use is lost, and the kernel may evict entries during the conversion")
INNER_COPIED_AHEAD = Text(
    "inner-copied-ahead",
    "{count:map} in it, each replaced: copied ahead, then drained; counts exact, other fields as of the copy",
)
LOST = Text("lost", "lost: {what}")
NOT_BRIDGED = Text(
    "not-bridged",
    "no bridge: {programs} calls map helpers on it directly, although it is declared RELOADER_STATE",
)
PREFIX_CREATED_LATER = Text(
    "prefix-created-later",
    "a prefix added during the switch is not visible until the conversion finishes, about {seconds:.2f} s: "
    "its packets match a shorter prefix",
)
ROLLBACK_LEAVES_OUT = Text(
    "rollback-leaves-out",
    "a rollback refuses entries unless {demand}, or leaves them out with --allow-lossy-rollback",
)
ROLLBACK_LOSES = Text("rollback-loses", "a rollback would lose: {what}")

# plan/state/bring_in: `state import`

ALREADY_HOLDS = Text(
    "already-holds", "it already holds {count:entry}", hint="use --merge to join the file's entries with them"
)
CPUS_TOO_MANY = Text("cpus-too-many", "its values are of {found} CPUs; this host has {cpus}")
FILE_LAYOUT_DIFFERS = Text("file-layout-differs", "the file has another layout:")
FILE_TYPE_DIFFERS = Text("file-type-differs", "the file has map type {found}; the map is {type}")
FILE_VERSION_DIFFERS = Text(
    "file-version-differs", "version {version} in the file has another layout than version {version} here"
)
IMPORT_REFUSED = Text("import-refused", "{pipeline}: the import is refused; nothing was touched")
IMPORT_STATE = Text("import-state", "state: import {count:entry}")
IMPORT_WHY = Text("import-why", "import of {file}")
MAP_IMPORT_REFUSED = Text("map-import-refused", "state map {map}: {why}")
NOT_ENOUGH_ROOM = Text(
    "not-enough-room", "it holds {count:entry}, the file has {more:,} more; max_entries is {max_entries}"
)
RULES_NOT_RECORDED = Text(
    "rules-not-recorded",
    "no rules: no registry records both layouts",
    hint="record them with `reloader state new OBJECT --schema SCHEMA`",
)
SLOTS_TOO_MANY = Text("slots-too-many", "the file has {found} slots; the map has {max_entries}")
TAKEN_AT = Text("taken-at", "as of {created}")
TYPE_NOT_IMPORTABLE = Text("type-not-importable", "maps of type {type} cannot be imported")
UNDESCRIBED_ENTRIES = Text(
    "undescribed-entries",
    "BTF does not describe its key and value, so equal sizes do not prove an equal layout",
    hint="compile with -g, and declare the map with __type",
)
