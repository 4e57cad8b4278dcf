"""`reloader init my.bpf.o`: a first YAML from object files, with a role for every writable map that has one that loses
nothing.

The author names the interfaces and chooses the roles that are `TODO`. Imports errors, elf, hooks,
layout, spec.{objects,roles,schema,text}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reloader.elf import ElfMap, ElfProgram
from reloader.elf.sections import loadable
from reloader.errors import InputError, Problem
from reloader.hooks import HOOKS
from reloader.layout import shipped_dir
from reloader.spec.model import Mark, ObjectRef
from reloader.spec.objects import Objects, read_objects
from reloader.spec.roles import allowed_roles, describe, suggested_role
from reloader.spec.schema import API_VERSION
from reloader.spec.showing import show
from reloader.spec.text import resolve
from reloader.spec.words import TODO
from reloader.state.layouts import quoted
from reloader.typetree import TypeTree

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
    return "\n".join([*_head(objects), *_rodata(joined), *_attach(joined, attached), *_maps(joined), ""])


def _nothing_to_attach(objects: Objects, file: str) -> Problem:
    sections = sorted({p.section for p in objects.programs.values()})
    message = "holds no program that can be attached"
    hint = f"it has the sections {', '.join(sections)}; this version attaches {', '.join(HOOKS)}" if sections else ""
    return Problem(file=file, line=0, column=0, path="", message=message, hint=hint)


def _attachable(objects: Objects) -> list[ElfProgram]:
    """Programs of a known hook that are not merely tail-called."""
    types = {hook.PROGRAM_TYPE for hook in HOOKS.values()}
    called = {name for m in objects.maps.values() for name in m.prog_array_values}
    fit = [p for p in objects.programs.values() if p.type in types]
    return [p for p in fit if p.name not in called and p.autoload and loadable(p.section)] or fit


def _head(objects: Sequence[Path]) -> list[str]:
    schema = shipped_dir("schemas") / "pipeline.schema.json"
    files = ", ".join(_quoted(str(p)) for p in objects)
    return [
        f"# yaml-language-server: $schema={schema}",
        "# Written by `reloader init`. Name the interfaces, choose the roles, then `reloader validate` and `apply`.",
        f"apiVersion: {API_VERSION}",
        "kind: Pipeline",
        f"metadata: {{name: {pipeline_name(objects[0])}}}",
        "spec:",
        f"  objects: [{files}]",
    ]


def pipeline_name(path: Path) -> str:
    """`My_Edge.bpf.o` → `my-edge`."""
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower().removesuffix(".o").removesuffix(".bpf")).strip("-")
    return (name if name[:1].isalpha() else f"p-{name}".rstrip("-"))[:63].rstrip("-")


def _quoted(text: str) -> str:
    """A text as a YAML scalar inside brackets."""
    plain = re.fullmatch(r"[\w./][\w./+@-]*", text, re.ASCII) and isinstance(resolve(text), str)
    return text if plain else json.dumps(text, ensure_ascii=False)


# --- constants


def _rodata(objects: Objects) -> Iterator[str]:
    if not objects.rodata:
        return
    yield "  # rodata:  # constants of the objects, as compiled; set what shall differ, also parts of a struct or array"
    for variable in objects.rodata.values():
        name, shown = quoted(variable.name), show(variable.type, variable.value, {})
        flow = _flow(shown)
        if isinstance(shown, dict) and shown and len(flow) > _WIDTH // 2:
            yield f"  #   {name}:  # {variable.type.text()}"
            yield from (f"  #     {quoted(field)}: {_flow(value)}" for field, value in shown.items())
        else:
            yield f"  #   {name}: {flow}  # {variable.type.text()}"


def _flow(value: Any) -> str:
    """A shown value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


# --- attachments


def _attach(objects: Objects, programs: Sequence[ElfProgram]) -> Iterator[str]:
    yield "  attach:"
    types = {hook.PROGRAM_TYPE: name for name, hook in HOOKS.items()}
    for index, program in enumerate(programs, 1):
        interface = "CHANGE-ME" if index == 1 else f"CHANGE-ME-{index}"
        yield f"    - {{program: {program.name}, type: {types[program.type]}, interface: {interface}}}"
    yield "    # also, of xdp: mode: native (default) or skb · of tcx: direction: ingress (default) or egress"
    yield "    # of both: netns: a name or an absolute path"
    for other in objects.programs.values():
        if other.type not in types:
            yield f"    # not attached: {other.name}, section {other.section}"


# --- maps


def _maps(objects: Objects) -> Iterator[str]:
    writable = [m for m in objects.maps.values() if m.writable]
    if not writable:
        return
    yield "  maps:"
    for found in writable:
        yield f"    # {describe(found)}"
        for side, tree in (("key", found.key), ("value", found.value)):
            if tree is not None and tree.aggregate:
                yield f"    #   {side}: {_clipped(in_words(tree))}"
        yield f"    #   roles: {', '.join(allowed_roles(found))}"
        yield from _declaration(found)


def _declaration(found: ElfMap) -> Iterator[str]:
    role = suggested_role(found)
    if role is not None:
        yield f"    {found.name}: {{role: {role}}}"
        return
    yield f"    {found.name}:"
    yield f"      role: {TODO}  # state: every change keeps the entries. config: this file lists them, as here:"
    yield "      # entries:  # or  from: {csv: FILE}, whose first line names the fields"
    yield f"      #   - {{key: {_blank(found.key)}, value: {_blank(found.value)}}}"
    yield "      # prune: false  # with role: config: keep the entries that another process writes"


def _blank(tree: TypeTree | None) -> str:
    """The shape of an entry's side, to fill in."""
    if tree is not None and tree.aggregate:
        return "{" + ", ".join(f"{m.name}: …" for m in tree.fields()) + "}"
    return "…"


def in_words(tree: TypeTree) -> str:
    """A layout as C would have it, on one line: `struct flow {u64 packets; u64 bytes}`."""
    if not tree.aggregate or tree.special:
        return tree.text()
    bits = [f" : {m.bits}" if m.bits else "" for m in tree.fields()]
    fields = "; ".join(f"{in_words(m.type)} {m.name}{b}" for m, b in zip(tree.fields(), bits, strict=True))
    return f"{{{fields}}}" if tree.kind == "datasec" else f"{tree.text()} {{{fields}}}"


def _clipped(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
