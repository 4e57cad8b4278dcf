"""The words of this room: why entries cannot be carried into another layout, what becomes of them, damaged files."""

from __future__ import annotations

from reloader.wording.message import Text

# layouts/rules: where a fault is

AT_FIELD = Text("at-field", "{field}: {why}")
AT_FIELD_WITH_HINT = Text("at-field-with-hint", "{field}: {why} ({advice})")
AT_STEP = Text("at-step", "version {old} → {new}: {why}")
OUTER_CHANGED = Text("outer-changed", "the key of a map of maps, and the type of the maps in it, cannot change")

# layouts/rule_table: faults

KEYS_COLLIDE = Text(
    "keys-collide",
    "keys that differ only in {fields} would become one key",
    hint="write collide: merge, and one of sum, max, min, or for every value field; "
    "if the field always held the same value, drop it with {{was: …}}",
)
MERGE_NOT_JOINING = Text(
    "merge-not-joining",
    "{word} cannot make one value of several (collide: merge)",
    hint="use one of sum, max, min, or",
)
SIDE_TOO_LARGE = Text("side-too-large", "{size:byte} cannot be converted: the limit is {limit}")
TOO_MANY_RULES = Text("too-many-rules", "{count:rule} needed: the limit is {limit}")
VERSIONS_UNKNOWN = Text("versions-unknown", "not all versions from {first} to {last} are known")

# layouts/rule_table: what is lost, what an entry must be like

ENTRIES_MERGED = Text("entries-merged", "entries that differ only in {fields} become one")
ENTRY_FITS = Text("entry-fits", "{field} fits {type}")
ENTRY_HOLDS = Text("entry-holds", "{field} is {value}")
FIELD_NOT_KEPT = Text("field-not-kept", "{field} is not in version {version}")
FIELD_RESTORED_AS = Text("field-restored-as", "{field} is restored as {value}")
RUNNING_VALUE_KEPT = Text(
    "running-value-kept", "{field}: if both versions wrote it, the running version keeps its own value ({why})"
)

# layouts/rule_table: field by field

BYTE = Text("byte", "byte {offset}")
DROPPED = Text("dropped", "dropped")
FIELD_LINE = Text("field-line", "{field}: {changes}")
OFFSET_CHANGED = Text("offset-changed", "offset {old} → {new}")
SIZE_CHANGED = Text("size-changed", "size {old} → {new}")
SIZE_CHANGED_MUST_FIT = Text("size-changed-must-fit", "size {old} → {new}, must fit")
STARTS_AS = Text("starts-as", "starts as {value}")
STARTS_UNLOCKED = Text("starts-unlocked", "starts unlocked")
UNCHANGED = Text("unchanged", "unchanged")
WAS = Text("was", "was {field}")
WAS_WHOLE = Text("was-whole", "was the whole")
ZERO = Text("zero", "zero")

# layouts/emit: how two values become one

MERGE_NEEDS_INTEGER = Text(
    "merge-needs-integer", "{word} needs an integer in the host's byte order", hint="write keep_new or keep_old"
)
MERGE_OF_PARTS = Text("merge-of-parts", "{word} needs one number, and this field is put together from several")
MERGE_SIGN_CHANGED = Text("merge-sign-changed", "{word} does not work on a number that changes its sign")
MERGE_SIZE = Text("merge-size", "{word} works on 4 and 8 bytes: {size:byte} cannot be changed in one instruction")
MERGE_UNALIGNED = Text(
    "merge-unaligned",
    "{word} needs the field at a multiple of its size",
    hint="do not pack the struct, or write keep_new or keep_old",
)
SUM_EXCHANGE_SIZE = Text(
    "sum-exchange-size", "sum exchanges the old count in one instruction, which takes 4 or 8 bytes, not {size}"
)

# layouts/match: fields

BIT_FIELDS_CHANGED = Text(
    "bit-fields-changed",
    "bit-fields can only move unchanged, and these were {old}",
    hint='write {{rename: "{old}", cast: true}} to take the bytes as they are',
)
DEFAULT_OF_OLD_FIELD = Text(
    "default-of-old-field",
    "the version before has this field too, so that its default is never used",
    hint="write {{const: …}} to replace the old value",
)
DROP_LOSES_VALUES = Text(
    "drop-loses-values",
    "the values would be lost, also for a rollback",
    hint="write {loss}, or {{was: 0}} if it always held 0",
)
DROPPED_FIELD_UNKNOWN = Text("dropped-field-unknown", "the version before does not have this field to drop")
ELEMENTS_CHANGED = Text("elements-changed", "the array has {new:element}, not {old}", hint="write {{{word}: true}}")
FIELD_IS_NEW = Text(
    "field-is-new", "the field is new", hint="write {{default: …}}, or {{rename: OLD}} if it had another name"
)
FIELD_ONLY_BEFORE = Text(
    "field-only-before", "{type} is in the version before only", hint="write {drop}, or rename another field to it"
)
LOCK_CHANGED = Text("lock-changed", "{old} became {new}: a lock cannot become another type")
NO_SUCH_OLD_FIELD = Text("no-such-old-field", "the version before does not have a field {field}")
RULE_NOT_USED = Text("rule-not-used", "the rule is not used: a rule above or below it decides", hint="remove it")
RULE_WITHOUT_FIELD = Text("rule-without-field", "this version does not have the field of this rule")
SHARES_BYTES = Text("shares-bytes", "the field shares bytes with {other} in the {layout} layout")
SOURCE_TAKEN_TWICE = Text(
    "source-taken-twice",
    "the field takes the same old bytes as {other}",
    hint="give one of them a default or const",
)
SPECIAL_FIELD = Text(
    "special-field",
    "{special} in the {layout} layout cannot be carried: only the kernel writes it",
    hint="remove this field, keep the layout, or reset the map",
)
SPECIAL_NOT_COPIED = Text("special-not-copied", "the bytes cannot be copied: the field holds {special}")
WRONG_SIZE = Text("wrong-size", "{given:byte} given, {wanted} needed")

