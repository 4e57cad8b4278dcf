"""The words of this room, by module: faults of a YAML file, of its objects, and of both together."""

from __future__ import annotations

from reloader.wording.message import Text

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
PANIC_WITHOUT_MEANING = Text(
    "panic-without-meaning",
    "panic: {panic} does not mean anything for attach type {type}",
    hint="remove the field `panic`, or write a pipeline of its own for those attachments",
)
PIN_MISSING = Text(
    "pin-missing", "an external map needs the field 'pin'", hint="add the absolute path on a bpf filesystem"
)
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
    "role-not-chosen", "the role of map {map} is not chosen", hint="replace {todo} with one of {choices}"
)
# --- compile: a pipeline against its objects

CHOOSE_ROLES = Text("choose-roles", "choose each role and add:")
ENTRIES_OF_TYPE = Text(
    "entries-of-type", "maps of type {type} do not take entries", hint="remove the entries, or choose another map type"
)
GATE_NOT_CHECKED = Text(
    "gate-not-checked",
    "none of the attached programs checks the gate",
    hint="write RELOADER_GATE(name) before the program of a later hook, and call gate_check(skb, name) first in it",
)
GATE_NOT_ENTERED = Text(
    "gate-not-entered",
    "none of the attached programs enters the gate",
    hint="call gate_enter(ctx) in the XDP program that packets reach first",
)
KEPT_FIELD_IN_ENTRIES = Text(
    "kept-field-in-entries",
    "the entries set the kept field {field}",
    hint="remove it from the entries: it starts at 0",
)
MAP_NOT_EXCHANGEABLE = Text(
    "map-not-exchangeable",
    "map {map} cannot be exchanged as a whole",
    hint="declare RELOADER_CONFIG(…) for it (reloader_config.h) and read it with config_get, or use apply: auto",
)
NO_PROGRAMS = Text("no-programs", "the objects do not contain a program")
NO_SUCH_MAP = Text("no-such-map", "the objects do not contain a map {name!r}")
NO_SUCH_PROGRAM = Text("no-such-program", "the objects do not contain a program {name!r}")
OBJECT_MAP = Text("object-map", "{file}: map {map}: {fault}")
ROLE_OF_TYPE = Text("role-of-type", "maps of type {type} cannot have the role {role}", hint="choose one of {roles}")
ROLE_OF_VARIABLES = Text(
    "role-of-variables", "a section of variables cannot have the role {role}", hint="choose one of {roles}"
)
SECTION = Text("section", "program {program} is in section {section!r}; {why}")
SECTION_OF_OTHER_TYPE = Text(
    "section-of-other-type",
    "attach type {type} needs {wanted!r}",
    hint='write SEC("{wanted}") above it, or attach another program',
)
SECTION_UNKNOWN = Text("section-unknown", "libbpf does not know this section", hint='write SEC("{wanted}") above it')
SIZE_OF_VARIABLES = Text(
    "size-of-variables", "the variables set the size of their section", hint="remove max_entries here"
)
TIED_NOT_EXCHANGEABLE = Text(
    "tied-not-exchangeable",
    "{map} is tied to {others}, which cannot be exchanged as a whole",
    hint="declare RELOADER_CONFIG for all of them, or use apply: program",
)
UNDECLARED_MAPS = Text("undeclared-maps", "{count:writable map is|writable maps are} not declared: {maps}")

# --- constants

BYTEORDER_NOT_MAPPING = Text(
    "byteorder-not-mapping",
    "must be a mapping from field paths to network or host",
    hint="for example `byteorder: {{peer: network}}`",
)
CONSTANTS_AS_MAP = Text(
    "constants-as-map",
    "{section} contains constants and cannot have a role",
    hint="remove it here; set its variables under rodata",
)
CONSTANT_MISPLACED = Text(
    "constant-misplaced",
    "{constant} is weak in one object and defined in a later one, where libbpf does not find it",
    hint="list the object that defines it first",
)
CONSTANT_OF_KERNEL = Text(
    "constant-of-kernel",
    "{constant} comes from the configuration of the running kernel and cannot be set",
    hint="remove it; to choose a value, declare `const volatile` instead of `extern`",
)
KCONFIG_AS_MAP = Text(
    "kconfig-as-map",
    "{section} is the kernel's configuration, which libbpf fills in at every load",
    hint="remove {section} from the maps",
)
NOT_A_BYTE_ORDER = Text("not-a-byte-order", "{order!r} is not a byte order", hint="write network or host")
NO_SUCH_CONSTANT = Text(
    "no-such-constant",
    "the objects do not contain a read-only variable {constant!r}",
    hint="only `const volatile` globals can be set",
)
SAY_BYTE_ORDER = Text("say-byte-order", "write `rodata: {{byteorder: {{{path}: network}}}}` (or host)")
WRITE_FIELD_OF = Text("write-field-of", "write it as {name}.field")

# --- constant_values

AS_COMPILED = Text("as-compiled", "as compiled")
FIELD_CHANGED = Text("field-changed", "{old} → {new}")
MORE_FIELDS = Text("more-fields", "and {more} more fields")

