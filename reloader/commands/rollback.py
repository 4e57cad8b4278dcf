"""rollback: apply a stored generation again."""

from __future__ import annotations

import argparse

from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "rollback",
        run,
        "restore an earlier generation",
        """Applies a stored generation again, from its stored objects and entries. It does not need the source files.
The result is a new generation; state maps keep their contents. Without --to, the generation before the running
version is restored. The tests that were stored with it run first; its budgets do not.""",
        changes=True,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--to", type=int, metavar="N", help="the generation to restore")
    parser.add_argument(
        "--allow-lossy-rollback",
        action="store_true",
        help="leave out state entries that do not fit in the older layout, and count them; otherwise it is refused",
    )
    parser.add_argument(
        "--reset", action="append", default=[], metavar="MAP", help="start this map empty (may be repeated)"
    )
    parser.add_argument("--skip-tests", action="store_true", help="restore it even if its own tests fail")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Restore the generation, and report the change."""
    from reloader.commands.render import report_results
    from reloader.disk.lock import writer_of
    from reloader.lifecycle.rollback import rollback

    steps = SlowSteps(env.output)
    try:
        with writer_of(env.host) as writer:
            result = rollback(
                writer, args.pipeline, args.to,
                progress=steps, tests=not args.skip_tests, leave_out=args.allow_lossy_rollback, reset=args.reset,
            )  # fmt: skip
    finally:
        steps.done()
    return report_results(env.output, [result])
