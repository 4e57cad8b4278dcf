"""panic: every packet passes, or none, at once."""

from __future__ import annotations

import argparse

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "panic",
        run,
        "let every packet pass, or drop every packet, at once",
        """Swaps every attachment of the pipeline to a program that passes every packet (open) or drops every packet
(closed), as `panic:` in the YAML says. It takes no lock: an apply that is running rolls back. It reads the
pins: where records are missing or damaged, add --open or --closed. Programs, maps and state stay. The next
`apply` or `rollback` ends the panic, and so does a reboot. `watch` ends it only after a file changes.""",
        changes=True,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--open",
        dest="stance",
        action="store_const",
        const="open",
        help="pass every packet; overrides `panic:` in the YAML",
    )
    either.add_argument(
        "--closed",
        dest="stance",
        action="store_const",
        const="closed",
        help="drop every packet; overrides `panic:` in the YAML",
    )


def run(args: argparse.Namespace, env: Environment) -> int:
    """Swap without the writer lock: the process that holds it may hang."""
    from reloader.break_glass.panic import panic
    from reloader.pipeline.enums import Panic

    done = panic(env.host, args.pipeline, Panic(args.stance) if args.stance else None)
    text = {Panic.OPEN: texts.PANIC_OPEN, Panic.CLOSED: texts.PANIC_CLOSED}[done.stance]
    env.output.print(text(pipeline=done.pipeline, attachments=list(done.attachments)))
    env.output.note(texts.PANIC_ENDS(pipeline=args.pipeline))
    document = {"pipeline": done.pipeline, "stance": done.stance, "attachments": list(done.attachments)}
    env.output.document("Panic", document)
    return 0
