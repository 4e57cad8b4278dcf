"""A BPF object file as values: programs, maps, constants to set, and where its code came from.

`init`, `validate` and `plan` read objects through this, without a kernel and without libbpf; a corrupt file
fails here, in Python, with ElfError or BtfError. Pure: bytes in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import field

from reloader.frozen import frozen
from reloader.structs.btf import Btf, BtfError, TypeTree
from reloader.structs.elf import texts
from reloader.structs.elf.code import CodeReader
from reloader.structs.elf.faults import Extern, defined, externs, find_faults
from reloader.structs.elf.file import STB_LOCAL, STB_WEAK, STT_FUNC, ElfError, ElfFile, Fault, Section, Symbol
from reloader.structs.elf.maps import ElfMap, declared_maps, internal_maps, is_data, variables_of
from reloader.structs.elf.sections import section_type

__all__ = ["BtfError", "ElfError", "ElfMap", "ElfObject", "ElfProgram", "Fault", "Variable", "read_object"]


@frozen
class ElfProgram:
    """One entry program; functions in .text are parts of the programs that call them."""

    name: str
    section: str  # as in SEC(), as `xdp.frags`
    type: str  # LoadType.name of its section, for example `xdp`; empty when the section name says nothing
    is_frags: bool  # takes packets of several buffers
    autoload: bool  # False for SEC("?xdp")
    first_insn: int  # where it starts in its section
    insns: int  # its length, without what it calls
    maps: frozenset[str]  # maps its code names, functions it calls included
    programs: frozenset[str]  # programs those maps hold from the start: what it may tail-call


@frozen
class Variable:
    """One `const volatile` global: a switch that can be set before the load."""

    name: str
    section: str
    offset: int  # bytes, in the section
    size: int
    type: TypeTree
    value: bytes  # as compiled
    weak: bool = False  # gives way to the same name in another object


@frozen
class ElfObject:
    programs: tuple[ElfProgram, ...]
    maps: tuple[ElfMap, ...]
    rodata: dict[str, Variable]  # by name
    license: str
    btf: Btf | None
    line_info: bytes  # the .BTF.ext section; empty when there is none
    externs: tuple[Extern, ...] = ()  # names that it uses and does not define
    defined: dict[str, bool] = field(default_factory=dict)  # global name -> whether it is weak

    def program(self, name: str) -> ElfProgram | None:
        return next((p for p in self.programs if p.name == name), None)

    def map(self, name: str) -> ElfMap | None:
        return next((m for m in self.maps if m.name == name), None)

    def reachable(self, programs: Collection[str]) -> frozenset[str]:
        """These programs and all they can tail-call through arrays filled in the source."""
        found: set[str] = set()
        todo = list(programs)
        while todo:
            program = self.program(todo.pop())
            if program and program.name not in found:
                found.add(program.name)
                todo += program.programs
        return frozenset(found)

    def source_line(self, section: str, insn: int) -> tuple[str, int, str] | None:
        """(file, line, text) of an instruction, counted from the start of its section."""
        if self.btf is None or not self.line_info:
            return None
        best = None
        for at, file_off, line_off, line_col in _line_records(self.btf, self.line_info, section):
            if at <= insn * 8 and (best is None or at >= best[0]):
                best = at, file_off, line_off, line_col
        if best is None:
            return None
        return self.btf.string(best[1]), best[3] >> 10, self.btf.string(best[2]).strip()

    def source_lines(self) -> dict[tuple[str, int], str]:
        """(file, line) → text of every line that code came from."""
        if self.btf is None or not self.line_info:
            return {}
        return {
            (self.btf.string(file), line_col >> 10): self.btf.string(line)
            for _, file, line, line_col in _line_records(self.btf, self.line_info)
        }


def read_object(data: bytes) -> ElfObject:
    """Read an object file; ElfError or BtfError say what is wrong with it: all that libbpf would refuse."""
    elf = ElfFile.parse(data)
    blob, ext = elf.section(".BTF"), elf.section(".BTF.ext")
    btf = Btf.parse(elf.contents(blob)) if blob else None
    wrong: list[Fault] = []
    maps = (*declared_maps(elf, btf, wrong), *internal_maps(elf, btf))
    if twin := _twin([m.name for m in maps]):
        raise ElfError(texts.TWO_MAPS(map=twin))
    programs = tuple(_programs(elf, btf, maps))
    if twin := _twin([p.name for p in programs]):
        raise ElfError(texts.TWO_PROGRAMS(program=twin))
    outside = externs(elf, btf)
    wrong += find_faults(elf, maps, outside)
    if wrong:
        raise ElfError(wrong[0].message, faults=tuple(wrong))
    return ElfObject(
        programs=programs,
        maps=maps,
        rodata={v.name: v for v in _constants(elf, btf)} if btf else {},
        license=_license(elf),
        btf=btf,
        line_info=elf.contents(ext) if ext else b"",
        externs=outside,
        defined=defined(elf),
    )


def _twin(names: list[str]) -> str:
    """The first name that occurs again; empty when none does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _license(elf: ElfFile) -> str:
    section = elf.section("license")
    raw = elf.contents(section).split(b"\0")[0] if section else b""
    return raw.decode("utf-8", "replace")