# --- creation: maps that no kernel creates

MAP_EXTRA = Text("map_extra", "{rule}; this map has map_extra {extra}")
MAP_FLAGS = Text("map_flags", "{rule}; this map has map_flags {flags:#x}")
MAP_INNER = Text("map_inner", "the inner map is not valid: {rule}")
MAP_KEY_SIZE = Text("map_key_size", "{rule}; this map has keys of {size:byte}", hint="change its `key` or `key_size`")
MAP_MAX_ENTRIES = Text("map_max_entries", "{rule}; this map has max_entries {count}")
MAP_TYPE = Text("map_type", "reloader does not know map type {type}", hint="correct its `type`")
MAP_VALUE_SIZE = Text(
    "map_value_size", "{rule}; this map has values of {size:byte}", hint="change its `value` or `value_size`"
)
MAP_VALUES = Text(
    "map_values",
    "`.values` need {needed:entry}, and max_entries is {count}",
    hint="raise max_entries in the object, or in the YAML",
)
OF_INNER_MAP = Text("of-inner-map", "its inner map: {fault}")

ADD_NO_PREALLOC = Text(
    "add-no-prealloc", "maps of type {type} need BPF_F_NO_PREALLOC", hint="add __uint(map_flags, BPF_F_NO_PREALLOC)"
)
CPU_VALUE_AT_MOST = Text("cpu-value-at-most", "maps of type {type} hold at most {most} bytes for each CPU")
ENTRIES_AT_MOST = Text(
    "entries-at-most",
    "maps of type {type} take at most {most} entries",
    hint="lower max_entries in the object, or in the YAML",
)
ENTRIES_NEEDED = Text(
    "entries-needed", "maps of type {type} need max_entries", hint="write max_entries in the object, or in the YAML"
)
ENTRIES_NOT_TAKEN = Text("entries-not-taken", "maps of type {type} do not take max_entries", hint="remove it")
EXTRA_NOT_TAKEN = Text("extra-not-taken", "maps of type {type} do not take map_extra", hint="remove it")
FLAGS_NOT_TAKEN = Text("flags-not-taken", "maps of type {type} do not take {flags}", hint="remove it from map_flags")
FLAGS_OPPOSED = Text(
    "flags-opposed", "a map cannot be read-only and write-only at once", hint="remove one of the two flags"
)
HASHES_AT_MOST = Text("hashes-at-most", "maps of type {type} take at most {most} hashes", hint="lower its map_extra")
INNER_PROGRAM_ARRAY = Text(
    "inner-program-array",
    "maps of type {type} do not take program arrays as inner maps",
    hint="declare the program array outside the map of maps",
)
INNER_UNKNOWN = Text(
    "inner-unknown",
    "maps of type {type} need a declaration of their inner maps",
    hint="write __array(values, struct {{ … }}) in it",
)
KEYS_AT_MOST = Text("keys-at-most", "maps of type {type} have keys of at most {most} bytes")
KEYS_BETWEEN = Text("keys-between", "maps of type {type} have keys of {least} to {most} bytes")
KEYS_NEEDED = Text("keys-needed", "maps of type {type} need keys")
KEYS_NOT_TAKEN = Text("keys-not-taken", "maps of type {type} do not have keys")
KEYS_OF = Text("keys-of", "maps of type {type} have keys of {size} bytes")
PAIR_BELOW = Text("pair-below", "maps of type {type} hold less than {limit} bytes in key and value together")
VALUES_NEEDED = Text("values-needed", "maps of type {type} need values")
VALUES_NOT_TAKEN = Text("values-not-taken", "maps of type {type} do not have values")
VALUES_OF = Text("values-of", "maps of type {type} have values of {sizes} bytes")
VALUE_STEPS = Text("value-steps", "maps of type {type} have values of 1 to {most} times {step} bytes")

# --- keep

_OWN_MAP = "move the counters into a state map of their own"
KEEP_KERNEL_FIELD = Text(
    "keep-kernel-field", "the map's value has fields that only the kernel may write", hint=_OWN_MAP
)
KEEP_NOT_COUNTER = Text(
    "keep-not-counter",
    "{field} is not a counter of 4 or 8 bytes",
    hint="other fields cannot be moved while programs write to them",
)
KEEP_NO_STRUCT = Text(
    "keep-no-struct",
    "BTF does not describe the map's value as a struct",
    hint="compile with -g, and declare the map with __type",
)
KEEP_NO_SUCH_FIELD = Text("keep-no-such-field", "the map's value does not have a field {field!r}")
KEEP_TOO_MUCH = Text(
    "keep-too-much",
    "keep takes at most {fields} fields, values of {value} bytes and keys of {key} bytes",
    hint=_OWN_MAP,
)
KEEP_TYPE = Text("keep-type", "maps of type {type} cannot keep fields", hint="use keep with {types}")

# --- objects

