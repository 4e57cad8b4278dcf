"""The parser of the command line: which commands exist, and the options that several of them have.

The arguments of a command stand in the command's own module. Only the module of the command that was named is
imported: to build all parsers takes longer than many a command.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from reloader import __version__
from reloader.errors import UsageError
from reloader.paths import DEFAULT_BPFFS, DEFAULT_RECORDS
from reloader.process.streams import discard_output, exit_code_of
from reloader.wording.printable import printable

if TYPE_CHECKING:
    from reloader.commands.environment import Environment

COMMANDS = (
    "init", "validate", "test", "plan", "apply", "status", "history", "show", "diff", "confirm", "rollback", "watch",
    "remove", "panic", "recover", "doctor", "gc", "state",
)  # fmt: skip
"""Every command, in the order of the help text. The module of this room with that name has its `arguments`."""

EXIT_CODES = """exit codes:
  0   done, or nothing to do
  1   failed before anything was swapped; the running version is not affected
  2   changes are pending (plan --detailed-exitcode only)
  3   failed after a swap; everything was rolled back
  4   could not be rolled back; needs a human
  64  usage             65  bad input, or the change is refused
  69  the kernel or the host lacks a feature
  74  the report could not be written to standard output (141: its reader has left)
  75  another reloader holds the lock, or the running version is unconfirmed
  77  permission refused
  130  interrupted by a signal before the command was done

The exit code tells what happened to the kernel. A result that cannot be printed
does not change it. A signal that comes after the commit gives 0.
"""

MAIN = """Declarative, lossless hot reload of eBPF pipelines.

A pipeline is a YAML document: programs, where they attach, and the role of each map. `apply` makes the kernel
match the document. A new version is loaded beside the running version and takes over its state maps. Then each
attachment is swapped by one compare-and-swap. Every packet meets the old or the new version, and no state is lost."""


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run: TypeAlias = "Callable[[argparse.Namespace, Environment], int]"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse one command line; exits with 64 where it cannot be parsed."""
    words = sys.argv[1:] if argv is None else argv
    return build(only=words[0] if words else "").parse_args(words)


def build(only: str = "") -> argparse.ArgumentParser:
    """Build the parser of this command; of all commands where `only` is not the name of one."""
    parser = Parser(prog="reloader", description=MAIN, epilog=EXIT_CODES, formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"reloader {__version__}")
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser, prog="reloader")
    for name in [only] if only in COMMANDS else COMMANDS:
        importlib.import_module(f"reloader.commands.{name}").arguments(commands)
    return parser


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self._print_message(f"error: {printable(message)}\nhint: {self.prog} --help\n", sys.stderr)
        raise SystemExit(UsageError.exit_code)

    def _print_message(self, message: str, file: Any = None) -> None:
        """All that argparse prints, masked: usage and help too, whose defaults come from the environment. A help text
        that cannot be written is a failure; what stderr does not take is dropped."""
        stream = file or sys.stderr
        try:
            stream.write("\n".join(map(printable, message.split("\n"))))
            stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout:
                discard_output()
                raise SystemExit(exit_code_of(error)) from None


class Help(argparse.RawDescriptionHelpFormatter):
    """Asks how wide the terminal is when it prints, not whenever an argument is added (which imports shutil)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)

    def format_help(self) -> str:
        import shutil

        self._width = shutil.get_terminal_size().columns - 2
        return super().format_help()


def command(
    commands: Commands, name: str, run: Run, summary: str, text: str, *, report: bool = True, changes: bool = False
) -> argparse.ArgumentParser:
    """Add a command that `run` carries out, with the options that all commands have.

    `report`: whether it has -o. `changes`: whether one calls it for its effects; otherwise for what it prints."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{text.strip()}",
        epilog=EXIT_CODES,
        formatter_class=Help,
    )
    parser.set_defaults(command=name, run=run, changes=changes)
    paths = parser.add_argument_group("where")
    paths.add_argument(
        "--bpffs",
        metavar="DIR",
        default=os.environ.get("RELOADER_BPFFS", DEFAULT_BPFFS),
        help="directory for pins, on a bpf filesystem (default %(default)s; RELOADER_BPFFS)",
    )
    paths.add_argument(
        "--records",
        metavar="DIR",
        default=os.environ.get("RELOADER_RECORDS", DEFAULT_RECORDS),
        help="directory of records: generations, objects, journals (default %(default)s; RELOADER_RECORDS)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print neither progress nor notes to stderr")
    if report:
        parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format of the report")
    return parser


def files(parser: argparse.ArgumentParser) -> None:
    """Add the YAML files that a command reads."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a YAML file, or a directory of *.yaml files")


def change_options(parser: argparse.ArgumentParser) -> None:
    """Add the options by which `plan` and `apply` are allowed to lose something."""
    parser.add_argument(
        "--reset",
        action="append",
        default=[],
        metavar="MAP",
        help="discard the contents of this map: it starts empty (may be repeated)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete entries of config maps that reloader did not write (the plan counts them)",
    )
    parser.add_argument(
        "--allow-lossy-rollback",
        action="store_true",
        help="convert state although a rollback would lose a part of it (the plan names it)",
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="replace a program of another owner on our hooks (not one that a bpf_link of another owner holds)",
    )
