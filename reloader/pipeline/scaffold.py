"""`reloader init my.bpf.o`: a first YAML from object files, with a role for every writable map that has one that loses
nothing.

Valid once the places are named and the roles that are `TODO` are chosen; what would not be is refused here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reloader.errors import InputError, Problem
from reloader.paths import shipped_schema
from reloader.pipeline import texts, undecided
from reloader.pipeline.compile import compile_source
from reloader.pipeline.document import quoted
from reloader.pipeline.enums import PLACEHOLDER, TODO
from reloader.pipeline.model import Mark, ObjectRef
from reloader.pipeline.objects import Objects, read_objects
from reloader.pipeline.roles import allowed_roles, describe, suggested_role
from reloader.pipeline.schema import API_VERSION
from reloader.places import places
from reloader.places.place import LoadHints
from reloader.structs.decode import show
from reloader.structs.elf import ElfMap, ElfProgram
from reloader.structs.elf.sections import loadable
from reloader.structs.tree import TypeTree
from reloader.wording.printable import printable

_WIDTH = 110
_NOWHERE = Mark(line=0, column=0)


def first_yaml(objects: Sequence[Path]) -> str:
    """The text of a YAML for these objects; InputError when they cannot be read or hold nothing to attach."""
    refs = [ObjectRef(path=str(p), sha256=None, mark=_NOWHERE) for p in objects]
    joined = read_objects(refs, str(objects[0]) if objects else "")
    if joined.problems:
        raise InputError(joined.problems)
    attached = _attachable(joined)
    if not attached:
        raise InputError([_nothing_to_attach(joined, str(objects[0]))])
    _writable(objects)
    text = _text(objects, joined, attached)
    _require_valid(objects, _text(objects, joined, attached, named=True))
    return text


def _text(objects: Sequence[Path], joined: Objects, attached: Sequence[ElfProgram], *, named: bool = False) -> str:
    """`named`: with places that could exist instead of placeholders."""
    lines = [*_head(objects), *_rodata(joined), *_attach(joined, attached, named=named), *_maps(joined), ""]
    return "\n".join(lines)


def _writable(objects: Sequence[Path]) -> None:
    """InputError for a path that YAML cannot hold."""
    try:
        for path in objects:
            quoted(str(path))
    except ValueError:
        message = texts.PATH_NOT_UTF8(path=os.fsencode(path).hex())
        raise InputError([Problem.at(str(path), message)]) from None


def _require_valid(objects: Sequence[Path], text: str) -> None:
    """What is written here has to be what `validate` takes once places and roles are chosen. InputError: it is not."""
    try:
        compile_source(text.encode(), Path(os.path.abspath("init.yaml")))
    except InputError as error:
        wrong = [p for p in error.problems if p.reason != undecided.REASON]
        if not wrong:
            return
        if faults := [p for p in wrong if p.values and "file" in p.values]:  # of an object, which no YAML mends
            raise InputError(
                [replace(p, file=str(p.values and p.values["file"]), line=0, column=0) for p in faults]
            ) from error
        first = wrong[0]
        fault = f"{first.path}: {first.message}" if first.path else first.message
        message = texts.NO_VALID_YAML(fault=fault, path=first.path, message=first.message)
        raise InputError([Problem.at(str(objects[0]), message)]) from error


def _nothing_to_attach(objects: Objects, file: str) -> Problem:
    sections = sorted({p.section for p in objects.programs.values()})
    hint = texts.ATTACHABLE_SECTIONS(sections=sections, types=list(places())) if sections else ""
    return Problem.at(file, texts.NOTHING_TO_ATTACH(sections=sections, hint=hint))


def _attachable(objects: Objects) -> list[ElfProgram]:
    """Programs of a known place that are not merely tail-called."""
    types = _loads()
    called = {name for m in objects.maps.values() for name in m.prog_array_values}
    fit = [p for p in objects.programs.values() if p.type in types]
    return [p for p in fit if p.name not in called and p.autoload and loadable(p.section)] or fit


def _head(objects: Sequence[Path]) -> list[str]:
    schema = shipped_schema()
    files = ", ".join(quoted(str(p)) for p in objects)
    return [
        f"# yaml-language-server: $schema={printable(str(schema))}",
        f"# {texts.YAML_WRITTEN()}",
        f"apiVersion: {API_VERSION}",
        "kind: Pipeline",
        f"metadata: {{name: {quoted(pipeline_name(objects[0]))}}}",
        "spec:",
        f"  objects: [{files}]",
    ]


def pipeline_name(path: Path) -> str:
    """`My_Edge.bpf.o` → `my-edge`."""
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower().removesuffix(".o").removesuffix(".bpf")).strip("-")
    return (name if name[:1].isalpha() else f"p-{name}".rstrip("-"))[:63].rstrip("-")


# --- constants


def _rodata(objects: Objects) -> Iterator[str]:
    if not objects.rodata:
        return
    yield f"  # {texts.YAML_CONSTANTS()}"
    for variable in objects.rodata.values():
        name, shown = quoted(variable.name), show(variable.type, variable.value, {})
        flow = _flow(shown)
        if isinstance(shown, dict) and shown and len(flow) > _WIDTH // 2:
            yield _remark(f"  #   {name}:  # {variable.type.text()}")
            yield from (_remark(f"  #     {quoted(field)}: {_flow(value)}") for field, value in shown.items())
        else:
            yield _remark(f"  #   {name}: {flow}  # {variable.type.text()}")


def _flow(value: Any) -> str:
    """A shown value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


