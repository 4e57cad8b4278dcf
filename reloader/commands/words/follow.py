"""The words of what stays and follows: watch."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command


def watch(commands: Commands) -> None:
    parser = command(
        commands,
        "watch",
        "follow",
        "apply every saved change of a directory",
        """Watches *.yaml in DIR and the objects and bulk files they name. A change is applied once it is quiet
(--debounce); content decides, so touching a file does nothing. A bad file leaves the running generation
alone and is reported until it is mended. A file that vanishes orphans its pipeline, which runs on; only
`remove` lets go. Stop with ^C: nothing is detached.""",
        report=False,
    )
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument(
        "--debounce", type=float, default=0.2, metavar="SECONDS", help="quiet time after a change (default %(default)s)"
    )
