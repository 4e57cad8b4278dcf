"""remove: detach a pipeline."""

from __future__ import annotations

import argparse

from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "remove",
        run,
        "detach a pipeline; keep its state maps for the next apply",
        """Detaches every program and removes every pin except those of state maps. The next apply of a pipeline with
this name uses these maps again. --state deletes them too, with all records.""",
        changes=True,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--state", action="store_true", help="delete the state maps too; they cannot be restored")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Detach the pipeline, and report the change."""
    from reloader.commands.render import report_results
    from reloader.disk.lock import writer_of
    from reloader.lifecycle.remove import remove

    with writer_of(env.host) as writer:
        result = remove(writer, args.pipeline, drop_state=args.state)
    return report_results(env.output, [result])
