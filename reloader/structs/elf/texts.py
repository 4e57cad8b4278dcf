"""The words of this room: object files that cannot be read, or that libbpf would refuse."""

from __future__ import annotations

from reloader.wording.message import Text

NOT_A_BPF_OBJECT = Text("not-a-bpf-object", "compile it with clang -target bpf -g")

# structs/elf/file: the file

ELF_32 = Text("elf-32", "the ELF file is 32-bit, and BPF objects are 64-bit")
ELF_BIG_ENDIAN = Text("elf-big-endian", "the ELF file is big-endian", hint="compile it with clang -target bpfel")
FILE_CUT_OFF = Text("file-cut-off", "the file is cut off: section {section} ends beyond it")
FILE_EMPTY = Text("file-empty", "the file is empty")
NAME_BEYOND = Text("name-beyond", "the name at {offset} is beyond its string table")
NAME_NOT_PRINTABLE = Text("name-not-printable", "the name at {offset} is not printable")
NAME_NOT_UTF8 = Text("name-not-utf8", "the name at {offset} is not UTF-8")
NOT_ELF = Text("not-elf", "the file is not an object file: it does not start with the ELF magic number")
NOT_RELOCATABLE = Text(
    "not-relocatable", "ELF type {type} is not a relocatable object", hint="compile it with clang -c"
)
OTHER_MACHINE = Text("other-machine", "the file is for machine {machine}, not for BPF")
RELOCATION_ADDENDS = Text(
    "relocation-addends", "section {section} has relocations with addends, which BPF objects do not use"
)
RELOCATION_SYMBOL_MISSING = Text(
    "relocation-symbol-missing", "relocation section {section} names symbol {symbol}, which does not exist"
)
RELOCATIONS_DAMAGED = Text("relocations-damaged", "relocation section {section} is damaged")
SECTION_TABLE_CUT_OFF = Text("section-table-cut-off", "the file is cut off: its section table is beyond the end")
SECTION_TABLE_UNKNOWN = Text("section-table-unknown", "the section table is missing or has an unknown form")
SECTION_TOO_LARGE = Text("section-too-large", "section {section} has {size:byte}, and the limit is {limit}")
STRING_TABLE_CUT_OFF = Text("string-table-cut-off", "the file is cut off: a string table ends beyond it")
STRING_TABLE_MISSING = Text("string-table-missing", "string table {index} does not exist")
SYMBOL_SECTION_MISSING = Text("symbol-section-missing", "a symbol is in section {section}, which does not exist")
SYMBOLS_DAMAGED = Text("symbols-damaged", "the symbol table is damaged")
TOO_SHORT = Text("too-short", "the file is not an object file: it is shorter than an ELF header")

# structs/elf: programs and variables

LINES_CUT_OFF = Text("lines-cut-off", "the line information is cut off")
PROGRAM_BEYOND_SECTION = Text("program-beyond-section", "program {program} does not fit into its section {section}")
PROGRAM_STATIC = Text(
    "program-static", "program {program} is static, and libbpf loads global programs only", hint="remove static"
)
TWO_MAPS = Text("two-maps", "the object has several maps named {map}", hint="rename one of them")
TWO_PROGRAMS = Text("two-programs", "the object has several programs named {program}", hint="rename one of them")
VARIABLE_BEYOND_SECTION = Text("variable-beyond-section", "variable {variable} does not fit into section {section}")

# structs/elf/code: functions

FUNCTION_BEYOND_SECTION = Text("function-beyond-section", "function {function} is outside its section")
FUNCTIONS_OVERLAP = Text("functions-overlap", "functions of section {section} overlap")
RELOCATION_BEYOND_CODE = Text("relocation-beyond-code", "a relocation is outside the code")

# structs/elf/maps: sections as maps

SECTION_TWICE = Text("section-twice", "the object has several sections {section}")
VARIABLE_WITHOUT_SYMBOL = Text(
    "variable-without-symbol", "variable {variable} of section {section} does not have a symbol"
)

# structs/elf/maps: declared maps

