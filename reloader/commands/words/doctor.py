"""The words of doctor."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command


def doctor(commands: Commands) -> None:
    parser = command(
        commands,
        "doctor",
        "doctor",
        "say what is wrong with this host, and what to do about it",
        """Looks at the bpf filesystem, the record directory and the kernel, and changes nothing. Exit 69 when
something is wrong.

Kernel features are tried, one by one, in a child process and a network namespace of its own: a version number
tells nothing about what a distribution has left out or put in. `unknown` is what this user may not try.""",
    )
    parser.add_argument("--features", action="store_true", help="print every feature, whether it is here, and why not")
