"""state diff, new, check, show: the registry of state layouts. Needs no kernel and no privilege."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment
from reloader.errors import InputError, NotFoundError, Problem, UsageError
from reloader.process.interrupts import Held
from reloader.wording.printable import counted

if TYPE_CHECKING:
    from reloader.layouts.rules import LayoutVersion
    from reloader.pipeline.registry.registry import Registry
    from reloader.structs.elf import ElfMap


def _maps(path: str) -> tuple[ElfMap, ...]:
    """The maps of an object file; InputError when it is none."""
    from reloader.pipeline.objects import read_file
    from reloader.structs.btf import BtfError
    from reloader.structs.elf import ElfError, read_object

    try:
        return read_object(read_file(path)).maps
    except (ElfError, BtfError, ValueError) as error:
        hint = "it must be a BPF object compiled by clang -target bpf -g"
        raise InputError([_problem(path, str(error), hint)]) from error


def _problem(file: str, message: str, hint: str = "", path: str = "") -> Problem:
    return Problem(file=file, line=0, column=0, path=path, message=message, hint=hint)


def _search(args: argparse.Namespace) -> tuple[Path, ...]:
    from reloader.pipeline.registry.registry import search_path

    return (Path(args.dir),) if args.dir else (Path("state"), *search_path())


def _registry(args: argparse.Namespace) -> Registry:
    from reloader.pipeline.registry.registry import load_registry

    return load_registry(args.schema, _search(args))


def _held(args: argparse.Namespace, path: str, registry: Registry | None) -> list[ElfMap]:
    """The state maps of an object that a command is about."""
    from reloader.pipeline.registry.next_version import state_maps

    found = _maps(path)
    if args.map is None:
        return state_maps(found, registry)
    named = [m for m in found if m.name == args.map]
    if not named:
        raise NotFoundError(f"{path} has no map {args.map}", hint=f"it has {', '.join(m.name for m in found)}")
    return named


def _differences(head: LayoutVersion, found: ElfMap) -> list[str]:
    from reloader.pipeline.registry.next_version import described
    from reloader.plan.state.compat import differences

    if not described(found):
        return _other_sizes(head.inside(), found.inner or found)
    pairs = (("key", head.key, found.key), ("value", head.value, found.value))
    return [str(d) for side, old, new in pairs for d in differences(old, new, path=side)]


def _other_sizes(head: LayoutVersion, found: ElfMap) -> list[str]:
    """All that can be said of a map without BTF."""
    pairs = (("key", head.key.size, found.key_size), ("value", head.value.size, found.value_size))
    return [f"{side}: size {old} → {new}" for side, old, new in pairs if old != new]


def _judged(registry: Registry, found: ElfMap) -> dict[str, Any]:
    """One map against the recorded head."""
    head = registry.head(found.name)
    alike = (registry.fitting(found) or (None,))[-1]
    return {
        "map": found.name,
        "head": head.version if head else None,
        "version": alike.version if alike else None,
        "differences": _differences(head, found) if head else [],
    }


def diff(args: argparse.Namespace, env: Environment) -> int:
    """Every difference between an object's state maps and what is recorded."""
    registry = _registry(args)
    rows = [_judged(registry, m) for m in _held(args, args.object, registry)]
    for row in rows:
        env.output.print(_headline(row))
        for line in row["differences"]:
            env.output.print(f"  {line}")
    env.output.document("StateDiff", {"schema": args.schema, "object": args.object, "maps": rows})
    return 0


def _headline(row: dict[str, Any]) -> str:
    if row["head"] is None:
        return f"{row['map']}: not recorded"
    if row["version"] == row["head"]:
        return f"{row['map']}: version {row['head']}, the recorded head"
    older = f"; it is version {row['version']}" if row["version"] else ""
    return f"{row['map']}: differs from version {row['head']}, the recorded head{older}"


def check(args: argparse.Namespace, env: Environment) -> int:
    """Exit 65 unless every object's state maps have the recorded head's layout."""
    registry = _registry(args)
    problems: list[Problem] = []
    rows = []
    for path in args.objects:
        held = [m for m in _held(args, path, registry) if args.map or m.name in registry.maps]
        if not held:
            problems.append(_problem(path, f"schema {args.schema} records none of its maps", _write(path, args)))
        for row in (_judged(registry, m) for m in held):
            rows.append({"object": path, **row})
            problems += _findings(path, row, args)
    if problems:
        raise InputError(problems)
    for row in rows:
        env.output.print(f"{row['object']}: {_headline(row)}")
    env.output.document("StateCheck", {"schema": args.schema, "maps": rows})
    return 0


