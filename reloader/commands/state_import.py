"""state import: the contents of a file, into live state maps."""

from __future__ import annotations

import argparse
from pathlib import Path

from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "import",
        run,
        "add the contents of a file to a pipeline's state maps",
        """The whole file is read and checked first. A file with another layout is converted by the rules of the
registry, forwards or back; otherwise it is refused with every difference. A map that holds entries is refused
unless --merge says how to join them: counts are added exactly once while programs continue to count, by the
recorded merge rules; fields without a rule are joined by RULE. `recover` completes an import that was killed.

  reloader state import edge edge.state --merge sum""",
        changes=True,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("file", metavar="FILE", help="a file that `state export` wrote")
    parser.add_argument("--map", metavar="MAP", help="only this map (default: every map of the file)")
    parser.add_argument(
        "--merge",
        choices=("sum", "max", "min", "keep_new", "keep_old"),
        metavar="RULE",
        help="join with the live entries: sum, max, min, keep_new (the live value) or keep_old (the file's value)",
    )


def run(args: argparse.Namespace, env: Environment) -> int:
    """Import the file, and report a line for each map."""
    from reloader.commands.render import line_json
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import state_import

    steps = SlowSteps(env.output)
    order = state_import.ImportRequest(pipeline=args.pipeline, file=Path(args.file), only=args.map, merge=args.merge)
    try:
        with writer_of(env.host) as writer:
            done = state_import.bring_in(writer, order, progress=steps)
    finally:
        steps.done()
    for line in done.recovered:
        env.output.note(line)
    for line in done.told:
        env.output.print(f"{args.pipeline}: {line}")
    lines = [line_json(line) for line in done.plan.lines]
    env.output.document("StateImport", {"pipeline": args.pipeline, "lines": lines, "told": list(done.told)})
    return 0
