"""The registry of state layouts: `state/<schema>/<map>.<version>.yaml`, reviewed like database migrations.

Read when a pipeline names a stateSchema (its versions travel in the wish from then on) and by `reloader state`.
Every file is judged whole: text, schema, layout, and whether its rules make every entry of the version before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import InputError, NotFoundError, Problem
from reloader.frozen import frozen
from reloader.layouts import shape
from reloader.layouts.emit import MERGES, merge_problem, merge_word
from reloader.layouts.rule_table import StateRefused, compile_conversion, invert
from reloader.layouts.rules import FieldRule, LayoutVersion
from reloader.paths import pin_name, registry_dirs
from reloader.pipeline.document import Document, Steps, dotted
from reloader.pipeline.registry import texts
from reloader.structs.tree import TypeTree, entry_of, layout_digest
from reloader.wording.message import Message

if TYPE_CHECKING:
    from reloader.structs.elf import ElfMap

QUESTION = "# QUESTION"
"""Marks what `state new` could not know; a file that holds one is not finished."""
WHOLE = "."
"""How a file names the whole key or value, where it is no struct."""
SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FILE_NAME = re.compile(r"(.+)\.([1-9][0-9]*)\.ya?ml")


@frozen
class Registry:
    """All versions of all maps of one schema, in order."""

    schema: str
    folder: str  # where they were read
    maps: dict[str, tuple[LayoutVersion, ...]]
    files: tuple[str, ...] = ()  # absolute paths
    broken: dict[str, tuple[Problem, ...]] = field(default_factory=dict)  # map, as in file names -> its files' faults

    def history(self, name: str) -> tuple[LayoutVersion, ...]:
        return self.maps.get(name, ())

    def head(self, name: str) -> LayoutVersion | None:
        return self.maps[name][-1] if self.maps.get(name) else None

    def match(self, name: str, key: TypeTree | None, value: TypeTree | None) -> LayoutVersion | None:
        """The version that has this layout; of several that look alike, the last."""
        return (self.alike(name, key, value) or (None,))[-1]

    def fitting(self, found: ElfMap) -> tuple[LayoutVersion, ...]:
        """Every version that a declared map can have: by layout, and by size alone where no BTF describes a side."""
        described = found.key is not None and found.value is not None
        alike = self.alike(found.name, found.key, found.value)
        return alike if described else tuple(v for v in self.history(found.name) if _fits(v, found))

    def alike(self, name: str, key: TypeTree | None, value: TypeTree | None) -> tuple[LayoutVersion, ...]:
        """Every version with this layout. More than one: they differ in meaning, which no map shows."""
        digest = layout_digest(key, value)
        return tuple(v for v in self.history(name) if layout_digest(v.key, v.value) == digest)


def search_path(beside: Path | None = None) -> tuple[Path, ...]:
    """Where schemas are looked for: beside the pipeline's YAML, on this host, among those shipped."""
    return registry_dirs(beside)


def find_schema(schema: str, search: Sequence[Path]) -> Path | None:
    """The first folder of that name; one folder holds the whole history, they are never mixed."""
    return next((root / schema for root in search if (root / schema).is_dir()), None)


def load_registry(schema: str, search: Sequence[Path], inputs: Inputs = PLAIN, *, strict: bool = True) -> Registry:
    """All versions of a schema; InputError with everything wrong in any file, NotFoundError without a folder. Not
    `strict`: maps of which a file is wrong are left out, and named in Registry.broken."""
    folder = find_schema(schema, search)
    if folder is None:
        raise NotFoundError(texts.NO_SUCH_SCHEMA(schema=schema, folders=[str(p) for p in search]))
    return read_folder(schema, folder, inputs, strict=strict)


def read_folder(schema: str, folder: Path, inputs: Inputs = PLAIN, *, strict: bool = True) -> Registry:
    """The same of a folder that is there."""
    reader = _Reader(schema, inputs)
    folder = folder.absolute()
    files = [folder / name for name in inputs.names(folder) if _FILE_NAME.fullmatch(name)]
    for path in files:
        reader.read(path)
    maps = reader.finished()
    if reader.problems and strict:
        raise InputError(reader.problems)
    broken: dict[str, tuple[Problem, ...]] = {}
    for problem in reader.problems:
        name = pin_name(_map_of(Path(problem.file)))
        broken[name] = (*broken.get(name, ()), problem)
    return Registry(
        schema=schema,
        folder=str(folder),
        maps={name: versions for name, versions in maps.items() if pin_name(name) not in broken},
        files=tuple(map(str, files)),
        broken=broken,
    )


def _map_of(path: Path) -> str:
    """The map whose layouts a file holds, by the file's name."""
    found = _FILE_NAME.fullmatch(path.name)
    return found[1] if found else path.stem