ATTRIBUTE_TWICE = Text(
    "attribute-twice", "map {map}: the attribute {attribute} occurs twice", hint="remove one of them"
)
ATTRIBUTE_UNKNOWN = Text("attribute-unknown", "map {map}: the attribute {attribute!r} is unknown", hint="remove it")
FIELDS_LEFT_OUT = Text(
    "fields-left-out",
    "map {map}: the BTF names the type of its {side}, {type}, but not its fields",
    hint="clang leaves out the fields of a type that only an inner map uses: "
    "add `const volatile {type} {name}_layout = {{}};`",
)
INITIAL_VALUE_MISPLACED = Text("initial-value-misplaced", "map {map}: an initial value is not at a multiple of 8 bytes")
INITIAL_VALUE_UNKNOWN = Text(
    "initial-value-unknown", "map {map}: an initial value is neither a map nor a program of this object"
)
MAP_NOT_STRUCT = Text("map-not-struct", "map {map} is not declared by a struct")
MAP_STATIC = Text("map-static", "map {map} is static, and libbpf creates global maps only", hint="remove static")
MAP_WITHOUT_TYPE = Text("map-without-type", "map {map} does not have a type", hint="add __uint(type, BPF_MAP_TYPE_…)")
MAPS_AT_ONE_PLACE = Text("maps-at-one-place", "two maps are at the same place")
MAPS_LEGACY = Text(
    "maps-legacy",
    "maps are declared in the old `maps` section: {maps}",
    hint='declare them with BTF: SEC(".maps")',
)
MAPS_WITHOUT_BTF = Text("maps-without-btf", "the .maps section does not have BTF", hint="compile with -g")
NESTED_TWICE = Text("nested-twice", "map {map}: an inner map cannot hold maps")
NOT_BY_ARRAY = Text("not-by-array", "map {map}: the attribute {attribute} is not written with __array()")
NOT_BY_TYPE = Text("not-by-type", "map {map}: the attribute {attribute} is not written with __type()")
NOT_BY_UINT = Text("not-by-uint", "map {map}: the attribute {attribute} is not written with __uint()")
SIZE_DIFFERS = Text("size-differs", "map {map}: {side}_size is {size}, but its type has {type_size:byte}")
VALUE_SIZE_OF_VALUES = Text(
    "value-size-of-values", "map {map}: value_size is {size}, but `.values` need 4", hint="remove value_size"
)
VALUES_NOT_ALLOWED = Text(
    "values-not-allowed", "map {map}: only maps of maps and program arrays have `.values`", hint="remove `.values`"
)

# structs/elf/faults: what libbpf would refuse

ADDRESS_OUTSIDE_TEXT = Text(
    "address-outside-text",
    "section {in} takes the address of {symbol}, which is not a function in .text",
    hint="remove the SEC() line from the function",
)
CALL_OUTSIDE_TEXT = Text(
    "call-outside-text",
    "section {in} calls {symbol}, which is not in .text",
    hint="remove the SEC() line from the function: libbpf calls into .text only",
)
INNER_MAP_PINNED = Text(
    "inner-map-pinned", "map {map}: its inner map declares pinning, which libbpf refuses", hint="remove the attribute"
)
KCONFIG_NAME = Text(
    "kconfig-name",
    "extern {extern} (__kconfig): libbpf knows CONFIG_… and LINUX_KERNEL_VERSION only",
    hint="use the option's own name",
)
KCONFIG_TYPE = Text(
    "kconfig-type",
    "extern {extern} (__kconfig): libbpf does not read an option into {type}",
    hint="declare it bool, char, char[], an integer or enum libbpf_tristate",
)
MAP_HIDDEN = Text("map-hidden", "map {map} is declared __hidden, which libbpf refuses", hint="remove __hidden")
MAP_IN_OTHER_SECTION = Text(
    "map-in-other-section",
    "map {symbol} is in section {section}, and libbpf does not make a map of it",
    hint='declare the map with BTF: SEC(".maps")',
)
MAP_PINNING = Text(
    "map-pinning",
    "map {map}: pinning {pinning} is not a value that libbpf knows",
    hint="remove the attribute: reloader pins maps itself",
)
STRUCT_OPS = Text(
    "struct-ops",
    "section {section} declares struct_ops maps, which reloader does not load",
    hint="put them into an object of their own, and load that by another tool",
)
SECTION_TOO_LARGE_FOR_MAP = Text(
    "section-too-large-for-map",
    "section {section} has {size:byte}; the kernel takes {limit} in a map's value",
    hint="move data into a map",
)
SYMBOL_WITHOUT_SECTION = Text(
    "symbol-without-section",
    "section {in} uses {symbol}, which does not have a section",
    hint="initialise the variable, and compile with -fno-common",
)
VALUES_KEY_SIZE = Text(
    "values-key-size",
    "map {map}: `.values` of a hash of maps need keys of 4 bytes, not {key_size}",
    hint="make the key a __u32, or remove `.values` and add the maps from user space",
)
VALUES_NOT_PROGRAM = Text(
    "values-not-program",
    "map {map}: `.values` name {value}, which is not a program with a section of its own",
    hint='write SEC("…") above it',
)
VARIABLE_IN_OTHER_SECTION = Text(
    "variable-in-other-section",
    "variable {symbol} is in section {section}, and libbpf does not make a map of it",
    hint="use .data.…, .rodata.… or .bss.… as its section",
)
VERSION_SECTION = Text(
    "version-section", "section version has {size:byte}, and libbpf wants a __u32", hint="remove the section"
)