def _programs(elf: ElfFile, btf: Btf | None, maps: tuple[ElfMap, ...]) -> Iterator[ElfProgram]:
    code = CodeReader(elf, btf)
    held = {m.name: {p for p in m.prog_array_values if p} for m in maps}
    known = frozenset(held)
    for section in elf.sections:
        if not section.is_code or section.name == ".text":
            continue
        for symbol in elf.by_section.get(section.index, []):
            if symbol.type == STT_FUNC:
                used = code.references(section, symbol) & known
                yield _program(section, symbol, used, frozenset[str]().union(*(held[m] for m in used)))


def _program(section: Section, symbol: Symbol, maps: frozenset[str], programs: frozenset[str]) -> ElfProgram:
    if symbol.bind == STB_LOCAL:
        raise ElfError(texts.PROGRAM_STATIC(program=symbol.name), reason="static_program")
    if symbol.value % 8 or symbol.size % 8 or not symbol.size or symbol.value + symbol.size > section.size:
        raise ElfError(texts.PROGRAM_BEYOND_SECTION(program=symbol.name, section=section.name))
    kind, frags = section_type(section.name)
    return ElfProgram(
        name=symbol.name,
        section=section.name,
        type=kind,
        is_frags=frags,
        autoload=not section.name.startswith("?"),
        first_insn=symbol.value // 8,
        insns=symbol.size // 8,
        maps=maps,
        programs=programs,
    )


def _constants(elf: ElfFile, btf: Btf) -> Iterator[Variable]:
    """Global constants the compiler had to leave readable; others are folded into the code, setting them is vain."""
    for section in elf.sections:
        if not is_data(section) or not section.name.startswith(".rodata"):
            continue
        data, symbols = elf.contents(section), elf.global_objects(section)
        for v in variables_of(elf, btf, section):
            if v.linkage != 1 or not btf.is_volatile(v.type_id):
                continue
            tree = btf.tree(v.type_id)
            if v.offset + tree.size > section.size:
                raise ElfError(texts.VARIABLE_BEYOND_SECTION(variable=v.name, section=section.name))
            value = data[v.offset : v.offset + tree.size]
            weak = v.name in symbols and symbols[v.name].bind == STB_WEAK
            yield Variable(
                name=v.name, section=section.name, offset=v.offset, size=tree.size, type=tree, value=value, weak=weak
            )


def _line_records(btf: Btf, ext: bytes, section: str = "") -> Iterator[tuple[int, int, int, int]]:
    """(byte offset, file name, text, line << 10 | column) of each line record, of one section or of all."""
    try:
        header_len, start, length = struct.unpack_from("<4xI8xII", ext)
        at, end = header_len + start, min(header_len + start + length, len(ext))
        if not length:
            return
        (record_size,) = struct.unpack_from("<I", ext, at)
        at += 4
        while at < end:
            name_off, count = struct.unpack_from("<II", ext, at)
            at += 8
            if record_size < 16 or count * record_size > end - at:
                raise BtfError(texts.LINES_CUT_OFF())
            if not section or btf.string(name_off) == section:
                for i in range(count):
                    yield struct.unpack_from("<IIII", ext, at + i * record_size)
            at += count * record_size
    except struct.error:
        raise BtfError(texts.LINES_CUT_OFF()) from None