def file_name(map_name: str, version: int) -> str:
    return f"{pin_name(map_name)}.{version}.yaml"


@frozen
class _File:
    """One file, read and fit for the schema."""

    path: str
    document: Document
    key: TypeTree
    value: TypeTree

    @property
    def body(self) -> Mapping[str, Any]:
        body: Mapping[str, Any] = self.document.value
        return body

    @property
    def place(self) -> tuple[str, int]:
        return self.body["metadata"]["map"], self.body["metadata"]["version"]

    def problem(self, steps: Steps, message: Message, *, key: bool = False) -> Problem:
        mark = self.document.mark(steps, key=key)
        return Problem.at(self.path, message, mark.line, mark.column, dotted(steps))


class _Reader:
    """Files to versions; every problem is noted, nothing raises."""

    def __init__(self, schema: str, inputs: Inputs) -> None:
        self.problems: list[Problem] = []
        self._inputs = inputs
        self._schema = schema
        self._files: dict[str, dict[int, _File]] = {}

    def read(self, path: Path) -> None:
        from reloader.pipeline.check import check
        from reloader.pipeline.document import read_documents
        from reloader.pipeline.registry.layout_schema import layout_schema
        from reloader.pipeline.source import read_source

        data = read_source(path, self._inputs)
        documents, problems = read_documents(data, str(path))
        for document in documents:
            problems += check(document, str(path), layout_schema)
        if len(documents) > 1:
            problems.append(Problem.at(str(path), texts.SEVERAL_DOCUMENTS()))
        self.problems += [*_questions(path, data), *problems]
        if not problems:
            self._keep(path, documents[0])

    def _keep(self, path: Path, document: Document) -> None:
        from reloader.pipeline.registry.layout_files import LayoutProblem, read_type

        trees = {}
        for side in ("key", "value"):
            try:
                trees[side] = read_type(document.value["layout"][side])
            except LayoutProblem as wrong:
                mark = document.mark(("layout", side, *wrong.steps))
                where = dotted(("layout", side, *wrong.steps))
                self.problems.append(Problem.at(str(path), wrong.message, mark.line, mark.column, where))
        if len(trees) == 2:
            self._file(_File(path=str(path), document=document, key=trees["key"], value=trees["value"]))

    def _file(self, file: _File) -> None:
        name, version = file.place
        wanted = file_name(name, version)
        if file.body["metadata"]["schema"] != self._schema:
            self.problems.append(file.problem(("metadata", "schema"), texts.SCHEMA_OF_FOLDER(schema=self._schema)))
        if Path(file.path).name.replace(".yml", ".yaml") not in (wanted, f"{name}.{version}.yaml"):
            misnamed = texts.FILE_NAME(map=name, version=version, name=wanted)
            self.problems.append(file.problem(("metadata",), misnamed))
        elif version in self._files.setdefault(name, {}):
            self.problems.append(file.problem(("metadata",), texts.VERSION_TWICE(map=name, version=version)))
        else:
            self._files[name][version] = file

    def finished(self) -> dict[str, tuple[LayoutVersion, ...]]:
        """Versions by map, each judged with the one before it."""
        found: dict[str, tuple[LayoutVersion, ...]] = {}
        for name, files in self._files.items():
            versions: list[LayoutVersion] = []
            for number in sorted(files):
                before = versions[-1] if versions else None
                if before and before.version != number - 1:
                    missing = texts.VERSION_MISSING(version=number - 1)
                    self.problems.append(files[number].problem(("metadata", "version"), missing))
                    break
                versions.append(self._version(files[number], before))
            found[name] = tuple(versions)
        return found

    def _version(self, file: _File, before: LayoutVersion | None) -> LayoutVersion:
        noted = len(self.problems)
        rules = file.body.get("rules") or {}
        name, number = file.place
        made = LayoutVersion(
            schema=self._schema,
            map=name,
            version=number,
            key=file.key,
            value=file.value,
            merge=_merge(file.body.get("merge") or {}),
            key_rules=self._field_rules(file, "key", before),
            value_rules=self._field_rules(file, "value", before),
            collide=rules.get("collide") == "merge",
        )
        self.problems += _merge_problems(file, made.inside())
        if rules and number == 1:
            self.problems.append(file.problem(("rules",), texts.FIRST_WITHOUT_RULES(), key=True))
        if before and len(self.problems) == noted and not _bound(before, made):
            self.problems += _conversion_problems(file, before, made)
        return made

    def _field_rules(self, file: _File, side: str, before: LayoutVersion | None) -> dict[str, FieldRule]:
        made = {}
        for path, words in ((file.body.get("rules") or {}).get(side) or {}).items():
            new = _side(file, side)
            old = _side(before, side) if before else None
            steps = ("rules", side, path)
            made["" if path == WHOLE else path] = self._field_rule(file, steps, words, new, old)
        return made

    def _field_rule(
        self, file: _File, steps: Steps, words: Mapping[str, Any], new: TypeTree, old: TypeTree | None
    ) -> FieldRule:
        path = str(steps[-1]).removesuffix(WHOLE) if steps[-1] == WHOLE else str(steps[-1])
        given: dict[str, Any] = {w: v for w, v in words.items() if w not in ("default", "const", "was")}
        for word in ("default", "const", "was"):
            tree = old if word == "was" else new
            if word in words and tree is not None:
                given[word] = self._bytes(file, (*steps, word), shape.find(tree, path), words[word])
        if problem := _contradiction(words):
            self.problems.append(file.problem(steps, problem))
        return FieldRule(**given)

    def _bytes(self, file: _File, steps: Steps, tree: TypeTree | None, value: Any) -> bytes | None:
        """A value in its field's layout; a field that does not exist is the matcher's to report."""
        from reloader.structs.encode import ValueProblem, encode

        if tree is None:
            return b""
        if value == 0 or tree.kind == "bits":
            number = value if isinstance(value, int) else 0
            return (number & ((1 << 8 * tree.size) - 1)).to_bytes(tree.size, "little")
        try:
            return encode(tree, value, path="", complete=False, hint=texts.WRITE_NUMBER_OR_HEX())
        except ValueProblem as wrong:
            self.problems.append(file.problem(steps, wrong.message))
            return None


