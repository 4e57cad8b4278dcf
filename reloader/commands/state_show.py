"""state show: recorded versions of layouts, and the changes of each field."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.commands.state_layouts import layout_options, read_registry
from reloader.errors import NotFoundError
from reloader.wording.printable import counted

if TYPE_CHECKING:
    from reloader.layouts.rules import LayoutVersion


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "show",
        run,
        "list the recorded versions, and the changes of each field",
        """From the first version to the head in one pass, field by field, and the values that a rollback of this
would lose.""",
    )
    parser.add_argument("schema", metavar="SCHEMA", help="schema name, as in stateSchema of the YAML")
    layout_options(parser)


def run(args: argparse.Namespace, env: Environment) -> int:
    """Versions of every map, and what becomes of each field from the first to the head."""
    registry = read_registry(args)
    rows = [_shown(versions) for name, versions in sorted(registry.maps.items()) if args.map in (None, name)]
    if args.map and not rows:
        raise NotFoundError(texts.NO_MAP_IN_SCHEMA(schema=args.schema, map=args.map, known=sorted(registry.maps)))
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
