"""history: the stored generations of a pipeline."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command

if TYPE_CHECKING:
    from reloader.report.history import HistoryRow


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
    env.output.table(("GENERATION", "LOAD", "CREATED", "SOURCE", "WHY", "TRIAL", "CHANGES"), [_cells(r) for r in rows])
    env.output.document("History", {"pipeline": args.pipeline, "generations": [r.to_json() for r in rows]})
    return 0


def _cells(row: HistoryRow) -> tuple[str | int, ...]:
    of = row.generation
    return (
        f"{'*' if row.is_current else ' '} {of.number}",
        of.load,
        of.created,
        of.wish.source_revision,
        of.reason,
        of.outcome.words if of.outcome else "-",
        _short(row.changes()),
    )


def _short(lines: tuple[str, ...]) -> str:
    return lines[0] + (f" (+{len(lines) - 1} more)" if len(lines) > 1 else "") if lines else ""
