"""A pipeline's object files, read once: hashed, parsed and put together as libbpf's linker would name them.

Called by compile.py and scaffold.py. Imports errors, files, elf, spec.{model,source}.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reloader.btf import BtfError
from reloader.elf import ElfError, ElfMap, ElfObject, ElfProgram, Fault, Variable, read_object
from reloader.errors import Problem
from reloader.files import PLAIN, Inputs
from reloader.spec.kconfig import not_set, unfit
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

    def add(self, path: str, part: ElfObject, data: bytes, digest: str) -> Fault | None:
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
            return Fault(
                reason="twin_program", message=f"program {twins[0]!r} is in another object too",
                values={"program": twins[0]},
            )  # fmt: skip
        if clash:
            what = f"{'global variables in' if clash[0].startswith('.') else 'another map named'} {clash[0]!r}: "
            message = what + (
                "another object has some too, and their joint layout is known only after linking"
                if clash[0].startswith(".")
                else "another object declares it differently"
            )
            return Fault(reason="map_clash", message=message, values={"map": clash[0]})
        if strong:
            message = f"{', '.join(strong)}: another object defines it too, and neither says __weak"
            hint = "write __weak in one of them, or `extern` if it is to be the other's"
            return Fault(reason="twin_symbol", message=message, hint=hint, values={"symbols": strong})
        if late:
            message = f"map {late[0]}: an object before it defines it __weak, which libbpf's linker does not exchange"
            hint = "name this object first, or write __weak in both"
            return Fault(reason="weak_map_first", message=message, hint=hint, values={"map": late[0]})
        if len(licenses) > 1:
            message = f"its license is {part.license!r}, and another object's is not"
            return Fault(reason="license_differs", message=message, hint="give all objects the same", values={})
        return None

    def file_of(self, map_name: str) -> str:
        """The object that declares a map."""
        return next((f.path for f, p in zip(self.files, self.parts, strict=True) if p.map(map_name)), "")

    def unresolved(self) -> list[Fault]:
        """Names that no object defines and no section says where to find."""
        missing = [e for part in self.parts for e in part.externs if not e.section and e.name not in self.defined]
        return [
            Fault(
                reason="unresolved_extern",
                message=f"extern {name} is not defined in the objects",
                hint="add the object that defines it, or write __ksym or __kconfig behind the declaration",
                values={"extern": name},
            )
            for name in dict.fromkeys(e.name for e in missing)
        ] + self._options()

    def _options(self) -> list[Fault]:
        """Kernel options that a strong extern needs and this host's kernel does not set."""
        needed = {e.name: f.path for f, p in zip(self.files, self.parts, strict=True) for e in p.externs
                  if e.section == ".kconfig" and not e.weak}  # fmt: skip
        typed = {e.name: (e.type, f.path) for f, p in zip(self.files, self.parts, strict=True) for e in p.externs
                 if e.type}  # fmt: skip
        return [
            Fault(
                reason="kconfig_value",
                message=f"{path}: extern {name} (__kconfig): its value here, {value}, does not fit {tree.text()}",
                hint="declare it with the option's type: bool, enum libbpf_tristate, an integer, or char[] for a text",
                values={"file": path, "extern": name, "value": value},
            )
            for name, value in unfit({n: tree for n, (tree, _) in typed.items()})
            for tree, path in (typed[name],)
        ] + [
            Fault(
                reason="kconfig_not_set",
                message=f"{needed[name]}: extern {name} (__kconfig): this host's kernel does not set it",
                hint="declare it __weak, and test it before use",
                values={"file": needed[name], "extern": name},
            )
            for name in (not_set(needed) if needed else ())
        ]


def _conflict(one: ElfMap, other: ElfMap) -> bool:
    if one.internal:
        return one.writable  # constants are set by variable, whatever place the linker gives them
    return one != other


def read_objects(refs: Sequence[ObjectRef], file: str, inputs: Inputs = PLAIN) -> Objects:
    """Read and join; every finding stands at the object's line of the YAML."""
    objects = Objects()
    for index, ref in enumerate(refs):
        steps = f"spec.objects[{index}]"
        objects.problems += [_problem(file, ref.mark, steps, one) for one in _read_one(objects, ref, inputs)]
    if refs and not objects.problems:
        objects.problems += [_problem(file, refs[0].mark, "spec.objects", one) for one in objects.unresolved()]
    return objects


def _problem(file: str, mark: Mark, path: str, found: Fault) -> Problem:
    return problem_at(file, mark, path, found.message, found.hint, found.reason, dict(found.values))


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


def _read_one(objects: Objects, ref: ObjectRef, inputs: Inputs) -> list[Fault]:
    """All that is wrong with one object; with what was joined before, the first thing."""
    try:
        data = read_file(ref.path, inputs)
    except (OSError, ValueError) as error:
        why = why_unreadable(error)
        hint = "compile it first" if isinstance(error, FileNotFoundError) else why.hint
        message = f"{ref.path} cannot be read: {why.text}"
        return [Fault(reason=why.reason, message=message, hint=hint, values=dict(why.values or {}))]
    digest = hashlib.sha256(data).hexdigest()
    if ref.sha256 is not None and ref.sha256 != digest:
        message = f"{ref.path} is not the content that was pinned"
        return [Fault(reason="digest", message=message, hint=f"its sha256 is {digest}")]
    try:
        part = _parsed(data)
    except BtfError as error:
        hint = "it must be a BPF object compiled by clang -target bpf -g"
        return [Fault(reason="btf", message=f"{ref.path}: {error}", hint=hint, values={"file": ref.path})]
    except ElfError as error:
        return [
            replace(f, message=f"{ref.path}: {f.message}", values={"file": ref.path, **f.values}) for f in error.faults
        ]
    wrong = objects.add(ref.path, part, data, digest)
    return [replace(wrong, values={"file": ref.path, **wrong.values})] if wrong else []


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> ElfObject:
    """Pipelines of one file often share an object: a thousand of them parse it once."""
    return read_object(data)


def read_file(path: str | Path, inputs: Inputs = PLAIN) -> bytes:
    """An object file's bytes; OSError when it cannot be read, UnfitFile when it is not regular or absurdly large."""
    return inputs.read(path, MAX_BYTES)
