"""The words of this room: faults in recorded layouts, and what `reloader state new` writes and asks."""

from __future__ import annotations

from reloader.wording.message import Text

# pipeline/registry/registered: a state map and its recorded layouts

LAYOUT_NOT_CHOSEN = Text(
    "layout-not-chosen",
    "BTF does not describe {map}, and its sizes fit the versions {versions}",
    hint="write layout: N for the right one",
)
LAYOUT_NOT_RECORDED = Text(
    "layout-not-recorded",
    "the layout of {map} is not recorded in state schema {schema!r}",
    hint="`reloader state new OBJECT --schema {schema} --map {map}` records it; "
    "`reloader apply FILE --reset {map}` starts the map empty without",
)
LAYOUT_OF_NO_VERSION = Text(
    "layout-of-no-version",
    "the layout of {map} differs from all {count} versions in state schema {schema!r}",
    hint="`reloader state new OBJECT --schema {schema} --map {map}` records it; "
    "`reloader apply FILE --reset {map}` starts the map empty without",
)
LAYOUT_OF_OTHER_VERSION = Text(
    "layout-of-other-version", "the layout of {map} is that of version {found}, not of version {wanted}"
)
LAYOUT_WITHOUT_SCHEMA = Text(
    "layout-without-schema",
    "layout: {version} needs a state schema, and the YAML does not name one",
    hint="add stateSchema: NAME below spec:",
)
LAYOUTS_FAULTY = Text(
    "layouts-faulty",
    "the recorded layouts of {map} have faults or open questions",
    hint="correct these files, then run the command again",
)

# pipeline/registry/registry: files and versions

FILE_NAME = Text("file-name", "the file of {map} version {version} must be named {name}", hint="rename the file")
FIRST_WITHOUT_RULES = Text("first-without-rules", "version 1 cannot have rules", hint="remove them")
NO_SUCH_SCHEMA = Text(
    "no-such-schema",
    "the state schema {schema!r} does not exist in {folders}",
    hint="`reloader state new OBJECT --schema {schema}` writes the first file",
)
QUESTION_OPEN = Text("question-open", "open question: {question}", hint="write the answer and remove the comment")
SCHEMA_OF_FOLDER = Text(
    "schema-of-folder", "the file is in the folder of schema {schema}", hint="write schema: {schema}, or move the file"
)
SEVERAL_DOCUMENTS = Text("several-documents", "the file has several documents", hint="write one layout in each file")
VERSION_MISSING = Text("version-missing", "version {version} is missing", hint="add its file")
VERSION_TWICE = Text("version-twice", "another file has {map} version {version} too", hint="remove one of them")

# pipeline/registry/registry: rules

ACCEPT_LOSS_ALONE = Text("accept-loss-alone", "accept_loss needs drop or cast beside it", hint="remove it, or add one")
DROP_NOT_ALONE = Text(
    "drop-not-alone", "a dropped field cannot have another rule than was and accept_loss", hint="remove the other rule"
)
MERGE_WITHOUT_FIELD = Text("merge-without-field", "the value does not have this field")
RULES_EXCLUDE = Text("rules-exclude", "{rules} exclude each other", hint="keep one of them")
WAS_WITHOUT_DROP = Text("was-without-drop", "was needs drop: true beside it", hint="remove it, or add drop: true")
WRITE_NUMBER_OR_HEX = Text("write-number-or-hex", "write it as a number, or hex:…")

# pipeline/registry/layout_files: types

BITS_MISSING = Text("bits-missing", "the bit-field does not have a width", hint="add bits")
ENUM_SIZE = Text("enum-size", "an enum has 1, 2, 4 or 8 bytes, not {size}")
FIELD_BEYOND_END = Text("field-beyond-end", "the field ends beyond the {size:byte} of its {kind}")
FIELD_MISSING = Text("field-missing", "the field {field!r} is missing")
KEY_OUTSIDE_MAP = Text("key-outside-map", "only a map has key and value", hint="remove them")
MAP_NOT_OUTERMOST = Text("map-not-outermost", "only the value of a map of maps can be a map")
TYPE_NOT_CLEAR = Text("type-not-clear", "a type needs exactly one of {kinds}")

# pipeline/registry/next_version: the file of a new version

BY_HAND = Text(
    "by-hand",
    "BTF does not describe {map}; write the fields of its key and value as state/README.md shows",
)
FIRST_VERSION = Text(
    "first-version",
    "# Written by `reloader state new`: the first version. Review it like a database migration.",
)
MERGE_COMMENT = Text("merge-comment", "where both versions wrote an entry")
MERGE_QUESTION = Text("merge-question", "how do two values of {field} become one?")
MERGE_QUESTION_WHOLE = Text("merge-question-whole", "how do two values become one?")
NEXT_VERSION = Text(
    "next-version",
    "# Written by `reloader state new`: the differences from version {old} are under rules. "
    "Review it like a database migration.",
)
PADDING_COMMENT = Text("padding-comment", "padding")
RULES_NOT_POSSIBLE = Text(
    "rules-not-possible",
    "# Rules cannot carry entries with {special}, which only the kernel writes: `apply --reset` starts empty.",
)
SAME_LAYOUT = Text(
    "same-layout", "the layout is the same; what has another meaning now? What becomes of old values, below?"
)

# pipeline/registry/suggest: questions

ALWAYS_ZERO = Text("always-zero", "if it always held 0")
ARRAY_SHORTER = Text("array-shorter", "{field} has {new:element}, not {old}: may the others be lost?")
FIELD_DROPPED = Text("field-dropped", "{field} is not in the new layout: may its values be lost, also for a rollback?")
KEY_FIELD_DROPPED = Text(
    "key-field-dropped", "{field} is not in the key any more: was it always the same, or do keys become equal?"
)
KEY_FIELD_NEW = Text("key-field-new", "what is {field} in keys that do not have this field yet?")
OLD_VALUES_LOST = Text("old-values-lost", "the old values are lost")
RENAMED_OR_NEW = Text("renamed-or-new", "was {field} called {olds} before, or is it new?")
SAME_BYTES = Text("same-bytes", "{field} was {old} and is {new}: are these the same bytes?")
SAME_BYTES_MISREAD = Text(
    "same-bytes-misread", "{field} was {old} and is {new}: are these the same bytes? Misread would be {misread}"
)
SAME_NUMBER = Text("same-number", "{field} was {old} and is {new}: is this the same number?")
SAME_NUMBER_NARROW = Text(
    "same-number-narrow",
    "{field} was {old} and is {new}: is this the same number? (a value that does not fit stops the conversion)",
)
SAME_UNIT = Text("same-unit", "{field} has the place or the names of {old}: are these the same bytes?")
SAME_UNIT_LOSES = Text(
    "same-unit-loses",
    "{field} has the place or the names of {old}: are these the same bytes? Not all bytes of {lost} are kept",
)
SAME_UNIT_MISREAD = Text(
    "same-unit-misread",
    "{field} has the place or the names of {old}: are these the same bytes? Misread would be {misread}",
)
