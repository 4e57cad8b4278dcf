"""state export and state import: the contents of state maps, to a file and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import KernelError, ReloaderError, UsageError
from reloader.wording.printable import counted


def export(args: argparse.Namespace, env: Environment) -> int:
    """To standard output, piece by piece; under the writer lock, lest a conversion moves counts meanwhile."""
    from reloader.disk.lock import writer_lock
    from reloader.lifecycle import state_export

    if sys.stdout.isatty():
        raise UsageError("a state file is no text for a terminal", hint="reloader state export NAME > FILE")
    steps = SlowSteps(env.output)
    try:
        with writer_lock(env.paths):
            seen = state_export.look(env.host, args.pipeline)
            maps = state_export.chosen(seen, args.pipeline, args.map)
            for name in [n for n, m in maps.items() if state_export.exportable(m)]:
                why = f"{args.pipeline}: state map {name} is left out: {state_export.exportable(maps.pop(name))}"
                if args.map:
                    raise ReloaderError(why)
                env.output.note(why)
            steps("writing")
            try:
                for done in state_export.export(env.kernel, seen, maps, sys.stdout.buffer):
                    env.output.note(f"{done.map}: {counted(done.entries, 'entry')}")
                sys.stdout.buffer.flush()
            except KernelError:
                raise
            except OSError as error:  # of standard output: main() gives the exit code for that
                env.output.lost = error
    finally:
        steps.done()
    return 0


def import_(args: argparse.Namespace, env: Environment) -> int:
    from reloader.commands.render import line_json
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import state_import

    steps = SlowSteps(env.output)
    order = state_import.Order(pipeline=args.pipeline, file=Path(args.file), only=args.map, merge=args.merge)
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
