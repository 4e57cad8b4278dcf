"""`reloader init my.bpf.o`: a first YAML from object files, with a role for every writable map that has one that loses
nothing.

Valid once the interfaces are named and the roles that are `TODO` are chosen; what would not be is refused here.
Imports errors, elf, hooks, layout, spec.{compile,objects,roles,schema,text}.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reloader.elf import ElfMap, ElfProgram
from reloader.elf.sections import loadable
from reloader.errors import InputError, Problem
from reloader.hooks import HOOKS
from reloader.layout import shipped_schema
from reloader.printable import printable
from reloader.spec import undecided
from reloader.spec.compile import compile_source
from reloader.spec.model import Mark, ObjectRef
from reloader.spec.objects import Objects, read_objects
from reloader.spec.roles import allowed_roles, describe, suggested_role
from reloader.spec.schema import API_VERSION
from reloader.spec.showing import show
from reloader.spec.text import quoted
from reloader.spec.words import PLACEHOLDER, TODO
from reloader.typetree import TypeTree

_WIDTH = 110
_NOWHERE = Mark(line=0, column=0)


def first_yaml(objects: Sequence[Path]) -> str:
    """The text of a YAML for these objects; InputError when they cannot be read or hold nothing to attach."""
    refs = [ObjectRef(path=str(p), sha256=None, mark=_NOWHERE) for p in objects]
    joined = read_objects(refs, str(objects[0]) if objects else "")
    if joined.problems:
        raise InputError([p if p.reason else replace(p, reason="unusable-object") for p in joined.problems])
    attached = _attachable(joined)
    if not attached:
        raise InputError([_nothing_to_attach(joined, str(objects[0]))])
    _writable(objects)
    text = _text(objects, joined, attached, PLACEHOLDER)
    _require_valid(objects, _text(objects, joined, attached, "eth0"))
    return text


def _text(objects: Sequence[Path], joined: Objects, attached: Sequence[ElfProgram], interface: str) -> str:
    lines = [*_head(objects), *_rodata(joined), *_attach(joined, attached, interface), *_maps(joined), ""]
    return "\n".join(lines)


def _writable(objects: Sequence[Path]) -> None:
    """InputError for a path that YAML cannot hold."""
    try:
        for path in objects:
            quoted(str(path))
    except ValueError:
        message = "the path is not UTF-8, so a YAML cannot name it"
        values: dict[str, object] = {"path": os.fsencode(path).hex()}
        raise InputError([_problem(str(path), message, "rename the file", "path-not-utf8", values)]) from None


def _require_valid(objects: Sequence[Path], text: str) -> None:
    """What is written here has to be what `validate` takes once the interfaces and roles are chosen. InputError: it is
    not."""
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
        file, hint, first = str(objects[0]), "rename it in the source and compile the object again", wrong[0]
        message = f"no valid YAML can be written for it: {': '.join(t for t in (first.path, first.message) if t)}"
        values: dict[str, object] = {"path": first.path, "message": first.message}
        raise InputError([_problem(file, message, hint, "no-valid-yaml", values)]) from error


def _problem(file: str, message: str, hint: str, reason: str = "", values: dict[str, object] | None = None) -> Problem:
    return Problem(file=file, line=0, column=0, path="", message=message, hint=hint, reason=reason, values=values)


def _nothing_to_attach(objects: Objects, file: str) -> Problem:
    sections = sorted({p.section for p in objects.programs.values()})
    message = "holds no program that can be attached"
    hint = f"it has the sections {', '.join(sections)}; this version attaches {', '.join(HOOKS)}" if sections else ""
    return _problem(file, message, hint, "nothing-to-attach", {"sections": sections})


def _attachable(objects: Objects) -> list[ElfProgram]:
    """Programs of a known hook that are not merely tail-called."""
    types = {hook.PROGRAM_TYPE for hook in HOOKS.values()}
    called = {name for m in objects.maps.values() for name in m.prog_array_values}
    fit = [p for p in objects.programs.values() if p.type in types]
    return [p for p in fit if p.name not in called and p.autoload and loadable(p.section)] or fit


def _head(objects: Sequence[Path]) -> list[str]:
    schema = shipped_schema()
    files = ", ".join(quoted(str(p)) for p in objects)
    return [
        f"# yaml-language-server: $schema={printable(str(schema))}",
        "# Written by `reloader init OBJECT`. Name the interfaces, choose the roles, then `reloader validate FILE`.",
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
    yield "  # rodata:  # constants of the objects, as compiled; set what shall differ, also parts of a struct or array"
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


def _attach(objects: Objects, programs: Sequence[ElfProgram], interface: str) -> Iterator[str]:
    yield "  attach:"
    types = {hook.PROGRAM_TYPE: name for name, hook in HOOKS.items()}
    for index, program in enumerate(programs, 1):
        place = interface if index == 1 else f"{interface}-{index}"
        yield f"    - {{program: {quoted(program.name)}, type: {types[program.type]}, interface: {place}}}"
    yield "    # also, of xdp: mode: native (default) or skb · of tcx: direction: ingress (default) or egress"
    yield "    # of both: netns: a name or an absolute path"
    for other in objects.programs.values():
        if other.type not in types:
            yield _remark(f"    # not attached: {other.name}, section {other.section}")


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
        yield f"    #   roles: {', '.join(allowed_roles(found))}"
        yield from _declaration(found)


def _declaration(found: ElfMap) -> Iterator[str]:
    role = suggested_role(found)
    if role is not None:
        yield f"    {quoted(found.name)}: {{role: {role}}}"
        return
    yield f"    {quoted(found.name)}:"
    yield f"      role: {TODO}  # state: every change keeps the entries. config: this file lists them, as here:"
    yield "      # entries:  # or  from: {csv: FILE}, whose first line names the fields"
    yield _remark(f"      #   - {{key: {_blank(found.key)}, value: {_blank(found.value)}}}")
    yield "      # prune: false  # with role: config: keep the entries that another process writes"


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
