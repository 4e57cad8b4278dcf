"""The words of this room: values that do not fit their types, and BTF that is damaged."""

from __future__ import annotations

from reloader.wording.message import Text

# structs/numbers

DID_YOU_MEAN = Text("did-you-mean", "did you mean {word}?")
KNOWN_WORDS = Text("known-words", "known: {words}")

# structs/encode: a value and its type

ARRAY_WITHOUT_TYPE = Text("array-without-type", "the object does not give the type of the array's elements")
BITS_OUT_OF_RANGE = Text("bits-out-of-range", "{number} does not fit into {bits:bit} of {type} ({low} to {high})")
BITS_SET_BEYOND_PREFIX = Text(
    "bits-beyond-prefix", "{value} has bits set beyond its prefix", hint="write {address}/{length}"
)
BOOLEAN_FOR_NUMBER = Text("boolean-for-number", "{type} needs a number, not true or false", hint="write 1 or 0")
BYTE_ORDER_UNKNOWN = Text(
    "byte-order-unknown",
    "the byte order of this {type} is not known, so it cannot hold an address",
    hint="declare it __be{bits}, or {order_hint}",
)
ELEMENT_GIVEN_TWICE = Text(
    "element-given-twice", "{index!r} and {other!r} are the same element", hint="give this element once"
)
FIELD_MISSING = Text("field-missing", "the field {field} is missing", hint="give every field of a key")
FIELDS_SHARE_BYTES = Text("fields-share-bytes", "{field} and {other} share bytes", hint="give only one of them")
FLOAT_OUT_OF_RANGE = Text("float-out-of-range", "{value} does not fit into {type}")
NO_SUCH_ELEMENT = Text("no-such-element", "{type} does not have an element {index!r}", hint="use 0 to {last}")
NO_SUCH_FIELD = Text("no-such-field", "{type} does not have a field {field!r}")
NOT_BOOLEAN = Text("not-boolean", "{value} is neither true nor false", hint="write true or false")
NOT_HEX = Text("not-hex", "{value!r} is not hexadecimal", hint="write two digits for each byte, for example hex:0aff")
NOT_IN_ENUM = Text("not-in-enum", "{value} is not in {type}")
NOT_OF_TYPE = Text("not-of-type", "{value} is not of type {type}")
OUT_OF_RANGE = Text("out-of-range", "{number} does not fit into {type} ({low} to {high})")
SET_BY_KERNEL = Text("set-by-kernel", "only the kernel sets {type}", hint="remove this field")
TEXT_TOO_LONG = Text("text-too-long", "the text has {length:byte}, {type} holds {size}")
TYPE_UNKNOWN = Text("type-unknown", "the object does not describe the type of this value")
WRONG_COUNT = Text("wrong-count", "{given:item} given, {type} holds {count}")
WRONG_SIZE = Text("wrong-size", "{given:byte} given, {wanted} needed")

# structs/encode: hints

SAY_BYTE_ORDER = Text("say-byte-order", "write `byteorder: {{{path}: network}}` (or host) for this map")
WRITE_FIELDS = Text("write-fields", "write a mapping of {fields}, or hex:…")
WRITE_HEX = Text("write-hex", "write hex: and {digits} digits, or compile with -g and declare the map with __type()")
WRITE_HEX_OR_NUMBER = Text(
    "write-hex-or-number",
    "write a number, or hex: and {digits} digits, or compile with -g and declare the map with __type()",
)
WRITE_IPV6_FORM = Text("write-ipv6-form", "write the IPv4 address in its IPv6 form, for example ::ffff:192.0.2.1")
WRITE_LIST = Text("write-list", "write a list of {count} × {type}, or hex:…")
WRITE_LIST_OR_MAC = Text("write-list-or-mac", "write a MAC, a list of {count} × {type}, or hex:…")
WRITE_NUMBER = Text("write-number", "write a number, for example 26 or 0x1a")
WRITE_NUMBER_OR_IPV4 = Text("write-number-or-ipv4", "write a number, for example 26 or 0x1a, or an IPv4 address")
WRITE_PREFIX_OR_FIELDS = Text(
    "write-prefix-or-fields", "write a prefix, for example 10.0.0.0/8, a mapping of {fields}, or hex:…"
)

# structs/columns

COLUMNS_SHARE_BYTES = Text(
    "columns-share-bytes", "this column and the column {other!r} share bytes", hint="remove one of them"
)
COLUMN_SHARES_BYTES_WITH_WHOLE = Text(
    "column-and-whole", "this column and the column of the whole share bytes", hint="remove one of them"
)
COLUMN_MISSING = Text("column-missing", "the column for this field is missing", hint="give every field of a key")

# btf

BTF_CUT_OFF = Text("btf-cut-off", "the BTF is cut off: a section ends beyond it")
BTF_DEPTH = Text("btf-depth", "BTF type {type}: nested too deeply, or within itself")
BTF_ENUM_SIZE = Text("btf-enum-size", "BTF type {type}: an enum of {size:byte}")
BTF_KIND_UNKNOWN = Text("btf-kind-unknown", "BTF type {type} is of unknown kind {kind}")
BTF_MAGIC = Text("btf-magic", "the data is not BTF: its magic number is wrong")
BTF_MEMBER_BEYOND = Text("btf-member-beyond", "BTF type {type}: member {member!r} does not fit")
BTF_NAME_UNFIT = Text("btf-name-unfit", "the BTF name at {offset} is not printable, or too long")
BTF_NOT_VARIABLE = Text("btf-not-variable", "data section {section} lists BTF type {type}, which is not a variable")
BTF_SCALAR_SIZE = Text("btf-scalar-size", "BTF type {type}: a scalar of {size:byte}")
BTF_STRING_BEYOND = Text("btf-string-beyond", "the BTF string offset {offset} is out of bounds")
BTF_STRING_NOT_UTF8 = Text("btf-string-not-utf8", "the BTF string at {offset} is not UTF-8")
BTF_STRINGS_NOT_CLOSED = Text(
    "btf-strings-not-closed", "the BTF string section does not start and end with a zero byte"
)
BTF_TOO_SHORT = Text("btf-too-short", "the BTF is shorter than its header")
BTF_TYPE_CUT_OFF = Text("btf-type-cut-off", "the BTF is cut off within a type")
BTF_TYPE_MISSING = Text("btf-type-missing", "BTF type {type} does not exist")
BTF_TYPE_SIZELESS = Text("btf-type-sizeless", "BTF type {type} ({kind}) does not have a size")
BTF_TYPE_TOO_LARGE = Text("btf-type-too-large", "BTF type {type}: too large")
BTF_TYPEDEFS = Text("btf-typedefs", "BTF type {type}: more than {limit} typedefs and qualifiers in a row")
BTF_VARIABLE_BEYOND = Text("btf-variable-beyond", "variable {variable} does not fit into section {section}")
BTF_VERSION = Text("btf-version", "BTF version {version} is unknown")
