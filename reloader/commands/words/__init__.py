"""The command line's words: every command, option and help text, a module for each kind of command.

Only the words of the command that was named are imported: making all of them takes longer than many a command.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from reloader import __version__
from reloader.commands.words.parts import EXIT_CODES, MAIN, Commands, Help, Parser

COMMANDS = {
    "init": "report",
    "validate": "report",
    "test": "prove",
    "plan": "report",
    "apply": "change",
    "status": "report",
    "history": "report",
    "show": "report",
    "diff": "report",
    "confirm": "change",
    "rollback": "change",
    "watch": "follow",
    "remove": "change",
    "panic": "change",
    "recover": "recover",
    "doctor": "doctor",
    "gc": "gc",
    "state": "state",
}
"""Every command and the module of this package that has its words, in the order of the help text."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The words of one invocation; exits 64 on words that make no sense."""
    words = sys.argv[1:] if argv is None else argv
    return build(only=words[0] if words else "").parse_args(words)


def build(only: str = "") -> argparse.ArgumentParser:
    """The whole parser; also what the documentation test walks through. `only` the named command's words, if it is
    one."""
    parser = Parser(prog="reloader", description=MAIN, epilog=EXIT_CODES, formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"reloader {__version__}")
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser, prog="reloader")
    for name in [only] if only in COMMANDS else COMMANDS:
        module = importlib.import_module(f"{__name__}.{COMMANDS[name]}")
        getattr(module, name)(commands)
    return parser
