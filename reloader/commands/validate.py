"""validate: check pipelines without a kernel."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command, files
from reloader.wording.printable import counted

if TYPE_CHECKING:
    from reloader.pipeline.wish import Wish


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "validate",
        run,
        "check pipelines without a kernel",
        """Reads the YAML, the objects and the bulk files that it names, and reports every problem at once as
file:line:column: path: message (hint). Needs neither a kernel with BPF nor a privilege. Exit 65 when it finds
a problem.""",
    )
    files(parser)


def run(args: argparse.Namespace, env: Environment) -> int:
    """Everything that can be said without a kernel. Writes nothing, not even the cache."""
    from reloader.commands.sources import checked

    pipelines = checked(args.files)
    for path, one in pipelines:
        env.output.print(texts.VALID(file=path, pipeline=one.wish.pipeline, contents=_contents(one.wish)))
    env.output.document("Validation", {"valid": True, "pipelines": [c.wish.pipeline for _, c in pipelines]})
    return 0


def _contents(wish: Wish) -> list[str]:
    counts = [(len(wish.programs), "program"), (len(wish.maps), "map"), (len(wish.attachments), "attachment")]
    counts += [(wish.tests.count, "test")] if wish.tests else []
    return [counted(count, what) for count, what in counts]