BTF = Text("btf", "{file}: {why}", hint="compile it as a BPF object with BTF: clang -target bpf -g")
COMPILE_FIRST = Text("compile-first", "compile it first")
DIGEST = Text("digest", "{file} does not match the sha256 in the YAML", hint="its sha256 is {sha256}")
KCONFIG_NOT_SET = Text(
    "kconfig_not_set",
    "{file}: extern {extern} (__kconfig): the kernel of this host does not set it",
    hint="declare it __weak, and test it before use",
)
KCONFIG_VALUE = Text(
    "kconfig_value",
    "{file}: extern {extern} (__kconfig): its value on this host, {value}, does not fit {type}",
    hint="declare it with the option's type: bool, enum libbpf_tristate, an integer, or char[] for a text",
)
LICENSE_DIFFERS = Text(
    "license_differs",
    "this object has the license {license!r}; another object has a different license",
    hint="give all objects the same license",
)
MAP_CLASH = Text("map_clash", "another object also declares {map!r}; {why}")
MAP_DECLARED_DIFFERENTLY = Text(
    "map-declared-differently", "the declarations differ", hint="declare it once, in a header for both"
)
OBJECT_FAULT = Text("object-fault", "{file}: {fault}")
TWIN_PROGRAM = Text("twin_program", "another object also contains program {program!r}", hint="rename one of them")
TWIN_SYMBOL = Text(
    "twin_symbol",
    "more than one object defines {symbols} without __weak",
    hint="write __weak in one of them, or `extern` to use the other definition",
)
UNRESOLVED_EXTERN = Text(
    "unresolved_extern",
    "extern {extern} is not defined in the objects",
    hint="add the object that defines it, or write __ksym or __kconfig behind the declaration",
)
UNUSABLE_OBJECT = Text("unusable-object", "{file} cannot be read: {why}")
VARIABLES_CLASH = Text(
    "variables-clash",
    "the layout of joint variables is known only after linking",
    hint="keep global variables in one of the objects",
)
WEAK_MAP_FIRST = Text(
    "weak_map_first",
    "map {map}: an earlier object defines it __weak, and libbpf's linker does not replace it",
    hint="list this object first, or write __weak in both",
)
# --- host_file: the commands of this host

COMMANDS_NOT_MAPPING = Text(
    "commands-not-mapping", "must be a mapping from names to lists", hint="for example ask: [/usr/bin/ask, now]"
)
COMMAND_NAME = Text(
    "command-name",
    "{name!r} is not a name for a command",
    hint="use a small letter, then small letters, digits, dashes and underscores",
)
COMMAND_WORDS = Text(
    "command-words",
    "must be a list: the absolute path of a program, then its arguments, all of them text",
    hint="put numbers in quotes",
)
DECLARED_COMMANDS = Text("declared-commands", "the file declares {names}")
HOST_COMMANDS = Text("host-commands", "which commands pipelines may name")
NOT_A_HOST = Text("not-a-host", "the document is not a Host", hint="write apiVersion: reloader/v1 and kind: Host")
NO_HOST_FILE = Text(
    "no-host-file",
    "{path} does not exist, so this host does not declare {names}",
    hint="create it with apiVersion: reloader/v1, kind: Host, commands: {{NAME: [PROGRAM, …]}}",
)
NO_SUCH_COMMAND = Text(
    "no-such-command", "this host does not declare the command {name!r}", hint="add it below `commands`"
)
OTHERS_CAN_CHANGE = Text(
    "others-can-change",
    "{path} belongs to user {owner}; reloader does not take commands from it",
    hint="run `chown root {path}`",
)
SEVERAL_DOCUMENTS = Text(
    "several-documents", "the file contains more than one document", hint="keep only the first document"
)

# --- scaffold: the first YAML of an object

ATTACHABLE_SECTIONS = Text("attachable-sections", "its sections are {sections}; this version attaches {types}")
NOTHING_TO_ATTACH = Text("nothing-to-attach", "the object does not contain a program that can be attached")
NO_VALID_YAML = Text(
    "no-valid-yaml",
    "reloader cannot write a valid YAML for it: {fault}",
    hint="rename it in the source and compile the object again",
)
PATH_NOT_UTF8 = Text("path-not-utf8", "the path is not UTF-8, so YAML cannot contain it", hint="rename the file")

YAML_ATTACH_FIELDS = Text("yaml-attach-fields", "also, of {type}: {fields}")
YAML_CONSTANTS = Text(
    "yaml-constants",
    "rodata:  # constants of the objects, as compiled; set those that differ, or parts of a struct or array",
)
YAML_ENTRIES = Text("yaml-entries", "entries:  # or  from: {{csv: FILE}}; its first line names the fields")
YAML_NOT_ATTACHED = Text("yaml-not-attached", "not attached: {program}, section {section}")
YAML_PRUNE = Text("yaml-prune", "prune: false  # with role: config: keep the entries that other processes write")
YAML_ROLE = Text(
    "yaml-role", "state: every change keeps the entries. config: this file lists the entries, for example:"
)
YAML_ROLES = Text("yaml-roles", "roles: {roles}")
YAML_WRITTEN = Text(
    "yaml-written",
    "Written by `reloader init OBJECT`. Name the places, choose the roles, then run `reloader validate FILE`.",
)

# --- roles

VARIABLES = Text("variables", "global variables, {size:byte}")
