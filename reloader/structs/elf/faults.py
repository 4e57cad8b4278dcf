"""What libbpf would refuse in an object, each fault with a stable reason, found without libbpf and without a kernel.

Rules of libbpf 1.1 and later (src/libbpf.c: elf_collect, collect_externs, init_user_btf_map, collect_map_relos,
record_reloc). The rules on one map's size and type are in pipeline/creation.py, since YAML may change them. Called by
read_object. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.structs.btf import Btf, Kind, TypeTree
from reloader.structs.elf import texts
from reloader.structs.elf.file import (
    SHN_LORESERVE,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
    STT_SECTION,
    ElfFile,
    Fault,
    Relocation,
    Section,
    Symbol,
)
from reloader.structs.elf.maps import ElfMap, is_data

LARGEST = (1 << 31) - 1  # bytes of a map's value, INT_MAX
PIN_NONE, PIN_BY_NAME = 0, 1
CALL = 0x85  # BPF_JMP | BPF_CALL
PSEUDO_CALL = 1
TEXT, KCONFIG, KSYMS = ".text", ".kconfig", ".ksyms"
FILLED_IN = frozenset({"LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER"})  # by libbpf


@frozen
class Extern:
    """A name that the object uses and does not define."""

    name: str
    section: str  # ".kconfig", ".ksyms", or empty: another object has to define it
    weak: bool
    type: TypeTree | None = None  # of a kernel option


def externs(elf: ElfFile, btf: Btf | None) -> tuple[Extern, ...]:
    """Every undefined name, and where its declaration says it comes from."""
    declared: dict[str, str] = {}
    types: dict[str, TypeTree] = {}
    for section in btf.of_kind(Kind.DATASEC) if btf else ():
        name = btf.name(section) if btf else ""
        if btf and name in (KCONFIG, KSYMS):
            declared |= {btf.name(one): name for one, _, _ in btf.items(section, 12)}
        if btf and name == KCONFIG:
            types = {v.name: btf.tree(v.type_id) for v in btf.variables(section)}
    return tuple(
        Extern(
            name=s.name,
            section=declared.get(s.name, ""),
            weak=s.bind == STB_WEAK,
            type=types.get(s.name),
        )
        for s in elf.symbols
        if s.section == 0 and s.type == STT_NOTYPE and s.bind != STB_LOCAL and s.name
    )


def defined(elf: ElfFile) -> dict[str, bool]:
    """Global name → whether it is weak. Each object has its own license and version."""
    alone = {s.index for s in elf.sections if s.name in ("license", "version")}
    return {
        s.name: s.bind == STB_WEAK
        for s in elf.symbols
        if 0 < s.section < SHN_LORESERVE and s.section not in alone and s.bind != STB_LOCAL and s.name
    }


def find_faults(elf: ElfFile, maps: Sequence[ElfMap], outside: Sequence[Extern]) -> Iterator[Fault]:
    """All that libbpf would refuse in a file whose maps and programs could be read."""
    yield from _sections(elf)
    yield from chain.from_iterable(_map(elf, one) for one in maps if not one.internal)
    yield from _externs(outside)
    seen = set()
    for section in elf.sections:
        if section.is_code:
            for fault in _code(elf, section):
                if fault.message not in seen:
                    seen.add(fault.message)
                    yield fault


def _sections(elf: ElfFile) -> Iterator[Fault]:
    for section in elf.sections:
        name, size = section.name, section.size
        if name in (".struct_ops", ".struct_ops.link") and size:
            yield Fault.of("struct_ops", texts.STRUCT_OPS(section=name))
        if name == "version" and size != 4:
            yield Fault.of("version_section", texts.VERSION_SECTION(section=name, size=size))
        if is_data(section) and size > LARGEST:
            message = texts.SECTION_TOO_LARGE_FOR_MAP(section=name, size=size, limit=LARGEST)
            yield Fault.of("section_too_large", message)


def _map(elf: ElfFile, found: ElfMap) -> Iterator[Fault]:
    section = elf.section(".maps")
    symbols = elf.by_section.get(section.index, []) if section else []
    if any(s.hidden for s in symbols if s.name == found.name):
        yield Fault.of("hidden_map", texts.MAP_HIDDEN(map=found.name))
    if found.pinning not in (PIN_NONE, PIN_BY_NAME):
        yield Fault.of("map_pinning", texts.MAP_PINNING(map=found.name, pinning=found.pinning))
    if found.inner and found.inner.pinning:
        yield Fault.of("map_pinning", texts.INNER_MAP_PINNED(map=found.name))
    if any(found.inner_values) and found.type == MapType.HASH_OF_MAPS and found.key_size != 4:
        yield Fault.of("map_values_key", texts.VALUES_KEY_SIZE(map=found.name, key_size=found.key_size))
    yield from _initial(elf, found)


def _initial(elf: ElfFile, found: ElfMap) -> Iterator[Fault]:
    """What `.values` name: entry programs, or maps, of this object."""
    entries = {
        s.name
        for section in elf.sections
        if section.is_code and section.name != TEXT
        for s in elf.by_section.get(section.index, [])
        if s.type == STT_FUNC
    }
    for name in filter(None, found.prog_array_values):
        if name not in entries:
            yield Fault.of("map_values", texts.VALUES_NOT_PROGRAM(map=found.name, value=name))


def _externs(outside: Sequence[Extern]) -> Iterator[Fault]:
    for one in outside:
        name = one.name
        known = name.startswith("CONFIG_") or name in FILLED_IN or (name.startswith("LINUX_") and one.weak)
        if one.section == KCONFIG and not known:
            yield Fault.of("kconfig_name", texts.KCONFIG_NAME(extern=name))
        if one.section == KCONFIG and one.type and not option_kind(one.type):
            yield Fault.of("kconfig_type", texts.KCONFIG_TYPE(extern=name, type=one.type.text()))


def option_kind(tree: TypeTree) -> str:
    """Return how libbpf reads a kernel option into that type: bool, char, int, tristate, text; empty: it refuses."""
    if tree.kind == "array":
        return "text" if tree.element and tree.element.kind in ("char", "int") and tree.element.size == 1 else ""
    if tree.kind == "enum":
        return "tristate" if tree.name == "libbpf_tristate" else ""
    if tree.kind == "bool":
        return "bool" if tree.size == 1 else ""
    if tree.kind not in ("int", "char") or tree.size not in (1, 2, 4, 8):
        return ""
    return "char" if tree.size == 1 else "int"


def _code(elf: ElfFile, section: Section) -> Iterator[Fault]:
    code, relocated = elf.contents(section), set()
    for r in elf.relocations.get(section.index, []):
        relocated.add(r.offset)
        if r.offset % 8 or r.offset + 8 > len(code):
            continue  # found by code.py
        yield from _relocation(elf, section, code, r)
    if section.name == TEXT:
        return
    opcodes, found = code[::8], -1
    while (found := opcodes.find(CALL, found + 1)) >= 0:
        at = found * 8
        if at + 8 <= len(code) and code[at + 1] >> 4 == PSEUDO_CALL and at not in relocated:
            yield _call(section, elf.by_section.get(section.index, []), at + _distance(code, at))


def _distance(code: bytes, at: int) -> int:
    """How far a call leads from itself, in bytes; of one that is relocated, from its symbol."""
    immediate: int = struct.unpack_from("<i", code, at + 4)[0]
    return (immediate + 1) * 8


def _relocation(elf: ElfFile, section: Section, code: bytes, r: Relocation) -> Iterator[Fault]:
    symbol = r.symbol
    if symbol.section == 0 and symbol.type == STT_NOTYPE and symbol.name:
        return  # an extern
    target = elf.sections[symbol.section] if 0 < symbol.section < len(elf.sections) else None
    name = symbol.name or (target.name if target else "")
    values: dict[str, Any] = {"symbol": name, "section": target.name if target else "", "in": section.name}
    if target is None:
        yield Fault.of("symbol_without_section", texts.SYMBOL_WITHOUT_SECTION(**values))
    elif code[r.offset] == CALL:
        if target.name != TEXT:
            at = symbol.value + (_distance(code, r.offset) if symbol.type == STT_SECTION else 0)
            yield _call(section, elf.by_section.get(target.index, []), at)
    elif not (target.name == ".maps" or is_data(target) or target.name == TEXT):
        old = target.name.partition("/")[0] == "maps"
        data = texts.MAP_IN_OTHER_SECTION if old else texts.VARIABLE_IN_OTHER_SECTION
        why = texts.ADDRESS_OUTSIDE_TEXT if target.is_code else data
        yield Fault.of("unknown_section", why(**values))


def _call(section: Section, symbols: Sequence[Symbol], target: int) -> Fault:
    called = next((s.name for s in symbols if s.type == STT_FUNC and s.value == target), "a function")
    values: dict[str, Any] = {"in": section.name, "symbol": called}
    return Fault.of("call_outside_text", texts.CALL_OUTSIDE_TEXT(**values))
