"""The maps of an object file: those of its `.maps` section, and the ones that hold its global variables.

The same rules as libbpf's, so that a plan knows without a kernel what a load would create. they go
into an ElfObject. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.structs.btf import Btf, Kind, SectionVariable, TypeTree, map_of
from reloader.structs.elf import texts
from reloader.structs.elf.file import SHT_NOBITS, SHT_PROGBITS, ElfError, ElfFile, Fault, Relocation, Section
from reloader.wording.message import hint_of

F_RDONLY_PROG = 1 << 7
F_MMAPABLE = 1 << 10
MAX_SLOT = 1 << 16  # of initial values
U32 = TypeTree(kind="int", name="unsigned int", size=4)

_NUMBERS = frozenset({
    "type", "max_entries", "map_flags", "numa_node", "key_size", "value_size", "pinning", "map_extra",
})  # fmt: skip
_MAP_IN_MAP = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


@frozen
class ElfMap:
    """One map as the object declares it; sizes are bytes."""

    name: str
    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int  # 0: the kernel or loader sizes it (perf event arrays)
    map_flags: int = 0
    key: TypeTree | None = None  # None: declared by size only
    value: TypeTree | None = None
    internal: bool = False  # holds global variables: .bss, .data, .rodata, .kconfig
    writable: bool = True  # False: frozen before the program runs
    pinning: int = 0  # LIBBPF_PIN_*: 1 is by name
    map_extra: int = 0  # of a Bloom filter the number of hashes, of an arena its address
    inner: ElfMap | None = None  # what maps of a map-in-map look like
    prog_array_values: tuple[str, ...] = ()  # programs set in the source, by index; empty names are holes
    inner_values: tuple[str, ...] = ()  # the same for the maps in a map-in-map


def variables_of(elf: ElfFile, btf: Btf, section: Section) -> tuple[SectionVariable, ...]:
    """A data section's variables at their offsets: clang leaves those of global ones 0, symbols have them."""
    datasec = btf.find_datasec(section.name)
    if datasec is None:
        return ()
    found = btf.variables(datasec)
    if btf.raw(datasec).size_or_type:  # a static linker has been here
        return found
    symbols = elf.global_objects(section)
    fixed = []
    for v in found:
        symbol = symbols.get(v.name) if v.linkage else None
        if v.linkage and symbol is None:
            raise ElfError(texts.VARIABLE_WITHOUT_SYMBOL(variable=v.name, section=section.name))
        fixed.append(v._replace(offset=symbol.value) if symbol else v)
    return tuple(fixed)


def is_data(section: Section) -> bool:
    """Whether libbpf makes a map of a section."""
    if section.size == 0:
        return False
    if section.type == SHT_NOBITS:
        return section.name == ".bss" or section.name.startswith(".bss.")
    named = section.name in (".data", ".rodata") or section.name.startswith((".data.", ".rodata."))
    return section.type == SHT_PROGBITS and named


def internal_maps(elf: ElfFile, btf: Btf | None) -> Iterator[ElfMap]:
    """One array of one entry for each section with variables in it."""
    seen: set[str] = set()
    for section in filter(is_data, elf.sections):
        if section.name in seen:
            raise ElfError(texts.SECTION_TWICE(section=section.name))
        seen.add(section.name)
        constant = section.name.startswith(".rodata")
        variables = variables_of(elf, btf, section) if btf else ()
        value = btf.section_tree(section.name, section.size, variables) if btf and variables else None
        yield ElfMap(
            name=section.name,
            type=MapType.ARRAY,
            key_size=4,
            value_size=section.size,
            max_entries=1,
            map_flags=F_RDONLY_PROG * constant | F_MMAPABLE * any(v.linkage for v in variables),
            key=U32,
            value=value,
            internal=True,
            writable=not constant,
        )
    kconfig = btf.find_datasec(".kconfig") if btf else None
    if btf and kconfig is not None:
        yield _kconfig_map(btf, btf.variables(kconfig))


