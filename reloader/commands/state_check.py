"""state check: fail unless objects have the recorded layouts."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.commands.state_layouts import (
    compare_with_head,
    describe_row,
    read_registry,
    schema_option,
    state_maps_of,
)
from reloader.errors import InputError, Problem


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "check",
        run,
        "fail unless objects have the recorded layouts",
        """For CI: exit 65 when the layout of a state map is not the recorded head, or when a file of the registry has
a fault.""",
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")
    schema_option(parser)


def run(args: argparse.Namespace, env: Environment) -> int:
    """Exit 65 unless every object's state maps have the recorded head's layout."""
    registry = read_registry(args)
    problems: list[Problem] = []
    rows = []
    for path in args.objects:
        held = [m for m in state_maps_of(args, path, registry) if args.map or m.name in registry.maps]
        if not held:
            unrecorded = texts.NO_STATE_IN_SCHEMA(schema=args.schema, hint=_write_version(path, args))
            problems.append(Problem.at(path, unrecorded))
        for row in (compare_with_head(registry, m) for m in held):
            rows.append({"object": path, **row})
            problems += _problems(path, row, args)
    if problems:
        raise InputError(problems)
    for row in rows:
        env.output.print(f"{row['object']}: {describe_row(row)}")
    env.output.document("StateCheck", {"schema": args.schema, "maps": rows})
    return 0


def _write_version(path: str, args: argparse.Namespace) -> str:
    where = f" --dir {shlex.quote(args.dir)}" if args.dir else ""
    return texts.WRITE_VERSION(object=shlex.quote(path), schema=args.schema, where=where)


def _problems(path: str, row: dict[str, Any], args: argparse.Namespace) -> list[Problem]:
    if row["head"] is not None and row["version"] == row["head"]:
        return []
    hint = _write_version(path, args)
    if not row["differences"]:
        return [Problem.at(path, describe_row(row), hint=hint)]
    return [Problem.at(path, line, path=row["map"], hint=hint) for line in row["differences"]]
