"""confirm: keep a generation that is on trial."""

from __future__ import annotations

import argparse

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "confirm",
        run,
        "keep a generation that is on trial",
        """Ends the trial of the running version: neither a failed check nor a missed deadline rolls it back any
more. Exit 65 when no generation is on trial, for example because it was rolled back already; `status` and
`history` tell.""",
        changes=True,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")


def run(args: argparse.Namespace, env: Environment) -> int:
    """The generation on trial stays."""
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import trial_record
    from reloader.lifecycle.ready import ready

    with writer_of(env.host) as writer:
        recovered = ready(writer, args.pipeline)
        for line in recovered:
            env.output.note(line)
        generation = trial_record.confirm(writer, args.pipeline)
    env.output.print(texts.CONFIRMED(pipeline=args.pipeline, generation=generation))
    env.output.document("Confirmation", {"pipeline": args.pipeline, "generation": generation})
    return 0
