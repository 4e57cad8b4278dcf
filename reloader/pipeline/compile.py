"""Pipelines + their objects and bulk files → Wishes: everything resolved, encoded and checked without a kernel.

Pure but for reading the files a pipeline names; nothing is written. Called by cache.py and `validate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, InputError, Problem
from reloader.kernel import PLAIN_TYPES
from reloader.layouts.nesting import InnerMap
from reloader.pipeline import constants, keep_fields, parse, texts, undecided
from reloader.pipeline.checks import Health
from reloader.pipeline.creation import creation_fault
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import dotted, quoted, uncollected
from reloader.pipeline.entries import listing
from reloader.pipeline.enums import GATE, SLOTS, TODO
from reloader.pipeline.health import health_from_yaml
from reloader.pipeline.model import Apply, Attach, MapWish, Mark, Pipeline, Role
from reloader.pipeline.objects import OLD, Objects, always_loaded, read_objects
from reloader.pipeline.registry import registered
from reloader.pipeline.roles import allowed_roles, describe, suggested_role, type_name
from reloader.pipeline.share import group_id, unknown_group
from reloader.pipeline.source import read_source
from reloader.pipeline.wish import Compiled, EntriesRef, Kept, Share, Wish, WishAttachment, WishMap, WishTests
from reloader.places import places
from reloader.places.place import Place
from reloader.structs.elf import ElfMap, ElfProgram
from reloader.structs.elf.sections import loadable, loadable_section
from reloader.wording.message import Message, hint_of
from reloader.wording.printable import Block, printable

if TYPE_CHECKING:
    from reloader.layouts.rules import LayoutVersion
    from reloader.pipeline.registry.registry import Registry

__all__ = ["Compiled", "compile_file", "compile_pipeline", "compile_source", "declarations"]


def compile_file(path: Path, inputs: Inputs = PLAIN) -> tuple[Compiled, ...]:
    """Every pipeline of a YAML file; InputError with all problems of all of them. `inputs` opens what is read."""
    return compile_source(read_source(path, inputs), path, inputs)


def compile_source(data: bytes, path: Path, inputs: Inputs = PLAIN, *, strict: bool = True) -> tuple[Compiled, ...]:
    """The same from the file's bytes, read already. Not `strict`: state maps of a layout that is not recorded are named
    in Compiled.unrecorded, for whoever knows whether they are reset."""
    pipelines, problems = parse.parse_sound(data, path)
    revision = f"file:{hashlib.sha256(data).hexdigest()[:12]}"
    compiled: list[Compiled] = []
    with uncollected():
        shared = Shared(inputs)
        for pipeline in pipelines:
            if len(problems) >= ENOUGH:
                break
            try:
                compiled.append(compile_pipeline(pipeline, source_revision=revision, shared=shared, strict=strict))
            except InputError as error:
                problems += error.problems
    if problems:
        ours = sorted((p for p in problems if p.file == str(path)), key=lambda p: (p.line, p.column))
        raise InputError(ours + [p for p in problems if p.file != str(path)])
    return tuple(compiled)


def _independent(pipeline: Pipeline, problems: list[Problem]) -> list[Problem]:
    """Findings that do not merely follow from what the schema refused, which is reported already."""
    if not pipeline.lacks("maps") and not pipeline.lacks("attach"):
        return problems
    return [p for p in problems if not p.path.startswith(("spec.test", "spec.health", "spec.gate"))]


def compile_pipeline(
    pipeline: Pipeline, *, source_revision: str, shared: Shared | None = None, strict: bool = True
) -> Compiled:
    """Resolve one pipeline against its objects; InputError with all that does not fit."""
    if pipeline.lacks("objects"):
        todo = [m for m in pipeline.maps if m.undecided]
        raise InputError([undecided.problem(m.name, m.role_mark, pipeline.file) for m in todo])
    shared = shared or Shared(PLAIN)
    objects = shared.objects(pipeline)
    if objects.problems:  # without all objects every other finding would be a guess
        todo = [m for m in pipeline.maps if m.undecided]
        raise InputError([*objects.problems, *(undecided.problem(m.name, m.role_mark, pipeline.file) for m in todo)])
    compiler = _Compiler(pipeline, objects, shared)
    compiled = compiler.compile(source_revision)
    deferred = [p for found in compiled.unrecorded.values() for p in found]
    problems = _independent(pipeline, compiler.problems)
    if problems or (strict and deferred):
        problems = list(dict.fromkeys([*problems, *deferred]))
        ours = [p for p in problems if p.file == pipeline.file]
        theirs = [p for p in problems if p.file != pipeline.file]
        raise InputError(sorted(ours, key=lambda p: (p.line, p.column)) + theirs)
    return compiled


class Shared:
    """What the pipelines of one file have in common is read once: their objects, and the registry of a schema."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self._objects: dict[tuple[tuple[str, str | None], ...], Objects] = {}
        self._registries: dict[tuple[str, str | None], Registry | None] = {}
        self._faults: dict[tuple[int, int], Message | None] = {}

    def objects(self, pipeline: Pipeline) -> Objects:
        key = tuple((ref.path, ref.sha256) for ref in pipeline.objects)
        if key in self._objects:
            return self._objects[key]
        found = read_objects(pipeline.objects, pipeline.file, self.inputs)
        if not found.problems:  # which have their places in this pipeline
            self._objects[key] = found
        return found

    def registry(self, pipeline: Pipeline) -> Registry | None:
        key = (pipeline.file, pipeline.state_schema)
        if key not in self._registries:
            self._registries[key] = registered.registry_of(pipeline, self.inputs)
        return self._registries[key]

    def creation_fault(self, found: ElfMap, max_entries: int) -> Message | None:
        """creation.creation_fault, asked once for each map of an object that is kept here."""
        key = (id(found), max_entries)
        if key not in self._faults:
            self._faults[key] = creation_fault(found, max_entries)
        return self._faults[key]