def _bound(before: LayoutVersion, made: LayoutVersion) -> str:
    """What in a value only the kernel may write and no rule can carry: entries are given up by --reset."""
    return shape.holds_bound(before.inside().value) or shape.holds_bound(made.inside().value)


def _side(of: _File | LayoutVersion, side: str) -> TypeTree:
    key, value = entry_of(of.key, of.value)
    return key if side == "key" else value


def _fits(version: LayoutVersion, found: ElfMap) -> bool:
    """Whether a map of these sizes, with a layout where BTF gives one, can be of this version."""
    nested = version.value.kind == "map"
    if nested != (found.inner is not None) or (nested and not _side_fits(version.key, found.key, found.key_size)):
        return False
    entries, inside = found.inner or found, version.inside()
    return _side_fits(inside.key, entries.key, entries.key_size) and _side_fits(
        inside.value, entries.value, entries.value_size
    )


def _side_fits(recorded: TypeTree, declared: TypeTree | None, size: int) -> bool:
    return shape.same(recorded, declared) if declared is not None else recorded.size == size


def _questions(path: Path, data: bytes) -> Iterator[Problem]:
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if (at := line.find(QUESTION)) >= 0:
            question = texts.QUESTION_OPEN(question=line[at + len(QUESTION) :].strip(" :"))
            yield Problem.at(str(path), question, number, at + 1)


def _contradiction(words: Mapping[str, Any]) -> Message | None:
    if "was" in words and not words.get("drop"):
        return texts.WAS_WITHOUT_DROP()
    if words.get("drop") and words.keys() - {"drop", "was", "accept_loss"}:
        return texts.DROP_NOT_ALONE()
    if "accept_loss" in words and not (words.get("drop") or words.get("cast")):
        return texts.ACCEPT_LOSS_ALONE()
    made = [w for w in ("default", "const", "rename") if w in words]
    return texts.RULES_EXCLUDE(rules=made) if len(made) > 1 else None


def _merge(said: Any) -> dict[str, str]:
    if isinstance(said, str):
        return {"": said}
    return {("" if path == WHOLE else path): word for path, word in said.items()}


def _merge_problems(file: _File, made: LayoutVersion) -> Iterator[Problem]:
    for path in made.merge:
        if shape.find(made.value, path) is None:
            yield file.problem(("merge", path), texts.MERGE_WITHOUT_FIELD(), key=True)
    seen = set()
    for atom in shape.atoms(made.value, most=2):
        word = merge_word(made.merge, atom.path)
        why = merge_problem(atom, MERGES[word])
        if why and not atom.type.special and atom.path not in seen:
            seen.add(atom.path)
            yield file.problem(("merge", atom.path), why)


def _conversion_problems(file: _File, before: LayoutVersion, made: LayoutVersion) -> Iterator[Problem]:
    try:
        compile_conversion(before, made)
        invert((before, made))
    except StateRefused as refused:
        for fault in refused.faults:
            place = (fault.side, fault.path or WHOLE) if fault.side else ()
            yield file.problem(("rules", *place), fault.message)
