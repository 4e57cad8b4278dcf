"""history: the stored generations of a pipeline."""

from __future__ import annotations

import argparse
from typing import Any

from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "history",
        run,
        "list the stored generations of a pipeline",
        "Every commit is a generation, also a rollback. The newest 20 are stored with their objects.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Stored generations, newest last."""
    from reloader.report.history import history

    rows = history(env.paths, args.pipeline)
    env.output.table(
        ("GENERATION", "LOAD", "CREATED", "SOURCE", "WHY", "TRIAL", "CHANGES"),
        [
            (
                f"{'*' if r['current'] else ' '} {r['generation']}",
                r["load"],
                r["created"],
                r["source"],
                r["reason"],
                r["outcome"] or "-",
                _short(r),
            )
            for r in rows
        ],
    )
    env.output.document("History", {"pipeline": args.pipeline, "generations": rows})
    return 0


def _short(row: dict[str, Any]) -> str:
    lines = [line for line in row["changes"] if not line.startswith(" ")]
    return lines[0] + (f" (+{len(lines) - 1} more)" if len(lines) > 1 else "") if lines else ""
