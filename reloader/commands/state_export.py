"""state export: the contents of state maps, to standard output."""

from __future__ import annotations

import argparse
import sys

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command
from reloader.errors import KernelError, ReloaderError, UsageError


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "export",
        run,
        "write the contents of a pipeline's state maps to standard output",
        """For a planned reboot, or for another machine. While programs run, each entry is written as it was when it
was read: a snapshot of each entry, not of the map. The file holds each map's layout, its version and history,
and the values of every CPU. Parked state is exported too.

  reloader state export edge > edge.state""",
        report=False,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--map", metavar="MAP", help="only this map (default: every state map)")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Write piece by piece, under the writer lock, so that a conversion does not move counts at the same time."""
    from reloader.disk.lock import writer_lock
    from reloader.lifecycle import state_export

    if sys.stdout.isatty():
        raise UsageError(texts.TERMINAL(pipeline=args.pipeline))
    steps = SlowSteps(env.output)
    try:
        with writer_lock(env.paths):
            seen = state_export.look(env.host, args.pipeline)
            maps = state_export.chosen(seen, args.pipeline, args.map)
            for name in [n for n, m in maps.items() if state_export.exportable(m)]:
                left_out = texts.MAP_LEFT_OUT(
                    pipeline=args.pipeline, map=name, why=state_export.exportable(maps.pop(name))
                )
                if args.map:
                    raise ReloaderError(left_out)
                env.output.note(left_out)
            steps("writing")
            try:
                for done in state_export.export(env.kernel, seen, maps, sys.stdout.buffer):
                    env.output.note(texts.EXPORTED(map=done.map, count=done.entries))
                sys.stdout.buffer.flush()
            except KernelError:
                raise
            except OSError as error:  # of standard output: main() gives the exit code for that
                env.output.lost = error
    finally:
        steps.done()
    return 0