# layouts/match: types

BOOLEAN_FROM_NUMBER = Text("boolean-from-number", "{old} became {new}: not every number is true or false")
MEANING_CHANGED = Text(
    "meaning-changed",
    "{old} became {new}, which has another meaning",
    hint="write {{cast: true}} to take the value as it is",
)
NARROW_NOT_POSSIBLE = Text(
    "narrow-not-possible",
    "{old} became {new}: a number in network order, or one that changes its sign, cannot be narrowed",
)
NARROW_NOT_SAID = Text(
    "narrow-not-said",
    "{old} became {new}, which is narrower",
    hint="write {{narrow: true}}; entries whose value does not fit then stop the conversion",
)
SIXTEEN_BYTES = Text("sixteen-bytes", "{old} became {new}: a number of 16 bytes cannot change its size")
SIZE_AND_ORDER = Text("size-and-order", "{old} became {new}: size and byte order cannot change in one version")
TYPE_CANNOT_CHANGE = Text("type-cannot-change", "{old} ({old_size:byte}) cannot become {new} ({new_size:byte})")
TYPE_CHANGED = Text("type-changed", "{old} became {new}", hint="write {{cast: true}} to take its bytes as they are")
UNION_CHANGED = Text(
    "union-changed",
    "{old} became {new}, and the member in use is not known",
    hint="write {{cast: true}} to take the bytes",
)
UNIT_CHANGED = Text("unit-changed", "{old} became {new}", hint="write {{cast: true}} to take the bytes that both have")
WIDEN_NOT_SAID = Text("widen-not-said", "{old} became {new}, which is wider", hint="write {{widen: true}}")

# layouts/match, layouts/units: bytes that are read as another field

BITS_MOVED = Text("bits-moved", "bits {old} → {new}")
BITS_READ_AS = Text("bits-read-as", "its bits are read as {fields}")
MEANS_ANOTHER_TYPE = Text("means-another-type", "another type")
MISREAD = Text("misread", "{field} is misread")
MISREAD_FIELD = Text("misread-field", "{field} ({why})")
NOT_READ = Text("not-read", "{field} is not read any more")
WOULD_BE_MISREAD = Text(
    "would-be-misread", "{fields} would be misread", hint="write {{accept_loss: true}} beside cast to accept that"
)

# layouts/pieces: two steps that one rule cannot do

CONSTANT_NOT_EXPECTED = Text(
    "constant-not-expected",
    "every entry would be refused: a constant part is not what a later version expects",
    hint="apply the version between them first",
)
PART_EXPECTED_CONSTANT = Text(
    "part-expected-constant",
    "a part of a number that changed its size is expected to be constant",
    hint="apply the version between them first",
)
PART_MOVED = Text(
    "part-moved",
    "a part of a number that changed its size is moved",
    hint="apply the version between them first",
)
PARTS_RESIZED = Text(
    "parts-resized",
    "a number is put together from parts, then changes its size",
    hint="apply the version between them first",
)
SIZE_SIGN_SIZE = Text(
    "size-sign-size",
    "a number changes its size, its sign, and its size again",
    hint="apply the version between them first",
)

# layouts/archive: state files

ARCHIVE_CUT_OFF = Text("archive-cut-off", "the file was cut off after {maps:map}")
ARCHIVE_VERSION = Text("archive-version", "another version of reloader wrote this file: {error}")
ENTRIES_CUT_OFF = Text("entries-cut-off", "map {map}: the file was cut off after {entries:entry}")
ENTRIES_MISCOUNTED = Text("entries-miscounted", "map {map}: the file has {found:entry}, but {wanted} were exported")
ENTRIES_MISPLACED = Text("entries-misplaced", "the bytes before {offset} are not entries of a map")
FRAME_CUT_OFF = Text("frame-cut-off", "the file was cut off at byte {offset}")
FRAME_CUT_OFF_OR_DAMAGED = Text("frame-cut-off-or-damaged", "the file was cut off or damaged at byte {offset}")
FRAME_DAMAGED = Text("frame-damaged", "the file is damaged at byte {offset}")
FRAME_NOT_ENTRIES = Text("frame-not-entries", "map {map}: the bytes before {offset} are not entries")
FRAME_NOT_JSON = Text("frame-not-json", "a part of the file is not JSON: {error}")
MAPS_MISCOUNTED = Text("maps-miscounted", "the file has {maps:map}, but its last line names another number")
NOT_AN_ARCHIVE = Text("not-an-archive", "`reloader state export PIPELINE` did not write this file")
SIZES_IMPOSSIBLE = Text("sizes-impossible", "map {map}: its sizes are not possible")
