"""A YAML file → frozen Pipelines: text, schema, then what a schema cannot say, each finding at its place.

Reads one file and nothing it names: objects and bulk files are compile.py's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from reloader.errors import ENOUGH, InputError, Problem
from reloader.paths import pin_name
from reloader.pipeline import check, texts, undecided
from reloader.pipeline import document as text
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import Document, Steps, dotted
from reloader.pipeline.enums import PLACEHOLDER, Access
from reloader.pipeline.health import health_from_yaml
from reloader.pipeline.model import (
    Apply,
    Attach,
    Bulk,
    Entry,
    MapWish,
    Mark,
    ObjectRef,
    Panic,
    Pipeline,
    Role,
    ShareWish,
    TestWish,
)
from reloader.pipeline.sound import Sound, sound_part
from reloader.pipeline.source import read_source
from reloader.places import places
from reloader.wording.message import hint_of

_CONFIG_ONLY = ("entries", "from", "apply", "together_with", "prune", "keep")
_RULES = {  # field -> the only roles it means something for
    **dict.fromkeys(_CONFIG_ONLY, frozenset({Role.CONFIG})),
    "pin": frozenset({Role.EXTERNAL}),
    "layout": frozenset({Role.STATE}),
    "max_entries": frozenset(Role) - {Role.EXTERNAL},
}


def read_pipelines(path: Path) -> tuple[Pipeline, ...]:
    """Every pipeline of a YAML file, in order; InputError with all that is wrong."""
    return parse_pipelines(read_source(path), path)


def parse_pipelines(data: bytes, path: Path) -> tuple[Pipeline, ...]:
    """The pipelines in a file's bytes; relative paths are meant beside `path`. InputError with all that is wrong."""
    pipelines, problems = parse_sound(data, path)
    if problems:
        raise InputError(problems)
    return pipelines


def parse_sound(data: bytes, path: Path) -> tuple[tuple[Pipeline, ...], list[Problem]]:
    """The same as far as they are sound, with what is wrong: so that the rest is held against the objects as well."""
    file, base = str(path), str(path.absolute().parent)
    documents, problems = text.read_documents(data, file)
    problems += _duplicate_names(documents, file)
    pipelines = []
    for document in documents:
        todo = undecided.take_out(document)
        wrong = check.check(document, file)
        problems += wrong
        if len(problems) >= ENOUGH:
            break
        left = sound_part(document) if wrong else Sound(document=document, cut=frozenset())
        if left is None:  # otherwise compile.py says it, with the choices that the map's type leaves
            problems += [undecided.problem(name, mark, file) for name, mark in todo.items()]
        else:
            reader = _Reader(left, file, base, todo)
            pipelines.append(reader.pipeline())
            problems += reader.problems
        if len(problems) >= ENOUGH:
            break
    return tuple(pipelines), sorted(problems, key=lambda p: (p.line, p.column))


def _duplicate_names(documents: Iterable[Document], file: str) -> list[Problem]:
    first: dict[str, Mark] = {}
    problems = []
    for document in documents:
        metadata = document.value.get("metadata") if isinstance(document.value, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str):
            continue
        mark = document.mark(("metadata", "name"))
        if name in first:
            message = texts.DUPLICATE_PIPELINE(name=name, line=first[name].line, column=first[name].column)
            problems.append(Problem.at(file, message, *mark, "metadata.name"))
        first.setdefault(name, mark)
    return problems