def _write(path: str, args: argparse.Namespace) -> str:
    where = f" --dir {shlex.quote(args.dir)}" if args.dir else ""
    return f"`reloader state new {shlex.quote(path)} --schema {args.schema}{where}` writes the next version"


def _findings(path: str, row: dict[str, Any], args: argparse.Namespace) -> list[Problem]:
    if row["head"] is not None and row["version"] == row["head"]:
        return []
    hint = _write(path, args)
    if not row["differences"]:
        return [_problem(path, _headline(row), hint)]
    return [_problem(path, line, hint, row["map"]) for line in row["differences"]]


def new(args: argparse.Namespace, env: Environment) -> int:
    """Write the first or the next version of each state map that changed."""
    from reloader.pipeline.registry.registry import SCHEMA_NAME, Registry, file_name, find_schema, read_folder

    if not SCHEMA_NAME.fullmatch(args.schema):
        raise UsageError(
            f"{args.schema!r} is no name for a schema", hint="a small letter, then small letters, digits, - and _"
        )
    target = Path(args.dir or "state") / args.schema
    known = find_schema(args.schema, _search(args))
    registry = read_folder(args.schema, known) if known else Registry(schema=args.schema, folder="", maps={})
    if known and known.resolve() != target.resolve():
        raise NotFoundError(
            f"schema {args.schema} lies in {known}, and a history is one folder", hint=f"--dir {known.parent}"
        )
    drafts = [(found.name, *_drafted(args, registry, found)) for found in _held(args, args.object, registry)]
    with Held():  # all of the files, or none: a signal that comes now is answered by the result
        for name, text, version in drafts:
            if not text:
                env.output.print(f"{name}: version {version}, nothing to write")
                continue
            target.mkdir(parents=True, exist_ok=True)
            path = target / file_name(name, version)
            path.write_text(text, encoding="utf-8")
            asked = text.count("# QUESTION")
            env.output.print(f"{path}: written" + (f", {counted(asked, 'question')} to answer" if asked else ""))
    if not any(text for _, text, _ in drafts):
        env.output.note("every state map has the recorded layout (--map NAME --same for a change of meaning alone)")
    return 0


def _drafted(args: argparse.Namespace, registry: Registry, found: ElfMap) -> tuple[str, int]:
    """(the file's text, its version); no text where nothing changed."""
    from reloader.pipeline.registry.next_version import described, first_version, next_version, text

    head = registry.head(found.name)
    made = next_version(head, found) if head else first_version(args.schema, found)
    if head and not _differences(head, found) and not args.same:
        return "", head.version
    return text(made, head, by_hand=not described(found)), made.version


def show(args: argparse.Namespace, env: Environment) -> int:
    """Versions of every map, and what becomes of each field from the first to the head."""
    registry = _registry(args)
    rows = [_shown(versions) for name, versions in sorted(registry.maps.items()) if args.map in (None, name)]
    if args.map and not rows:
        raise NotFoundError(f"schema {args.schema} records no map {args.map}")
    env.output.print(f"{args.schema}: {registry.folder}")
    for row in rows:
        env.output.print(f"{row['map']}: {', '.join(_named(v) for v in row['versions'])}")
        for title, lines in (("", row["fields"]), ("lost", row["lossy"]), ("a rollback would lose", row["back_lossy"])):
            for line in lines:
                env.output.print("  " + (f"{title}: " if title else "") + line)
    env.output.document("StateShow", {"schema": args.schema, "folder": registry.folder, "maps": rows})
    return 0


def _named(version: dict[str, Any]) -> str:
    return f"version {version['version']} ({version['key_size']} → {counted(version['value_size'], 'byte')})"


def _shown(versions: tuple[LayoutVersion, ...]) -> dict[str, Any]:
    from reloader.layouts.rule_table import StateRefused, between

    first, last = versions[0].version, versions[-1].version
    row: dict[str, Any] = {
        "map": versions[0].map,
        "versions": [
            {"version": v.version, "key_size": v.key.size, "value_size": v.value.size} for v in versions
        ],
        "fields": [],
        "lossy": [],
        "back_lossy": [],
        "rules": {"key": 0, "value": 0},
    }  # fmt: skip
    try:
        forward, back = between(versions, first, last), between(versions, last, first)
    except StateRefused as refused:
        return {**row, "fields": [f"{first} → {last} in one pass: {reason}" for reason in refused.reasons]}
    rules = {"key": len(forward.key), "value": len(forward.value)}
    return {
        **row,
        "fields": forward.notes,
        "lossy": (*forward.lossy, *forward.misread),
        "back_lossy": (*back.lossy, *(f"entries unless {d}" for d in back.demands)),
        "rules": rules,
    }
