"""ELF bytes to sections, symbols and relocations: just what a BPF object has.

maps.py and code.py read maps and programs on top of it. Whatever is wrong with a file ends in ElfError.
Pure; a leaf: imports nothing of the package.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field

from reloader.frozen import frozen
from reloader.structs.elf import texts
from reloader.wording.message import hint_of, values_of

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

    @classmethod
    def of(cls, reason: str, message: str) -> Fault:
        """The fault with the message's hint and values."""
        return cls(reason=reason, message=message, hint=hint_of(message), values=values_of(message))


class ElfError(ValueError):
    """The file is not a BPF object we can read; the message says why. `faults`: every one that was found."""

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), reason: str = "object") -> None:
        super().__init__(message)
        self.message = message
        hint = hint_of(message) or texts.NOT_A_BPF_OBJECT()
        self.faults = faults or (Fault(reason=reason, message=message, hint=hint, values=values_of(message)),)


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
                raise ElfError(texts.RELOCATION_ADDENDS(section=section.name))
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
        raise ElfError(texts.TOO_SHORT() if data else texts.FILE_EMPTY())
    ident, kind, machine, *_, at, _, _, _, _, entry_size, count, names_index = _HEADER.unpack_from(data)
    _check_identity(ident, kind, machine)
    if entry_size != _SECTION.size or not 0 < count < 0xFF00:
        raise ElfError(texts.SECTION_TABLE_UNKNOWN())
    if at + count * entry_size > len(data):
        raise ElfError(texts.SECTION_TABLE_CUT_OFF())
    rows = list(_SECTION.iter_unpack(data[at : at + count * entry_size]))
    names = _strings(data, rows, names_index)
    sections = tuple(
        Section(index=i, name=_name(names, r[0]), type=r[1], flags=r[2], offset=r[4], size=r[5], link=r[6], info=r[7])
        for i, r in enumerate(rows)
    )
    for s in sections[1:]:
        if s.type != SHT_NOBITS and s.offset + s.size > len(data):
            raise ElfError(texts.FILE_CUT_OFF(section=s.name))
        if s.size > MAX_SECTION:
            message = texts.SECTION_TOO_LARGE(section=s.name, size=s.size, limit=MAX_SECTION)
            raise ElfError(message, reason="section_too_large")
    return sections


def _check_identity(ident: bytes, kind: int, machine: int) -> None:
    if ident[:4] != b"\x7fELF":
        raise ElfError(texts.NOT_ELF())
    if ident[4] != 2:
        raise ElfError(texts.ELF_32())
    if ident[5] != 1:
        raise ElfError(texts.ELF_BIG_ENDIAN())
    if machine != EM_BPF:
        raise ElfError(texts.OTHER_MACHINE(machine=machine))
    if kind != ET_REL:
        raise ElfError(texts.NOT_RELOCATABLE(type=kind))


def _strings(data: bytes, rows: list[tuple[int, ...]], index: int) -> bytes:
    if not 0 < index < len(rows):
        raise ElfError(texts.STRING_TABLE_MISSING(index=index))
    offset, size = rows[index][4], rows[index][5]
    if offset + size > len(data):
        raise ElfError(texts.STRING_TABLE_CUT_OFF())
    return data[offset : offset + size]


def _name(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset, offset + MAX_NAME)
    if end < 0:
        raise ElfError(texts.NAME_BEYOND(offset=offset))
    try:
        text = strings[offset:end].decode("utf-8")
    except UnicodeDecodeError:
        raise ElfError(texts.NAME_NOT_UTF8(offset=offset)) from None
    if not text.isprintable():
        raise ElfError(texts.NAME_NOT_PRINTABLE(offset=offset))
    return text


def _read_symbols(data: bytes, sections: tuple[Section, ...], table: Section) -> tuple[Symbol, ...]:
    if table.size % _SYMBOL.size or not 0 < table.link < len(sections):
        raise ElfError(texts.SYMBOLS_DAMAGED())
    strings = sections[table.link]
    names = data[strings.offset : strings.offset + strings.size]
    found = []
    for name_off, info, other, section, value, size in _SYMBOL.iter_unpack(
        data[table.offset : table.offset + table.size]
    ):
        if section >= len(sections) and section < SHN_LORESERVE:
            raise ElfError(texts.SYMBOL_SECTION_MISSING(section=section))
        name, kind, bind = _name(names, name_off), info & 0xF, info >> 4
        hidden = other & 3 in (STV_INTERNAL, STV_HIDDEN)
        found.append(Symbol(name=name, type=kind, bind=bind, section=section, value=value, size=size, hidden=hidden))
    return tuple(found)


def _read_relocations(data: bytes, section: Section, symbols: tuple[Symbol, ...]) -> list[Relocation]:
    if section.size % _RELOCATION.size:
        raise ElfError(texts.RELOCATIONS_DAMAGED(section=section.name))
    found = []
    for offset, info in _RELOCATION.iter_unpack(data[section.offset : section.offset + section.size]):
        if info >> 32 >= len(symbols):
            raise ElfError(texts.RELOCATION_SYMBOL_MISSING(section=section.name, symbol=info >> 32))
        found.append(Relocation(offset=offset, type=info & 0xFFFFFFFF, symbol=symbols[info >> 32]))
    return found
