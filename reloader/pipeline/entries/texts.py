"""The words of this room: entries that a map cannot take, and files of entries."""

from __future__ import annotations

from reloader.wording.message import Text

# pipeline/entries/row: byte orders

NO_SUCH_FIELD = Text("no-such-field", "the field {field!r} does not exist")
ORDER_OF_BIT_FIELD = Text(
    "order-of-bit-field", "{field} is a bit-field, which does not have a byte order", hint="remove it"
)
ORDER_OF_STRUCT = Text(
    "order-of-struct",
    "{field} is {type}, which does not have a byte order of its own",
    hint="name its fields: {fields}",
)

# pipeline/entries/listing: all entries of a map

INDEX_OUTSIDE = Text("index-outside", "index {index} is outside the array of {size:entry}", hint="use 0 to {last}")
KEY_TWICE = Text("key-twice", "the entry at {line}:{column} has the same key", hint="remove one of them")
KEY_TWICE_IN_FILE = Text("key-twice-in-file", "line {line} has the same key", hint="remove one of them")
PREFIX_BITS_BEYOND = Text(
    "prefix-bits-beyond",
    "bits are set beyond the prefix of {length:bit}",
    hint="clear them: the kernel does not compare them",
)
PREFIX_TOO_LONG = Text("prefix-too-long", "a prefix of {length:bit} is longer than the key of {width:bit}")
TOO_MANY_ENTRIES = Text(
    "too-many-entries",
    "{given:entry} given, but the map holds {limit}",
    hint="raise max_entries, here or in the object",
)
WRITE_KEY_OR_VALUE = Text("write-key-or-value", "write it as key.field or value.field")

# pipeline/entries/bulk: any file

LINE_TOO_LONG = Text(
    "line-too-long",
    "the line is longer than {limit} MiB",
    hint="write one entry a line; look for a missing line break or quote",
)
NOT_UTF8 = Text("not-utf8", "the file is not UTF-8", hint="save it as UTF-8")

# pipeline/entries/bulk: CSV

COLUMN_TWICE = Text("column-twice", "the column {column} occurs twice", hint="remove one of them")
COLUMN_UNCLEAR = Text(
    "column-unclear", "both key and value have a field {column!r}", hint="write key.{column} or value.{column}"
)
COLUMNS_MISSING = Text(
    "columns-missing", "the columns for the {side} are missing", hint="add a column for each field: {fields}"
)
FILE_EMPTY = Text("file-empty", "the file is empty", hint="write the names of the fields in the first line")
NO_SUCH_COLUMN = Text("no-such-column", "neither key nor value has a field {column}")
NOT_CSV = Text("not-csv", "the file is not CSV: {why}", hint="look for a missing quote")
ROW_WIDTH = Text("row-width", "the row has {given:field}, but the header names {wanted}")

# pipeline/entries/bulk: JSON Lines

FIELD_TWICE = Text("field-twice", "the field {field} occurs twice", hint="remove one of them")
NOT_AN_ENTRY = Text(
    "not-an-entry",
    "a line holds one key and one value, and other fields are not allowed",
    hint='write {{"key": …, "value": …}}',
)
NOT_JSON = Text("not-json", "the line is not JSON: {why}")
