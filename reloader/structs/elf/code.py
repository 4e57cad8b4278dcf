"""Which maps a program's code names, through the functions it calls. Read from instructions and relocations.

Asked once for each program. Pure.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from reloader.structs.btf import Btf
from reloader.structs.elf import texts
from reloader.structs.elf.file import STT_FUNC, STT_SECTION, ElfError, ElfFile, Relocation, Section, Symbol
from reloader.structs.elf.maps import is_data

R_BPF_64_32 = 10  # a call
OP_CALL = 0x85
PSEUDO_CALL = 1  # source register of a call into this object

Function = tuple[int, int, int]  # (section index, start, end), bytes


class CodeReader:
    """Walks from function to function; what one function names is found once."""

    __slots__ = ("_code", "_elf", "_external", "_functions", "_maps_index", "_relocations", "_seen")

    def __init__(self, elf: ElfFile, btf: Btf | None) -> None:
        self._elf = elf
        maps = elf.section(".maps")
        self._maps_index = maps.index if maps else -1
        kconfig = btf.find_datasec(".kconfig") if btf else None
        self._external = {v.name for v in btf.variables(kconfig)} if btf and kconfig is not None else set()
        self._code = {s.index: elf.contents(s) for s in elf.sections if s.is_code}
        self._functions = {i: _functions(elf, i) for i in self._code}
        self._relocations = {i: sorted(elf.relocations.get(i, []), key=lambda r: r.offset) for i in self._code}
        self._seen: dict[Function, tuple[set[str], set[Function]]] = {}

    def references(self, section: Section, symbol: Symbol) -> frozenset[str]:
        """Names of maps (`.bss` and the like included) a program uses."""
        todo: list[Function] = [(section.index, symbol.value, symbol.value + symbol.size)]
        done: set[Function] = set()
        names: set[str] = set()
        while todo:
            function = todo.pop()
            if function not in done:
                done.add(function)
                used, called = self._scan(function)
                names |= used
                todo += called
        return frozenset(names)

    def _scan(self, function: Function) -> tuple[set[str], set[Function]]:
        found = self._seen.get(function)
        if found is None:
            found = self._seen[function] = set(), set()
            relocated = set()
            for r in self._relocations_in(function):
                relocated.add(r.offset)
                self._follow(function[0], r, *found)
            found[1].update(f for at in self._calls(function, relocated) if (f := self._function_at(function[0], at)))
        return found

    def _relocations_in(self, function: Function) -> Iterator[Relocation]:
        index, start, end = function
        relocations = self._relocations[index]
        first = bisect_right(relocations, start - 1, key=lambda r: r.offset)
        for r in relocations[first:]:
            if r.offset >= end:
                return
            yield r

    def _follow(self, index: int, r: Relocation, names: set[str], called: set[Function]) -> None:
        """What one relocation of the code stands for: a map, variables of a section, or a function."""
        symbol = r.symbol
        target = self._elf.sections[symbol.section] if 0 < symbol.section < len(self._elf.sections) else None
        if target is None:
            names.update({".kconfig"} if symbol.name in self._external else ())
        elif target.index == self._maps_index:
            names.add(symbol.name)
        elif is_data(target):
            names.add(target.name)
        elif target.is_code and symbol.type in (STT_FUNC, STT_SECTION):
            imm = self._immediate(index, r.offset)
            at = symbol.value + ((imm + 1) * 8 if r.type == R_BPF_64_32 else imm)
            called.update(f for f in [self._function_at(target.index, at)] if f)

    def _immediate(self, index: int, offset: int) -> int:
        code = self._code[index]
        if offset % 8 or offset + 8 > len(code):
            raise ElfError(texts.RELOCATION_BEYOND_CODE())
        found: int = struct.unpack_from("<i", code, offset + 4)[0]
        return found

    def _calls(self, function: Function, relocated: set[int]) -> Iterator[int]:
        """Where calls within one section lead that the compiler resolved itself."""
        index, start, end = function
        code = self._code[index]
        opcodes = code[start:end:8]
        at = opcodes.find(OP_CALL)
        while at >= 0:
            offset = start + at * 8
            if offset not in relocated and offset + 8 <= len(code) and code[offset + 1] >> 4 == PSEUDO_CALL:
                yield offset + (self._immediate(index, offset) + 1) * 8
            at = opcodes.find(OP_CALL, at + 1)

    def _function_at(self, index: int, offset: int) -> Function | None:
        functions = self._functions[index]
        i = bisect_right(functions, (offset, 1 << 63)) - 1
        return (index, *functions[i]) if i >= 0 and offset < functions[i][1] else None


def _functions(elf: ElfFile, index: int) -> list[tuple[int, int]]:
    """(start, end) of each function of a section. They must not overlap, or reading them all would never end."""
    size = elf.sections[index].size
    found = set()
    for s in elf.by_section.get(index, []):
        if s.type == STT_FUNC and s.size:
            if s.value % 8 or s.value + s.size > size:
                raise ElfError(texts.FUNCTION_BEYOND_SECTION(function=s.name))
            found.add((s.value, s.value + s.size))
    ordered = sorted(found)
    if any(after[0] < before[1] for before, after in pairwise(ordered)):
        raise ElfError(texts.FUNCTIONS_OVERLAP(section=elf.sections[index].name))
    return ordered