def _section(found: ElfProgram, why: Message) -> Message:
    return texts.SECTION(program=found.name, section=found.section, why=why, hint=why.hint)


def _unloadable(found: ElfProgram) -> Message:
    return _section(found, texts.SECTION_UNKNOWN(wanted=loadable_section(found.section)))


class _Compiler:
    """One pipeline with its objects; notes all that does not fit while it resolves."""

    def __init__(self, pipeline: Pipeline, objects: Objects, shared: Shared) -> None:
        self.pipeline = pipeline
        self.objects = objects
        self.shared, self.inputs = shared, shared.inputs
        self.registry = shared.registry(pipeline)
        states = {m.name for m in pipeline.maps if m.role is Role.STATE}
        self.problems: list[Problem] = registered.broken_elsewhere(self.registry, states)
        self.unrecorded: dict[str, tuple[Problem, ...]] = {}
        self.entries: dict[str, bytes] = {}
        self.tests: dict[str, bytes] = {}
        self.captures: tuple[str, ...] = ()

    def compile(self, source_revision: str) -> Compiled:
        attachments = tuple(self._attachment(i, a) for i, a in enumerate(self.pipeline.attach))
        self._all_declared()
        maps = [m for wish in self.pipeline.maps if (m := self._map(wish))]
        programs = self.objects.to_load([a.program for a in attachments])
        self._check_called(programs)
        tests = self._tests(programs) if self.pipeline.tests.items else None
        rodata = constants.encoded(self.pipeline, self.objects, self.problems)
        wish = Wish(
            pipeline=self.pipeline.name,
            source_revision=source_revision,
            objects=tuple(self.objects.files),
            programs=programs,
            rodata=rodata,
            constants=constants.recorded(self.pipeline, self.objects, rodata),
            maps=tuple(sorted(maps, key=lambda m: m.name)),
            attachments=attachments,
            gates=self._gates(),
            engine_maps=tuple(sorted(m for m in self.objects.engine_maps if not always_loaded(m))),
            tests=tests,
            health=self._health(programs),
            panic=self.pipeline.panic,
            share=self._share(),
        )
        files = [*(o.path for o in self.objects.files), *(m.bulk.path for m in self.pipeline.maps if m.bulk)]
        files += registered.files_of(self.registry)
        return Compiled(
            wish=wish,
            objects=self.objects.data,
            entries=self.entries,
            files=(*files, *self.captures),
            tests=self.tests,
            unrecorded=self.unrecorded,
        )

    def _tests(self, programs: tuple[str, ...]) -> WishTests:
        from reloader.pipeline.tests import cases
        from reloader.pipeline.tests.cases_from_yaml import (
            resolve,  # late: most pipelines had none when they were written
        )

        found, problems = resolve(self.pipeline, self.objects, programs, self.inputs)
        self.problems += problems
        self.captures = found.files
        blob = cases.dump(found.cases)
        digest = hashlib.sha256(blob).hexdigest()
        self.tests[digest] = blob
        return WishTests(digest=digest, count=len(found.cases), file=self.pipeline.file, places=found.places)

    def _note(self, mark: Mark, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem.at(self.pipeline.file, message, *mark, path, hint=hint or hint_of(message)))

    def _health(self, programs: tuple[str, ...]) -> Health | None:
        if self.pipeline.health is None:
            return None
        orders = {m.name: m.byteorder or {} for m in self.pipeline.maps}
        maps = {m.name: self.objects.maps[m.name] for m in self.pipeline.maps if m.name in self.objects.maps}
        return health_from_yaml.resolved(self.pipeline.health, maps, programs, orders, self._note)

    def _share(self) -> Share | None:
        """The group has to exist where the pipeline is validated."""
        wanted = self.pipeline.share
        if wanted is None:
            return None
        if group_id(wanted.group) is None:
            mark, file = wanted.mark, self.pipeline.file
            self.problems.append(unknown_group(wanted.group, file=file, line=mark.line, column=mark.column))
        return Share(group=wanted.group, access=wanted.access)

    # --- attachments

    def _attachment(self, index: int, attach: Attach) -> WishAttachment:
        place = places()[attach.type].parse(attach.options)
        self._check_program(f"spec.attach[{index}].program", attach, place)
        return WishAttachment(id=place.id, type=attach.type, program=attach.program, target=place.target)

    def _check_program(self, path: str, attach: Attach, place: Place) -> None:
        mark = attach.marks.get("program", attach.mark)
        found = self.objects.programs.get(attach.program)
        if found is None:
            self._note(mark, path, texts.NO_SUCH_PROGRAM(name=attach.program, hint=self._programs_hint(attach)))
        elif found.type != place.load.program_type:
            why = texts.SECTION_OF_OTHER_TYPE(type=attach.type, wanted=place.load.section)
            self._note(mark, path, _section(found, why))
        elif not loadable(found.section):
            self._note(mark, path, _unloadable(found))

    def _check_called(self, programs: tuple[str, ...]) -> None:
        """Programs that are loaded because arrays of the source hold them."""
        attached = {a.program for a in self.pipeline.attach}
        for found in (self.objects.programs[p] for p in programs if p in self.objects.programs and p not in attached):
            if not loadable(found.section) or not found.type:
                self._note(self.pipeline.mark, "spec.objects", _unloadable(found))

    def _programs_hint(self, attach: Attach) -> str:
        return suggestion(attach.program, self.objects.programs) or texts.NO_PROGRAMS()

    def _gates(self) -> tuple[str, ...]:
        """The attached programs that obey the gate; noted when that cannot be what the author means."""
        if not self.pipeline.gate:
            return ()
        attached = {a.program for a in self.pipeline.attach}
        obey = {p for p in attached if f"{GATE}_{p}" in self.objects.engine_maps}
        path, mark = "spec.gate", self.pipeline.mark
        if not obey:
            self._note(mark, path, texts.GATE_NOT_CHECKED())
        elif obey == attached or not self.objects.carries:
            self._note(mark, path, texts.GATE_NOT_ENTERED())
        return tuple(sorted(obey))

    # --- maps

    def _all_declared(self) -> None:
        declared = {m.name for m in self.pipeline.maps}
        declared |= {str(steps[2]) for steps in self.pipeline.cut if steps[:2] == ("spec", "maps") and len(steps) == 3}
        missing = [m for m in self.objects.maps.values() if m.writable and m.name not in declared]
        if ("spec", "maps") in self.pipeline.cut:
            return
        if missing:
            hint = Block(texts.CHOOSE_ROLES(), *declarations(missing))
            message = texts.UNDECLARED_MAPS(count=len(missing), maps=[m.name for m in missing], hint=hint)
            self._note(self.pipeline.maps_mark or self.pipeline.mark, "spec.maps", message)

    def _map(self, wish: MapWish) -> WishMap | None:
        found = self.objects.maps.get(wish.name)
        path = dotted(("spec", "maps", wish.name))
        if found is None:
            writable = [m.name for m in self.objects.maps.values() if m.writable]
            self._note(wish.mark, path, texts.NO_SUCH_MAP(name=wish.name, hint=suggestion(wish.name, writable)))
            return None
        if not found.writable:
            self._note(wish.mark, path, constants.not_a_map(wish.name))
            return None
        self._check_creation(wish, found, path)
        if wish.undecided:
            self.problems.append(undecided.problem(wish.name, wish.role_mark, self.pipeline.file, allowed_roles(found)))
            return None
        self._check_role(wish, found, path)
        return self._wish_map(wish, found)

    def _check_creation(self, wish: MapWish, found: ElfMap, path: str) -> None:
        """An external map is not created here, and neither is a section of variables as declared."""
        if found.internal or wish.role is Role.EXTERNAL:
            return
        count = found.max_entries if wish.max_entries is None else wish.max_entries
        if fault := self.shared.creation_fault(found, count):
            file = self.objects.file_of(wish.name)
            message = texts.OBJECT_MAP(file=file, map=wish.name, fault=fault, hint=fault.hint)
            self.problems.append(Problem.at(self.pipeline.file, message, *wish.mark, path, reason=fault.code))

    def _check_role(self, wish: MapWish, found: ElfMap, path: str) -> None:
        allowed = allowed_roles(found)
        if wish.role not in allowed:
            text = texts.ROLE_OF_VARIABLES if found.internal else texts.ROLE_OF_TYPE
            message = text(type=type_name(found.type), role=wish.role, roles=allowed)
            self._note(wish.marks.get("role", wish.mark), f"{path}.role", message)
        elif (wish.entries is not None or wish.bulk) and found.type not in PLAIN_TYPES:
            self._note(wish.mark, path, texts.ENTRIES_OF_TYPE(type=type_name(found.type)))
        if wish.max_entries is not None and found.internal:
            mark = wish.marks.get("max_entries", wish.mark)
            self._note(mark, f"{path}.max_entries", texts.SIZE_OF_VARIABLES())

    def _wish_map(self, wish: MapWish, found: ElfMap) -> WishMap:
        max_entries = found.max_entries if wish.max_entries is None else wish.max_entries
        versions = self._versions(wish, found)
        key, value = found.key, found.value
        if versions and (key is None or value is None):  # no BTF describes it; the registry does
            key, value = versions[-1].key, versions[-1].value
        held, entries = self._kept(wish, found), self._entries(wish, found, max_entries)
        self._check_kept(wish, found, held, entries)
        declared = OLD + wish.name in self.objects.engine_maps
        plain = self.objects.past_bridge(wish.name, [a.program for a in self.pipeline.attach]) if declared else ()
        return WishMap(
            name=wish.name,
            role=wish.role,
            type=found.type,
            key_size=found.key_size,
            value_size=found.value_size,
            max_entries=max_entries,
            map_flags=found.map_flags,
            key=key,
            value=value,
            apply=wish.apply,
            together_with=wish.together_with,
            prune=wish.prune is not False,
            may_prune=wish.prune is True,
            entries=entries,
            pin=wish.pin,
            bridge=declared and not plain,
            past_bridge=plain,
            versions=versions,
            unrecorded=wish.name in self.unrecorded,
            byteorder=wish.byteorder or {},
            inner=_inner(found.inner) if found.inner else None,
            flips=self._flips(wish),
            keep=held,
        )

    def _flips(self, wish: MapWish) -> bool:
        """Whether it can be exchanged as a whole; noted when the author counts on it."""
        flips = wish.role is Role.CONFIG and SLOTS + wish.name in self.objects.engine_maps
        path = dotted(("spec", "maps", wish.name, "apply"))
        if wish.apply is Apply.MAP and not flips:
            self._note(wish.marks.get("apply", wish.mark), path, texts.MAP_NOT_EXCHANGEABLE(map=wish.name))
        bare = [n for n in wish.together_with if SLOTS + n not in self.objects.engine_maps]
        if wish.apply is Apply.MAP and flips and bare:
            message = texts.TIED_NOT_EXCHANGEABLE(map=wish.name, others=bare)
            self._note(wish.marks.get("apply", wish.mark), path, message)
        return flips

    def _kept(self, wish: MapWish, found: ElfMap) -> tuple[Kept, ...]:
        found_kept, wrong = keep_fields.kept_of(wish, found)
        if wrong:
            path = dotted(("spec", "maps", wish.name, "keep"))
            self._note(wish.marks.get("keep", wish.mark), path, wrong)
        return found_kept

    def _check_kept(self, wish: MapWish, found: ElfMap, held: tuple[Kept, ...], entries: EntriesRef | None) -> None:
        data = self.entries[entries.digest] if entries and held else b""
        for name in keep_fields.given(held, found.key_size, found.key_size + found.value_size, data):
            path = dotted(("spec", "maps", wish.name, "keep"))
            self._note(wish.marks.get("keep", wish.mark), path, texts.KEPT_FIELD_IN_ENTRIES(field=name))

    def _versions(self, wish: MapWish, found: ElfMap) -> tuple[LayoutVersion, ...]:
        versions, wrong = registered.versions_of(self.registry, wish, found)
        if wrong is None:
            return versions
        mark, path = wish.marks.get("layout", wish.mark), dotted(("spec", "maps", wish.name))
        if self.registry is None:
            self._note(mark, path, wrong)
            return ()
        values: dict[str, object] = {"map": wish.name, "schema": self.registry.schema}
        more = {"reason": "layout-unrecorded", "values": values}
        told = Problem.at(self.pipeline.file, wrong, mark.line, mark.column, path, **more)
        self.unrecorded[wish.name] = (told, *registered.broken(self.registry, wish.name))
        return ()

    def _entries(self, wish: MapWish, found: ElfMap, max_entries: int) -> EntriesRef | None:
        listed = wish.entries is not None or wish.bulk is not None
        if not listed or found.type not in PLAIN_TYPES or wish.role is not Role.CONFIG:
            self.problems += listing.order_problems(wish, found, file=self.pipeline.file)
            return None
        data, problems = listing.pack(wish, found, file=self.pipeline.file, max_entries=max_entries, inputs=self.inputs)
        self.problems += problems
        digest = hashlib.sha256(data).hexdigest()
        self.entries[digest] = data
        return EntriesRef(digest=digest, count=len(data) // (found.key_size + found.value_size))


def _inner(found: ElfMap) -> InnerMap:
    return InnerMap(
        type=found.type, key_size=found.key_size, value_size=found.value_size, max_entries=found.max_entries,
        map_flags=found.map_flags,
    )  # fmt: skip


def declarations(maps: Iterable[ElfMap]) -> list[str]:
    """Lines to paste below `maps:`, one a map, with a suggested role."""
    return [f"    {quoted(m.name)}: {{role: {suggested_role(m) or TODO}}}  # {printable(describe(m))}" for m in maps]