def _kconfig_map(btf: Btf, variables: tuple[SectionVariable, ...]) -> ElfMap:
    """libbpf fills .kconfig from the running kernel, widest alignment first."""
    sizes = [btf.tree(v.type_id) for v in variables]
    end = 0
    for tree in sorted(sizes, key=lambda t: (-_alignment(t), -t.size)):
        step = _alignment(tree)
        end = (end + step - 1) // step * step + tree.size
    return ElfMap(
        name=".kconfig",
        type=MapType.ARRAY,
        key_size=4,
        value_size=end,
        max_entries=1,
        map_flags=F_RDONLY_PROG,
        key=U32,
        internal=True,
        writable=False,
    )


def _alignment(tree: TypeTree) -> int:
    while tree.element is not None:
        tree = tree.element
    return min(max(tree.size, 1), 8)


def declared_maps(elf: ElfFile, btf: Btf | None, wrong: list[Fault]) -> Iterator[ElfMap]:
    """The maps of the `.maps` section, in the order of the object. What is not right with one goes into `wrong`."""
    if (old := elf.section("maps")) is not None:
        names = sorted(elf.global_objects(old))
        raise ElfError(texts.MAPS_LEGACY(maps=names), reason="legacy_maps")
    section = elf.section(".maps")
    if section is None or section.size == 0:
        return
    datasec = btf.find_datasec(".maps") if btf else None
    if btf is None or datasec is None:
        raise ElfError(texts.MAPS_WITHOUT_BTF())
    variables = variables_of(elf, btf, section)
    initial = _initial_values(elf.relocations.get(section.index, []), sorted(v.offset for v in variables))
    for v in variables:
        try:
            if v.linkage != 1:
                raise ElfError(texts.MAP_STATIC(map=v.name), reason="static_map")
            found, values_at = _declared_map(btf, v.name, btf.peel(v.type_id)[0])
            held = initial[v.offset]
            yield _with_values(found, v.offset + values_at, held, section.index) if values_at >= 0 else found
        except ElfError as error:
            wrong += [_of_map(fault, v.name) for fault in error.faults]


def _of_map(fault: Fault, name: str) -> Fault:
    """The fault as one of that map, which is declared with it or with a map inside it."""
    reason, values = fault.reason.replace("object", "map"), {**fault.values, "map": name}
    return replace(fault, reason=reason, hint=hint_of(fault.message), values=values)


def _initial_values(relocations: list[Relocation], starts: list[int]) -> dict[int, list[Relocation]]:
    """The relocations of .maps by the offset of the map they lie in."""
    found: dict[int, list[Relocation]] = {start: [] for start in starts}
    if len(found) < len(starts):
        raise ElfError(texts.MAPS_AT_ONE_PLACE())
    for r in relocations if starts else ():
        found[starts[max(bisect_right(starts, r.offset) - 1, 0)]].append(r)
    return found


def _declared_map(btf: Btf, name: str, struct_id: int) -> tuple[ElfMap, int]:
    """(the map a definition struct stands for, where in it the initial values lie)."""
    if btf.raw(struct_id).kind != Kind.STRUCT:
        raise ElfError(texts.MAP_NOT_STRUCT(map=name))
    numbers: dict[str, int] = {}
    trees: dict[str, TypeTree] = {}
    inner: ElfMap | None = None
    values_at = -1
    for field, type_id, offset, _ in btf.members(struct_id):
        if field in numbers or field in trees or (field == "values" and values_at >= 0):
            raise ElfError(texts.ATTRIBUTE_TWICE(map=name, attribute=field))
        if field in ("key", "value"):
            trees[field] = _side(btf, _pointee(btf, type_id, name, field), name, field)
        elif field in _NUMBERS:
            numbers[field] = _number(btf, type_id, name, field)
        elif field == "values":
            inner, values_at = _inner_map(btf, type_id, name), offset // 8
        else:
            raise ElfError(texts.ATTRIBUTE_UNKNOWN(map=name, attribute=field))
    return _assembled(name, numbers, trees, inner, values_at >= 0), values_at


