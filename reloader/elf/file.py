"""ELF bytes to sections, symbols and relocations: just what a BPF object has.

maps.py and code.py read maps and programs on top of it. Whatever is wrong with a file ends in ElfError.
Pure; a leaf: imports nothing of the package.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field

from reloader.frozen import frozen

ET_REL = 1
EM_BPF = 247
SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 1, 2, 4, 8, 9
SHF_EXECINSTR = 4
STB_LOCAL, STB_WEAK = 0, 2
STT_NOTYPE, STT_FUNC, STT_SECTION = 0, 2, 3
STV_INTERNAL, STV_HIDDEN = 1, 2
SHN_LORESERVE = 0xFF00
MAX_NAME = 1024  # bytes
MAX_SECTION = 1 << 31  # bytes; the size of a .bss is only a number in the file

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")


@frozen
class Fault:
    """One thing in an object that libbpf would refuse."""

    reason: str  # a stable word
    message: str
    hint: str = ""
    values: dict[str, object] = field(default_factory=dict)  # what it is about, as JSON values


class ElfError(ValueError):
    """The file is no BPF object we can read; the message says why. `faults`: every one that was found."""

    def __init__(
        self, message: str, *, faults: tuple[Fault, ...] = (), reason: str = "object", **values: object
    ) -> None:
        super().__init__(message)
        hint = "it must be a BPF object compiled by clang -target bpf -g"
        self.faults = faults or (Fault(reason=reason, message=message, hint=hint, values=values),)


@frozen
class Section:
    index: int
    name: str
    type: int  # SHT_*
    flags: int  # SHF_*
    offset: int  # in the file
    size: int
    link: int
    info: int

    @property
    def is_code(self) -> bool:
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR) and self.size > 0


@frozen
class Symbol:
    name: str
    type: int  # STT_*
    bind: int  # STB_*
    section: int  # index; 0 when it is undefined, that is external
    value: int  # offset in its section
    size: int
    hidden: bool = False  # __hidden: libbpf takes it for static


@frozen
class Relocation:
    offset: int  # in the section it applies to
    type: int  # R_BPF_*
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class ElfFile:
    """One object file, taken apart."""

    data: bytes
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    by_section: dict[int, list[Symbol]]
    relocations: dict[int, list[Relocation]]  # by the section they apply to

    @classmethod
    def parse(cls, data: bytes) -> ElfFile:
        sections = _read_sections(data)
        table = next((s for s in sections if s.type == SHT_SYMTAB), None)
        symbols = _read_symbols(data, sections, table) if table else ()
        by_section: defaultdict[int, list[Symbol]] = defaultdict(list)
        for symbol in symbols:
            by_section[symbol.section].append(symbol)
        relocations: defaultdict[int, list[Relocation]] = defaultdict(list)
        for section in sections:
            if section.type == SHT_RELA and not section.name.startswith(".rela.debug"):
                raise ElfError(f"section {section.name} has relocations with addends, which BPF objects do not use")
            if section.type == SHT_REL and not section.name.startswith((".rel.BTF", ".rel.debug", ".rel.eh_frame")):
                relocations[section.info] += _read_relocations(data, section, symbols)
        return cls(data, sections, symbols, dict(by_section), dict(relocations))

    def section(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def contents(self, section: Section) -> bytes:
        """A section's bytes; a .bss has none."""
        if section.type == SHT_NOBITS:
            return b""
        return self.data[section.offset : section.offset + section.size]

    def global_objects(self, section: Section) -> dict[str, Symbol]:
        """The variables of a section that a linker can see."""
        symbols = self.by_section.get(section.index, [])
        return {s.name: s for s in symbols if s.bind != STB_LOCAL and s.type != STT_SECTION}


