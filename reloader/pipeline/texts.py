"""The words of this room, by module: faults of a YAML file, of its objects, and of both together."""

from __future__ import annotations

from reloader.message import Text

_MOVE_ENTRIES = "move entries into a CSV or JSON Lines file beside the YAML"

# --- source: a file that cannot be read

CANNOT_BE_READ = Text("cannot-be-read", "cannot be read: {why}")
YAML_TOO_LARGE = Text("yaml-too-large", "cannot be read: {why}", hint=_MOVE_ENTRIES)
NAME_REGULAR_FILE = Text(
    "name-regular-file", "name a regular file; to use the output of a command, save it in a file first"
)

# --- document: bytes and YAML syntax

BYTE_ORDER_MARK = Text(
    "byte-order-mark", "the file starts with a byte order mark", hint="save it as UTF-8 without a byte order mark"
)
DOCUMENT_TOO_LARGE = Text(
    "document-too-large",
    "the file is larger than {limit} MiB",
    hint=_MOVE_ENTRIES,
)
EMPTY_FILE = Text(
    "empty-file",
    "the file does not contain a YAML document",
    hint="`reloader init OBJECT` prints a first document for an object",
)
FORBIDDEN_CHARACTER = Text("forbidden-character", "YAML does not allow the character U+{number:04X}", hint="remove it")
NOT_UTF8 = Text("not-utf8", "the file is not UTF-8", hint="save the file as UTF-8")
NOT_YAML = Text("not-yaml", "not YAML: {why}")
CHECK_STRUCTURE = Text("check-structure", "look for a missing bracket, comma, quote or colon, or a wrong indentation")
QUOTE_COLON = Text("quote-colon", "put a text that contains ': ' in quotes, or correct the indentation of this line")
QUOTE_START = Text("quote-start", "put a text that starts with a special character in quotes")
STARTED_AT = Text("started-at", "(started at {line}:{column})")
TAB = Text("tab", "YAML does not allow a tab here", hint="indent with spaces")
YAML_CUT_OFF = Text("yaml-cut-off", "not YAML: the file ends inside a list or a mapping", hint="write the rest of it")

# --- document: nodes

ALIAS_LOOP = Text("alias-loop", "the anchor &{name} contains itself", hint="write the value instead of *{name}")
COLLECTION_AS_KEY = Text("collection-as-key", "a key must be text, not a list or a mapping")
DUPLICATE_KEY = Text(
    "duplicate-key", "the key {key!r} is given twice; the first one is at {line}:{column}", hint="remove one of them"
)
KEY_NOT_TEXT = Text("key-not-text", "a key must be text, not {value}", hint="put it in quotes")
MERGE_KEY = Text("merge-key", "merge keys (<<) are not part of YAML 1.2", hint="write the fields out")
NUMBER_TOO_LONG = Text(
    "number-too-long", "a number can have at most {limit} characters", hint="put it in quotes if it is text"
)
TOO_DEEP = Text("too-deep", "values are nested more than {limit} deep", hint="use fewer levels")
TOO_MANY_VALUES = Text(
    "too-many-values",
    "the file has more than {limit:,} values; an alias counts as all values that it stands for",
    hint=_MOVE_ENTRIES,
)
UNFIT_TEXT = Text(
    "unfit-text", "text must not contain a NUL or half of a surrogate pair", hint="remove that escape sequence"
)
UNKNOWN_ALIAS = Text(
    "unknown-alias", "the anchor &{name} is not defined before this alias", hint="write the value instead of *{name}"
)
UNKNOWN_TAG = Text("unknown-tag", "reloader does not support the tag {tag!r}", hint="remove it")
# --- check: a document against the schema