def _assembled(
    name: str, numbers: dict[str, int], trees: dict[str, TypeTree], inner: ElfMap | None, has_values: bool
) -> ElfMap:
    if not numbers.get("type"):
        raise ElfError(texts.MAP_WITHOUT_TYPE(map=name))
    if has_values and numbers["type"] not in (*_MAP_IN_MAP, MapType.PROG_ARRAY):
        raise ElfError(texts.VALUES_NOT_ALLOWED(map=name), reason="map_values")
    if has_values and numbers.get("value_size", 4) != 4:
        message = texts.VALUE_SIZE_OF_VALUES(map=name, size=numbers["value_size"])
        raise ElfError(message, reason="map_value_size")
    sizes = {}
    for field in ("key", "value"):
        sizes[field] = numbers.get(f"{field}_size", trees[field].size if field in trees else 0)
        if field in trees and sizes[field] != trees[field].size:
            wanted = trees[field].size
            raise ElfError(texts.SIZE_DIFFERS(map=name, side=field, size=sizes[field], type_size=wanted))
    references = has_values or numbers["type"] in (*_MAP_IN_MAP, MapType.PROG_ARRAY)
    return ElfMap(
        name=name,
        type=numbers["type"],
        key_size=sizes["key"],
        value_size=sizes["value"] or 4 * references,
        max_entries=numbers.get("max_entries", 0),
        map_flags=numbers.get("map_flags", 0),
        key=trees.get("key"),
        value=_nested(inner) if inner else trees.get("value"),
        pinning=numbers.get("pinning", 0),
        map_extra=numbers.get("map_extra", 0),
        inner=inner,
    )


def _nested(inner: ElfMap) -> TypeTree | None:
    """The layout of a map of maps' values; None when that of the inner maps is not known."""
    if inner.key is None or inner.value is None:
        return None
    return map_of(MapType(inner.type).name.lower() if inner.type in list(MapType) else "", inner.key, inner.value)


def _pointee(btf: Btf, type_id: int, name: str, field: str) -> int:
    raw = btf.raw(btf.peel(type_id)[0])
    if raw.kind != Kind.PTR:
        raise ElfError(texts.NOT_BY_TYPE(map=name, attribute=field))
    return raw.size_or_type


def _side(btf: Btf, type_id: int, name: str, field: str) -> TypeTree:
    """A key's or value's layout. clang knows of inner maps' types by name only, unless something else uses them."""
    peeled = btf.peel(type_id)[0]
    if btf.raw(peeled).kind == Kind.FWD:
        named = btf.name(peeled)
        raise ElfError(texts.FIELDS_LEFT_OUT(map=name, side=field, type=f"struct {named}", name=named))
    return btf.tree(type_id)


def _number(btf: Btf, type_id: int, name: str, field: str) -> int:
    """__uint(field, n) is a pointer to an array of n."""
    array = btf.peel(_pointee(btf, type_id, name, field))[0]
    if btf.raw(array).kind != Kind.ARRAY:
        raise ElfError(texts.NOT_BY_UINT(map=name, attribute=field))
    return btf.word(array, 2)


def _inner_map(btf: Btf, type_id: int, name: str) -> ElfMap | None:
    """What `values` points to: the definition of inner maps, or functions (None)."""
    array = btf.peel(type_id)[0]
    if btf.raw(array).kind != Kind.ARRAY:
        raise ElfError(texts.NOT_BY_ARRAY(map=name, attribute="values"))
    target = btf.peel(_pointee(btf, btf.word(array), name, "values"))[0]
    if btf.raw(target).kind == Kind.FUNC_PROTO:
        return None
    inner = btf.name(target) or f"{name}.inner"
    if any(field == "values" for field, *_ in btf.members(target) if btf.raw(target).kind == Kind.STRUCT):
        raise ElfError(texts.NESTED_TWICE(map=name))
    return replace(_declared_map(btf, inner, target)[0], name=inner)


def _with_values(found: ElfMap, start: int, relocations: list[Relocation], maps_index: int) -> ElfMap:
    """The map with what its initialiser in the source puts into it: relocations in .maps say so."""
    names: dict[int, str] = {}
    for r in relocations:
        slot, rest = divmod(r.offset - start, 8)
        if rest or not 0 <= slot <= MAX_SLOT:
            raise ElfError(texts.INITIAL_VALUE_MISPLACED(map=found.name))
        if not r.symbol.name or (r.symbol.section == maps_index) != (found.inner is not None):
            raise ElfError(texts.INITIAL_VALUE_UNKNOWN(map=found.name))
        names[slot] = r.symbol.name
    listed = tuple(names.get(i, "") for i in range(max(names, default=-1) + 1))
    return replace(found, inner_values=listed) if found.inner else replace(found, prog_array_values=listed)
