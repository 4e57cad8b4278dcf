"""The words of `reloader recover`."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command


def recover(commands: Commands) -> None:
    parser = command(
        commands,
        "recover",
        "recover",
        "finish what was interrupted, by a kill, a reboot or a lost disk",
        """A killed reloader: a transaction with a commit record is completed, one without is taken back, state
included. Every changing command does this first for its own pipeline.

A reboot: --boot also loads every recorded pipeline again, from stored objects and entries. It needs no YAML and
no source tree; an init system calls it before the network comes up. State starts empty, and `status` says so.
What this kernel refuses is replaced by the newest older generation that it takes.

Lost or damaged records while the kernel lives: `recover PIPELINE` rebuilds them from pins and from what programs
say of themselves. Without a name such pipelines are only listed, for their records may lie elsewhere (--records).
The next apply takes over state and links; there is nothing to roll back to.""",
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")
    parser.add_argument("--boot", action="store_true", help="load what the kernel lost with its restart")
