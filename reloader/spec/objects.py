"""A pipeline's object files, read once: hashed, parsed and put together as libbpf's linker would name them.

Called by compile.py and scaffold.py. Imports errors, files, elf, spec.{model,source}.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reloader.btf import BtfError
from reloader.elf import ElfError, ElfMap, ElfObject, ElfProgram, Variable, read_object
from reloader.errors import Problem
from reloader.files import PLAIN, Inputs
from reloader.spec.model import Mark, ObjectRef
from reloader.spec.source import why_unreadable
from reloader.spec.wish import WishObject
from reloader.spec.words import GATE, SIDE, SLOTS

MAX_BYTES = 64 << 20
ENGINE = "rl_"  # names of reloader_state.h and reloader_config.h
OLD = "rl_old_"  # the map that a state map is bridged from


def always_loaded(engine_map: str) -> bool:
    """Whether it is one of reloader_config.h or reloader_gate.h, which every load needs."""
    return engine_map == SIDE or engine_map.startswith((SLOTS, GATE))


class Objects:
    """All objects of a pipeline as one; `problems` when they cannot be."""

    def __init__(self) -> None:
        self.files: list[WishObject] = []
        self.data: dict[str, bytes] = {}  # digest -> content
        self.programs: dict[str, ElfProgram] = {}
        self.maps: dict[str, ElfMap] = {}
        self.rodata: dict[str, Variable] = {}
        self.misplaced: set[str] = set()  # constants that libbpf's linker describes at the place of a weak one before
        self.carries = False  # whether a program can hand its generation on
        self.engine_maps: list[str] = []  # what our headers declare; not the author's business
        self.parts: list[ElfObject] = []
        self.problems: list[Problem] = []
        self._to_load: dict[frozenset[str], tuple[str, ...]] = {}

    def to_load(self, attached: Sequence[str]) -> tuple[str, ...]:
        """The attached programs and all that arrays filled in the source hold, also arrays that only others use:
        libbpf creates and fills every map, and fails (EBADF) on a program that was not loaded."""
        held = {name for found in self.maps.values() for name in found.prog_array_values if name}
        wanted = frozenset(held.union(attached))
        if wanted not in self._to_load:
            self._to_load[wanted] = tuple(sorted(set[str]().union(*(part.reachable(wanted) for part in self.parts))))
        return self._to_load[wanted]

    def past_bridge(self, name: str, attached: Sequence[str]) -> tuple[str, ...]:
        """Programs that reach a state map, but not by the calls of reloader_state.h, which name the old map too."""
        users = (self.programs[p] for p in self.to_load(attached) if p in self.programs)
        return tuple(p.name for p in users if name in p.maps and OLD + name not in p.maps)

    def add(self, path: str, part: ElfObject, data: bytes, digest: str) -> str:
        """Join one more object; returns what keeps it from fitting."""
        self.files.append(WishObject(digest=digest, path=path))
        self.data[digest] = data
        self.parts.append(part)
        twins = sorted(self.programs.keys() & {p.name for p in part.programs})
        self.programs |= {p.name: p for p in part.programs}
        for name, variable in part.rodata.items():  # as libbpf's linker chooses: the strong one, else the first
            known = self.rodata.get(name)
            if not name.startswith(ENGINE) and (known is None or not variable.weak):
                self.rodata[name] = variable
                self.misplaced |= {name} if known and known.weak else set()
        self.carries = self.carries or GATE in part.rodata
        authors = [m for m in part.maps if not m.name.startswith(ENGINE)]
        self.engine_maps += [m.name for m in part.maps if m.name.startswith(ENGINE) and m.name not in self.engine_maps]
        clash = [m.name for m in authors if m.name in self.maps and _conflict(m, self.maps[m.name])]
        self.maps |= {m.name: m for m in authors}
        if twins:
            return f"program {twins[0]!r} is in another object too"
        if clash:
            return f"{'global variables in' if clash[0].startswith('.') else 'another map named'} {clash[0]!r}: " + (
                "another object has some too, and their joint layout is known only after linking"
                if clash[0].startswith(".")
                else "another object declares it differently"
            )
        return ""


def _conflict(one: ElfMap, other: ElfMap) -> bool:
    if one.internal:
        return one.writable  # constants are set by variable, whatever place the linker gives them
    return one != other


def read_objects(refs: Sequence[ObjectRef], file: str, inputs: Inputs = PLAIN) -> Objects:
    """Read and join; every finding stands at the object's line of the YAML."""
    objects = Objects()
    for index, ref in enumerate(refs):
        if wrong := _read_one(objects, ref, inputs):
            place = (file, ref.mark, f"spec.objects[{index}]")
            objects.problems.append(problem_at(*place, wrong.message, wrong.hint, wrong.reason, wrong.values))
    return objects


def problem_at(
    file: str,
    mark: Mark,
    path: str,
    message: str,
    hint: str = "",
    reason: str = "",
    values: dict[str, object] | None = None,
) -> Problem:
    return Problem(
        file=file, line=mark.line, column=mark.column, path=path, message=message, hint=hint, reason=reason,
        values=values,
    )  # fmt: skip


class _Wrong(NamedTuple):
    message: str
    hint: str = ""
    reason: str = ""
    values: dict[str, object] | None = None


def _read_one(objects: Objects, ref: ObjectRef, inputs: Inputs) -> _Wrong | None:
    """What is wrong with an object file; None when nothing is, and it is joined."""
    try:
        data = read_file(ref.path, inputs)
    except (OSError, ValueError) as error:
        why = why_unreadable(error)
        hint = "compile it first" if isinstance(error, FileNotFoundError) else why.hint
        return _Wrong(f"{ref.path} cannot be read: {why.text}", hint, why.reason, why.values)
    digest = hashlib.sha256(data).hexdigest()
    if ref.sha256 is not None and ref.sha256 != digest:
        return _Wrong(f"{ref.path} is not the content that was pinned", f"its sha256 is {digest}")
    try:
        part = _parsed(data)
    except (ElfError, BtfError) as error:
        return _Wrong(f"{ref.path}: {error}", "it must be a BPF object compiled by clang -target bpf -g")
    wrong = objects.add(ref.path, part, data, digest)
    return _Wrong(wrong) if wrong else None


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> ElfObject:
    """Pipelines of one file often share an object: a thousand of them parse it once."""
    return read_object(data)


def read_file(path: str | Path, inputs: Inputs = PLAIN) -> bytes:
    """An object file's bytes; OSError when it cannot be read, UnfitFile when it is not regular or absurdly large."""
    return inputs.read(path, MAX_BYTES)
