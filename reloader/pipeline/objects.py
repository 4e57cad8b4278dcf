"""A pipeline's object files, read once: hashed, parsed and put together as libbpf's linker would name them.

Called by compile.py and scaffold.py.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reloader.disk.atomic_files import PLAIN, Inputs, UnfitFile
from reloader.errors import Problem
from reloader.pipeline import texts
from reloader.pipeline.enums import GATE, SIDE, SLOTS
from reloader.pipeline.kconfig import not_set, unfit
from reloader.pipeline.model import Mark, ObjectRef
from reloader.pipeline.source import why_unreadable
from reloader.pipeline.wish import WishObject
from reloader.structs.btf import BtfError
from reloader.structs.elf import ElfError, ElfMap, ElfObject, ElfProgram, Variable, read_object
from reloader.wording.message import Message, code_of, hint_of, values_of

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
        self.defined: dict[str, bool] = {}  # global name -> whether all that define it are weak
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

    def add(self, path: str, part: ElfObject, data: bytes, digest: str) -> Message | None:
        """Join one more object; returns what keeps it from fitting."""
        self.files.append(WishObject(digest=digest, path=path))
        self.data[digest] = data
        twins = sorted(self.programs.keys() & {p.name for p in part.programs})
        strong = [n for n, weak in part.defined.items() if not weak and not self.defined.get(n, True)]
        late = [
            m.name
            for m in part.maps
            if self.defined.get(m.name) and not part.defined.get(m.name, True) and m.name in self.maps
        ]
        licenses = {p.license for p in self.parts if p.license} | ({part.license} if part.license else set())
        self.parts.append(part)
        self.defined |= {n: weak and self.defined.get(n, True) for n, weak in part.defined.items()}
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
            return texts.TWIN_PROGRAM(program=twins[0])
        if clash:
            text = texts.VARIABLES_CLASH if clash[0].startswith(".") else texts.MAP_DECLARED_DIFFERENTLY
            why = text()
            return texts.MAP_CLASH(map=clash[0], why=why, hint=why.hint)
        if strong:
            return texts.TWIN_SYMBOL(symbols=strong)
        if late:
            return texts.WEAK_MAP_FIRST(map=late[0])
        return texts.LICENSE_DIFFERS(license=part.license) if len(licenses) > 1 else None

    def file_of(self, map_name: str) -> str:
        """The object that declares a map."""
        return next((f.path for f, p in zip(self.files, self.parts, strict=True) if p.map(map_name)), "")

    def unresolved(self) -> list[Message]:
        """Names that no object defines and no section says where to find."""
        missing = [e for part in self.parts for e in part.externs if not e.section and e.name not in self.defined]
        names = dict.fromkeys(e.name for e in missing)
        return [texts.UNRESOLVED_EXTERN(extern=name) for name in names] + self._options()

    def _options(self) -> list[Message]:
        """Kernel options that a strong extern needs and this host's kernel does not set."""
        needed = {e.name: f.path for f, p in zip(self.files, self.parts, strict=True) for e in p.externs
                  if e.section == ".kconfig" and not e.weak}  # fmt: skip
        typed = {e.name: (e.type, f.path) for f, p in zip(self.files, self.parts, strict=True) for e in p.externs
                 if e.type}  # fmt: skip
        return [
            texts.KCONFIG_VALUE(file=path, extern=name, value=value, type=tree.text())
            for name, value in unfit({n: tree for n, (tree, _) in typed.items()})
            for tree, path in (typed[name],)
        ] + [texts.KCONFIG_NOT_SET(file=needed[name], extern=name) for name in (not_set(needed) if needed else ())]


def _conflict(one: ElfMap, other: ElfMap) -> bool:
    if one.internal:
        return one.writable  # constants are set by variable, whatever place the linker gives them
    return one != other


def read_objects(refs: Sequence[ObjectRef], file: str, inputs: Inputs = PLAIN) -> Objects:
    """Read and join; every finding stands at the object's line of the YAML."""
    objects = Objects()
    for index, ref in enumerate(refs):
        at = functools.partial(problem_at, file, ref.mark, f"spec.objects[{index}]")
        objects.problems += _read_one(objects, ref, inputs, at)
    if refs and not objects.problems:
        objects.problems += [problem_at(file, refs[0].mark, "spec.objects", one) for one in objects.unresolved()]
    return objects


def problem_at(
    file: str, mark: Mark, path: str, message: str, hint: str = "", reason: str = "",
    values: Mapping[str, object] | None = None,
) -> Problem:  # fmt: skip
    """The finding there; hint and reason, where they are given, take the place of the message's, values are added."""
    return Problem.at(
        file, message, *mark, path, hint=hint or hint_of(message), reason=reason or code_of(message),
        values={**(values or {}), **values_of(message)} or None,
    )  # fmt: skip


Place = Callable[..., Problem]  # problem_at there


def _read_one(objects: Objects, ref: ObjectRef, inputs: Inputs, at: Place) -> list[Problem]:
    """All that is wrong with one object; with what was joined before, the first thing."""
    try:
        data = read_file(ref.path, inputs)
    except (OSError, ValueError) as error:
        return [_unreadable(ref.path, error, at)]
    digest = hashlib.sha256(data).hexdigest()
    if ref.sha256 is not None and ref.sha256 != digest:
        return [at(texts.DIGEST(file=ref.path, sha256=digest))]
    try:
        part = _parsed(data)
    except BtfError as error:
        return [at(texts.BTF(file=ref.path, why=error))]
    except ElfError as error:
        faults = [(texts.OBJECT_FAULT(file=ref.path, fault=f.message), f) for f in error.faults]
        return [at(message, f.hint, f.reason, f.values) for message, f in faults]
    wrong = objects.add(ref.path, part, data, digest)
    return [at(wrong, values={"file": ref.path})] if wrong else []


def _unreadable(path: str, error: OSError | ValueError, at: Place) -> Problem:
    why = why_unreadable(error)
    message = texts.UNUSABLE_OBJECT(file=path, why=why.text)
    hint = texts.COMPILE_FIRST() if isinstance(error, FileNotFoundError) else why.hint
    return at(message, hint, why.reason if isinstance(error, UnfitFile) else "", why.values)


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> ElfObject:
    """Pipelines of one file often share an object: a thousand of them parse it once."""
    return read_object(data)


def read_file(path: str | Path, inputs: Inputs = PLAIN) -> bytes:
    """An object file's bytes; OSError when it cannot be read, UnfitFile when it is not regular or absurdly large."""
    return inputs.read(path, MAX_BYTES)