CHOOSE_ONE = Text("choose-one", "choose one of {names}")
DID_YOU_MEAN = Text("did-you-mean", "did you mean {name!r}?")
DUPLICATE_ITEM = Text("duplicate-item", "contains the same item twice")
EMPTY_MAPPING = Text("empty-mapping", "must not be empty")
EMPTY_TEXT = Text("empty-text", "must not be empty")
EMPTY_VALUE = Text("empty-value", "must not be empty")
FIELD_NOT_AVAILABLE = Text(
    "field-not-available", "the field {name!r} is not available in this version", hint="remove it"
)
INVALID_MAP_NAME = Text(
    "invalid-map-name", "{value} is not the name of a map", hint="write the name that the map has in the object"
)
INVALID_TEXT = Text("invalid-text", "{value} is not allowed here")
MISSING_FIELD = Text("missing-field", "the field {name!r} is missing")
NOT_ALLOWED = Text("not-allowed", "{value} is not allowed here")
NOT_A_CHOICE = Text("not-a-choice", "{value} is not one of {choices}")
NUMBER_TOO_LARGE = Text("number-too-large", "must be at most {limit}, not {value}")
NUMBER_TOO_SMALL = Text("number-too-small", "must be at least {limit}, not {value}")
PUT_IN_QUOTES = Text("put-in-quotes", "put it in quotes")
TOO_FEW_ITEMS = Text("too-few-items", "must have at least {limit:item}")
TOO_MANY_FIELDS = Text("too-many-fields", "has more than {limit:field}")
TYPE_NOT_AVAILABLE = Text("type-not-available", "this version does not support {value}")
UNKNOWN_FIELD = Text("unknown-field", "unknown field {name!r}")
WRONG_CONSTANT = Text("wrong-constant", "must be {limit}, not {value}")
WRONG_TYPE = Text("wrong-type", "must be {wanted}, not {value}")

# --- parse: what a schema cannot say

APPLY_MAP_OF_SHARED = Text(
    "apply-map-of-shared-map",
    "apply: map would lose entries that other processes write during the change",
    hint="prune: false shares the map; use apply: entries",
)
DUPLICATE_OBJECT = Text("duplicate-object", "the object {file} is listed twice", hint="remove one of them")
DUPLICATE_PIPELINE = Text(
    "duplicate-pipeline",
    "the name {name!r} is given twice; the first one is at {line}:{column}",
    hint="give each pipeline its own name",
)
ENTRIES_AND_FROM = Text(
    "entries-and-from", "a map cannot have both 'entries' and 'from'", hint="remove one of the two fields"
)
FIELD_OF_OTHER_ROLE = Text(
    "field-of-other-role", "{field!r} does not apply to role {role}", hint="use it with role {roles}"
)
NOT_CONFIG = Text(
    "not-config", "the map {name!r} does not have role config", hint="only config maps can change together"
)
NO_SUCH_TIED_MAP = Text("no-such-tied-map", "the map {name!r} is not declared here")
PATTERN = Text(
    "pattern",
    "{name!r} is a pattern, and reloader does not expand patterns",
    hint="write one attachment for each, by the name that `{command}` shows",
)
PIN_MISSING = Text(
    "pin-missing", "an external map needs the field 'pin'", hint="add the absolute path on a bpf filesystem"
)
PLACEHOLDER = Text("placeholder", "{name!r} is a placeholder", hint="write the name that `{command}` shows")
PLACE_TAKEN = Text(
    "place-taken",
    "the attachment at {line}:{column} already uses {place}",
    hint="remove one of them; this version attaches one program to a place",
)
TIED_APPLY_ENTRIES = Text(
    "tied-apply-entries",
    "apply: entries cannot change maps at the same instant",
    hint="tied to {maps}; use apply: map, program or auto",
)
TIED_TO_ITSELF = Text("tied-to-itself", "a map cannot be tied to itself", hint="name another map")

# --- share

UNKNOWN_GROUP = Text(
    "unknown-group",
    "group {group!r} does not exist on this host",
    hint="run `groupadd --system {group}`, or name another group",
)

# --- undecided

ROLE_NOT_CHOSEN = Text(
    "role-not-chosen", "the role of map {map} is not chosen", hint="replace {todo} by one of {choices}"
)