class _Reader:
    """One document that fits the schema, taken apart; notes what is still wrong."""

    def __init__(self, sound: Sound, file: str, base: str, undecided: Collection[str] = ()) -> None:
        self.sound = sound
        self.document = sound.document
        self.undecided = undecided  # maps whose role is not chosen yet
        self.file = file
        self.base = base
        self.problems: list[Problem] = []

    def pipeline(self) -> Pipeline:
        spec: dict[str, Any] = self.document.value["spec"]
        pipeline = Pipeline(
            name=self.document.value["metadata"]["name"],
            file=self.file,
            mark=self.document.mark(()),
            objects=self._objects(spec["objects"]),
            attach=tuple(self._attach(i, a) for i, a in enumerate(spec["attach"])),
            maps=self._maps(spec.get("maps", {})),
            rodata=spec.get("rodata", {}),
            rodata_marks=self._marks_below(("spec", "rodata")),
            state_schema=spec.get("stateSchema"),
            gate=spec.get("gate", False),
            tests=self._tests(spec.get("test", [])),
            health=health_from_yaml.read(self.document, spec["health"], self._note) if "health" in spec else None,
            panic=Panic(spec["panic"]) if "panic" in spec else None,
            share=self._share(spec["share"]) if "share" in spec else None,
            maps_mark=self.document.mark(("spec", "maps") if "maps" in spec else ("spec",), key=True),
            cut=self.sound.cut,
        )
        self._no_collisions(pipeline.attach)
        self._panic_fits(pipeline)
        return pipeline

    def _share(self, share: Mapping[str, str]) -> ShareWish:
        mark = self.document.mark(("spec", "share", "group"))
        return ShareWish(group=share["group"], access=Access(share.get("access", Access.READ)), mark=mark)

    def _note(self, steps: Steps, message: str, hint: str = "", *, key: bool = False) -> None:
        mark = self.document.mark(steps, key=key)
        self.problems.append(Problem.at(self.file, message, *mark, dotted(steps), hint=hint or hint_of(message)))

    def _beside(self, name: str) -> str:
        return os.path.join(self.base, name)

    def _marks_below(self, root: Steps) -> dict[str, Mark]:
        """Marks of everything below `root`, by dotted path from there."""
        depth = len(root)
        marks = self.document.marks
        out: dict[str, Mark] = {}
        pending: list[tuple[Steps, Any]] = [(root, _at(self.document.value, root))]
        while pending:
            steps, value = pending.pop()
            if len(steps) > depth:
                out[dotted(steps[depth:])] = marks[steps]
            children: Iterable[tuple[str | int, Any]] = ()
            if isinstance(value, (dict, list)):
                children = value.items() if isinstance(value, dict) else enumerate(value)
            pending += [((*steps, step), child) for step, child in children]
        return out

    def _tests(self, items: list[Any]) -> TestWish:
        steps: Steps = ("spec", "test")
        return TestWish(
            items=tuple(items), mark=self.document.mark(steps), marks=self._marks_below(steps), base=self.base
        )

    def _objects(self, items: list[Any]) -> tuple[ObjectRef, ...]:
        refs: list[ObjectRef] = []
        seen: set[str] = set()
        for index, item in enumerate(items):
            steps: Steps = ("spec", "objects", index)
            given = item if isinstance(item, dict) else {"file": item}
            ref = ObjectRef(
                path=self._beside(given["file"]), sha256=given.get("sha256"), mark=self.document.mark(steps)
            )
            if ref.path in seen:
                self._note(steps, texts.DUPLICATE_OBJECT(file=given["file"]))
            seen.add(ref.path)
            refs.append(ref)
        return tuple(refs)

    def _attach(self, index: int, item: Mapping[str, Any]) -> Attach:
        steps: Steps = ("spec", "attach", index)
        options = {k: v for k, v in item.items() if k not in ("program", "type")}
        for word, fault in places()[item["type"]].faults(options, PLACEHOLDER):
            self._note((*steps, word), fault)
        return Attach(
            program=item["program"],
            type=item["type"],
            options=options,
            mark=self.document.mark(steps),
            marks=self._marks_below(steps),
        )

    def _no_collisions(self, attachments: tuple[Attach, ...]) -> None:
        first: dict[str, int] = {}
        altered = {steps[2] for steps in self.sound.cut if steps[:2] == ("spec", "attach") and len(steps) > 2}
        for index, attach in enumerate(attachments):
            if index in altered:  # its place may be another than this
                continue
            place = places()[attach.type].parse(attach.options).id
            if pin_name(place) in first:  # the pin's name: eth0.1 and eth0-1 would share it
                other = attachments[first[pin_name(place)]].mark
                message = texts.PLACE_TAKEN(place=place, line=other.line, column=other.column)
                self._note(("spec", "attach", index), message)
            first.setdefault(pin_name(place), index)

    def _panic_fits(self, pipeline: Pipeline) -> None:
        for attach in pipeline.attach if pipeline.panic else ():
            if places()[attach.type].panic(str(pipeline.panic)) is None:
                self._note(("spec", "panic"), texts.PANIC_WITHOUT_MEANING(panic=pipeline.panic, type=attach.type))
                return

    def _maps(self, items: Mapping[str, Any]) -> tuple[MapWish, ...]:
        for name, item in items.items():
            self._fields_fit_role(name, item)
        groups = self._groups(items)
        for name, item in items.items():
            if name in groups and item.get("apply") == Apply.ENTRIES:
                self._note(("spec", "maps", name, "apply"), texts.TIED_APPLY_ENTRIES(maps=groups[name]))
            if item.get("apply") == Apply.MAP and item.get("prune") is False:
                self._note(("spec", "maps", name, "apply"), texts.APPLY_MAP_OF_SHARED())
        return tuple(self._map(name, item, groups.get(name, ())) for name, item in items.items())

    def _fields_fit_role(self, name: str, item: Mapping[str, Any]) -> None:
        steps: Steps = ("spec", "maps", name)
        role = Role(item["role"])
        for word, roles in _RULES.items() if name not in self.undecided else ():
            if word in item and role not in roles:
                fitting = [r.value for r in Role if r in roles]
                message = texts.FIELD_OF_OTHER_ROLE(field=word, role=role.value, roles=fitting)
                self._note((*steps, word), message, key=True)
        if role is Role.EXTERNAL and "pin" not in item and not self.sound.lacks(*steps, "pin"):
            self._note(steps, texts.PIN_MISSING(), key=True)
        if "entries" in item and "from" in item:
            self._note((*steps, "from"), texts.ENTRIES_AND_FROM(), key=True)

    def _groups(self, items: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """together_with made symmetric and transitive: every tied map with all the others of its group."""
        group: dict[str, set[str]] = {name: {name} for name in items}
        for name, item in items.items():
            for index, other in enumerate(item.get("together_with", ())):
                if not self._can_tie(items, ("spec", "maps", name, "together_with", index), name, other):
                    continue
                joined = group[name] | group[other]
                for member in joined:
                    group[member] = joined
        return {name: tuple(sorted(g - {name})) for name, g in group.items() if len(g) > 1}

    def _can_tie(self, items: Mapping[str, Any], steps: Steps, name: str, other: str) -> bool:
        if other not in items and self.sound.lacks("spec", "maps", other):
            return False
        if other not in items:
            self._note(steps, texts.NO_SUCH_TIED_MAP(name=other, hint=suggestion(other, set(items) - {name})))
        elif other == name:
            self._note(steps, texts.TIED_TO_ITSELF())
        elif items[other]["role"] != Role.CONFIG and other not in self.undecided:
            self._note(steps, texts.NOT_CONFIG(name=other))
        else:
            return True
        return False

    def _map(self, name: str, item: Mapping[str, Any], together_with: tuple[str, ...]) -> MapWish:
        steps: Steps = ("spec", "maps", name)
        size = item.get("max_entries")
        return MapWish(
            name=name,
            role=Role(item["role"]),
            mark=self.document.mark(steps, key=True),
            entries=self._entries(steps, item["entries"]) if "entries" in item else None,
            bulk=self._bulk(steps, item["from"]) if "from" in item else None,
            apply=Apply(item.get("apply", Apply.AUTO)),
            together_with=together_with,
            prune=item.get("prune"),
            keep=tuple(item.get("keep", ())),
            byteorder=item.get("byteorder"),
            pin=item.get("pin"),
            max_entries=None if size is None else int(size),
            undecided=name in self.undecided,
            layout=None if (version := item.get("layout")) is None else int(version),
            marks=self._map_marks(steps, item),
        )

    def _map_marks(self, steps: Steps, item: Mapping[str, Any]) -> dict[str, Mark]:
        marks = {word: self.document.mark((*steps, word)) for word in item}
        for path in item.get("byteorder", {}):
            marks[f"byteorder.{path}"] = self.document.mark((*steps, "byteorder", path), key=True)
        return marks

    def _entries(self, steps: Steps, items: list[Any]) -> tuple[Entry, ...]:
        out = []
        for index, item in enumerate(items):
            at: Steps = (*steps, "entries", index)
            if at in self.sound.cut:
                continue
            marks = self._marks_below(at)
            mark = self.document.mark(at)
            out.append(Entry(key=item["key"], value=item["value"], mark=mark, marks=marks, index=index))
        return tuple(out)

    def _bulk(self, steps: Steps, item: Mapping[str, str]) -> Bulk:
        ((kind, name),) = item.items()
        return Bulk(format=kind, path=self._beside(name), mark=self.document.mark((*steps, "from", kind)))


def _at(value: Any, steps: Steps) -> Any:
    for step in steps:
        if isinstance(value, dict) and step not in value:
            return None
        value = value[step]
    return value
