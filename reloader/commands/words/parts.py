"""What all commands' words are made with: the parser, the options that most have."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn, TypeAlias

from reloader.errors import UsageError
from reloader.paths import DEFAULT_BPFFS, DEFAULT_RECORDS
from reloader.process.streams import discard_output, exit_code_of
from reloader.wording.printable import printable

EXIT_CODES = """exit codes:
  0   done, or nothing to do
  1   failed before anything was swapped; the old generation never stopped
  2   changes pending (plan --detailed-exitcode only)
  3   failed after a swap; everything was rolled back
  4   could not be put back; needs a human
  64  usage             65  bad input, or the change is refused
  69  the kernel or host lacks something
  74  the report could not be written to standard output (141: its reader has left)
  75  another reloader is at work, or what serves is on trial
  77  permission refused
  130  interrupted by a signal before everything was done

The code tells what happened to the kernel: a result that cannot be printed does
not change it, and a signal that comes after the commit gives 0.
"""

MAIN = """Declarative, lossless hot reload of eBPF pipelines.

A pipeline is a YAML document: programs, where they attach, and their maps by role. `apply` makes the kernel
look like it. On a change the new version is loaded beside the old, state maps are carried over, and every
attachment is swapped by one compare-and-swap, so that no packet meets nothing and no state is forgotten."""


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


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
    commands: Commands,
    name: str,
    module: str,
    summary: str,
    text: str,
    *,
    report: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{text.strip()}",
        epilog=EXIT_CODES,
        formatter_class=Help,
    )
    parser.set_defaults(module=module, command=name)
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
        help="record directory: generations, objects, journal (default %(default)s; RELOADER_RECORDS)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
    if report:
        parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print the report")
    return parser


def files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a YAML file, or a directory of *.yaml files")


def reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reset",
        action="append",
        default=[],
        metavar="MAP",
        help="give up this map's contents and start it empty (may be repeated)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete entries of config maps that reloader did not write (the plan says how many)",
    )
    parser.add_argument(
        "--allow-lossy-rollback",
        action="store_true",
        help="convert state although going back would lose something of it (the plan names what)",
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="replace somebody else's program on our hooks (not one that a bpf_link of theirs holds)",
    )
