"""state: the group of commands on layouts and contents of state maps."""

from __future__ import annotations

import importlib

from reloader.commands.parser import EXIT_CODES, Commands, Help, Parser

WORDS = ("diff", "new", "check", "show", "export", "import")
"""Every command of the group. The module `state_WORD` has its `arguments`."""


def arguments(commands: Commands) -> None:
    """Add the group and its commands."""
    group = commands.add_parser(
        "state",
        help="record and check the layouts of state maps; export and import their contents",
        description="""The registry of state layouts: files state/SCHEMA/MAP.VERSION.yaml, reviewed
like database migrations. diff, new, check and show need neither a kernel with BPF nor a
privilege. export and import move the contents of state maps, for example for a planned reboot.""",
        epilog=EXIT_CODES,
        formatter_class=Help,
    )
    words: Commands = group.add_subparsers(metavar="WORD", required=True, parser_class=Parser)
    for word in WORDS:
        importlib.import_module(f"reloader.commands.state_{word}").arguments(words)