def _read_sections(data: bytes) -> tuple[Section, ...]:
    if len(data) < _HEADER.size:
        raise ElfError("not an object file: shorter than an ELF header" if data else "the file is empty")
    ident, kind, machine, *_, at, _, _, _, _, entry_size, count, names_index = _HEADER.unpack_from(data)
    _check_identity(ident, kind, machine)
    if entry_size != _SECTION.size or not 0 < count < 0xFF00:
        raise ElfError("the section table is missing or of an unknown form")
    if at + count * entry_size > len(data):
        raise ElfError("the file is cut off: its section table lies beyond the end")
    rows = list(_SECTION.iter_unpack(data[at : at + count * entry_size]))
    names = _strings(data, rows, names_index)
    sections = tuple(
        Section(index=i, name=_name(names, r[0]), type=r[1], flags=r[2], offset=r[4], size=r[5], link=r[6], info=r[7])
        for i, r in enumerate(rows)
    )
    for s in sections[1:]:
        if s.type != SHT_NOBITS and s.offset + s.size > len(data):
            raise ElfError(f"the file is cut off: section {s.name} ends beyond it")
        if s.size > MAX_SECTION:
            message = f"section {s.name} has a size of {s.size} bytes"
            raise ElfError(message, reason="section_too_large", section=s.name)
    return sections


def _check_identity(ident: bytes, kind: int, machine: int) -> None:
    if ident[:4] != b"\x7fELF":
        raise ElfError("not an object file: no ELF magic number")
    if ident[4] != 2:
        raise ElfError("a 32-bit ELF file; BPF objects are 64-bit")
    if ident[5] != 1:
        raise ElfError("a big-endian ELF file; only little-endian BPF objects (-target bpf or bpfel) are read")
    if machine != EM_BPF:
        raise ElfError(f"compiled for machine {machine}, not for BPF (clang -target bpf)")
    if kind != ET_REL:
        raise ElfError(f"ELF type {kind}: not a relocatable object (clang -c)")


def _strings(data: bytes, rows: list[tuple[int, ...]], index: int) -> bytes:
    if not 0 < index < len(rows):
        raise ElfError(f"string table {index} does not exist")
    offset, size = rows[index][4], rows[index][5]
    if offset + size > len(data):
        raise ElfError("the file is cut off: a string table ends beyond it")
    return data[offset : offset + size]


def _name(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset, offset + MAX_NAME)
    if end < 0:
        raise ElfError(f"name offset {offset} is out of bounds")
    try:
        text = strings[offset:end].decode("utf-8")
    except UnicodeDecodeError:
        raise ElfError(f"the name at {offset} is not UTF-8") from None
    if not text.isprintable():
        raise ElfError(f"the name at {offset} is not printable")
    return text


def _read_symbols(data: bytes, sections: tuple[Section, ...], table: Section) -> tuple[Symbol, ...]:
    if table.size % _SYMBOL.size or not 0 < table.link < len(sections):
        raise ElfError("the symbol table is damaged")
    strings = sections[table.link]
    names = data[strings.offset : strings.offset + strings.size]
    found = []
    for name_off, info, other, section, value, size in _SYMBOL.iter_unpack(
        data[table.offset : table.offset + table.size]
    ):
        if section >= len(sections) and section < SHN_LORESERVE:
            raise ElfError(f"a symbol lies in section {section}, which does not exist")
        name, kind, bind = _name(names, name_off), info & 0xF, info >> 4
        hidden = other & 3 in (STV_INTERNAL, STV_HIDDEN)
        found.append(Symbol(name=name, type=kind, bind=bind, section=section, value=value, size=size, hidden=hidden))
    return tuple(found)


def _read_relocations(data: bytes, section: Section, symbols: tuple[Symbol, ...]) -> list[Relocation]:
    if section.size % _RELOCATION.size:
        raise ElfError(f"relocation section {section.name} is damaged")
    found = []
    for offset, info in _RELOCATION.iter_unpack(data[section.offset : section.offset + section.size]):
        if info >> 32 >= len(symbols):
            raise ElfError(f"relocation section {section.name} names symbol {info >> 32}, which does not exist")
        found.append(Relocation(offset=offset, type=info & 0xFFFFFFFF, symbol=symbols[info >> 32]))
    return found
