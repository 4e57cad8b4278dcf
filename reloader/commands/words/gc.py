"""The words of gc."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command


def gc(commands: Commands) -> None:
    parser = command(
        commands,
        "gc",
        "gc",
        "remove what is ours and dead",
        """Pins below our directory that no record explains and that nothing attached needs; stored objects and
entries that no pipeline links to; compiled wishes of pipelines that are no more; half-written files. Nothing of
others is touched: not a pin elsewhere in the tree, not a program that does not say it is ours, no link that is
attached. State that holds entries is never removed, and a pipeline with an open transaction or damaged records
is left alone; what was left is said, with the reason.""",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
