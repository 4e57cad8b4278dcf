"""state diff: an object's state maps beside the recorded layouts."""

from __future__ import annotations

import argparse

from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.commands.state_layouts import (
    compare_with_head,
    describe_row,
    read_registry,
    schema_option,
    state_maps_of,
)


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "diff",
        run,
        "compare the state maps of an object with the recorded layouts",
        "Every difference with offset, size and type on both sides.",
    )
    parser.add_argument("object", metavar="OBJECT", help="a .bpf.o file")
    schema_option(parser)


def run(args: argparse.Namespace, env: Environment) -> int:
    """Print every difference between an object's state maps and the recorded layouts."""
    registry = read_registry(args)
    rows = [compare_with_head(registry, m) for m in state_maps_of(args, args.object, registry)]
    for row in rows:
        env.output.print(describe_row(row))
        for line in row["differences"]:
            env.output.print(f"  {line}")
    env.output.document("StateDiff", {"schema": args.schema, "object": args.object, "maps": rows})
    return 0