# --- attachments


def _loads() -> Mapping[str, tuple[str, LoadHints]]:
    """Program type → the attach type that takes it, and what it has to be loaded as."""
    return {hints.program_type: (kind, hints) for kind, place in places().items() for hints in place.LOADS}


def _attach(objects: Objects, programs: Sequence[ElfProgram], *, named: bool) -> Iterator[str]:
    yield "  attach:"
    types = _loads()
    for index, program in enumerate(programs, 1):
        kind, hints = types[program.type]
        example = places()[kind].EXAMPLE if named else dict.fromkeys(places()[kind].REQUIRED, PLACEHOLDER)
        texts_of_place = {name: text if index == 1 else f"{text}-{index}" for name, text in example.items()}
        fields = {"program": quoted(program.name), "type": kind, **hints.options, **texts_of_place}
        yield f"    - {{{', '.join(f'{name}: {text}' for name, text in fields.items())}}}"
    for kind in dict.fromkeys(types[program.type][0] for program in programs):
        yield f"    # {texts.YAML_ATTACH_FIELDS(type=kind, fields=places()[kind].REMARK)}"
    for other in objects.programs.values():
        if other.type not in types:
            yield _remark(f"    # {texts.YAML_NOT_ATTACHED(program=other.name, section=other.section)}")


# --- maps


def _maps(objects: Objects) -> Iterator[str]:
    writable = [m for m in objects.maps.values() if m.writable]
    if not writable:
        return
    yield "  maps:"
    for found in writable:
        yield _remark(f"    # {describe(found)}")
        for side, tree in (("key", found.key), ("value", found.value)):
            if tree is not None and tree.aggregate:
                yield _remark(f"    #   {side}: {_clipped(in_words(tree))}")
        yield f"    #   {texts.YAML_ROLES(roles=allowed_roles(found))}"
        yield from _declaration(found)


def _declaration(found: ElfMap) -> Iterator[str]:
    role = suggested_role(found)
    if role is not None:
        yield f"    {quoted(found.name)}: {{role: {role}}}"
        return
    yield f"    {quoted(found.name)}:"
    yield f"      role: {TODO}  # {texts.YAML_ROLE()}"
    yield f"      # {texts.YAML_ENTRIES()}"
    yield _remark(f"      #   - {{key: {_blank(found.key)}, value: {_blank(found.value)}}}")
    yield f"      # {texts.YAML_PRUNE()}"


def _blank(tree: TypeTree | None) -> str:
    """The shape of an entry's side, to fill in."""
    if tree is not None and tree.aggregate:
        return "{" + ", ".join(f"{quoted(m.name)}: …" for m in tree.fields()) + "}"
    return "…"


def in_words(tree: TypeTree) -> str:
    """A layout as C would have it, on one line: `struct flow {u64 packets; u64 bytes}`."""
    if not tree.aggregate or tree.special:
        return tree.text()
    bits = [f" : {m.bits}" if m.bits else "" for m in tree.fields()]
    fields = "; ".join(f"{in_words(m.type)} {m.name}{b}" for m, b in zip(tree.fields(), bits, strict=True))
    return f"{{{fields}}}" if tree.kind == "datasec" else f"{tree.text()} {{{fields}}}"


def _remark(text: str) -> str:
    """A comment: a line break in a name would end it."""
    return printable(text)


def _clipped(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
