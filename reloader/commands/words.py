"""The command line's words: every command, option and help text. Imports only argparse and layout."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn, TypeAlias

from reloader import __version__
from reloader.errors import UsageError
from reloader.layout import DEFAULT_BPFFS, DEFAULT_RECORDS

EXIT_CODES = """exit codes:
  0   done, or nothing to do
  1   failed before anything was swapped; the old generation never stopped
  2   changes pending (plan --detailed-exitcode only)
  3   failed after a swap; everything was rolled back
  4   could not be put back; needs a human
  64  usage             65  bad input, or the change is refused
  69  the kernel or host lacks something
  75  another reloader is at work       77  permission refused
"""

MAIN = """Declarative, lossless hot reload of eBPF pipelines.

A pipeline is a YAML document: programs, where they attach, and their maps by role. `apply` makes the kernel
look like it. On a change the new version is loaded beside the old, state maps are carried over, and every
attachment is swapped by one compare-and-swap, so that no packet meets nothing and no state is forgotten."""


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"error: {message}\nhint: {self.prog} --help", file=sys.stderr)
        raise SystemExit(UsageError.exit_code)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Asks how wide the terminal is when it prints, not whenever an argument is added (which imports shutil)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)

    def format_help(self) -> str:
        import shutil

        self._width = shutil.get_terminal_size().columns - 2
        return super().format_help()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The words of one invocation; exits 64 on words that make no sense."""
    words = sys.argv[1:] if argv is None else argv
    return build(only=words[0] if words else "").parse_args(words)


def build(only: str = "") -> argparse.ArgumentParser:
    """The whole parser; also what the documentation test walks through. `only` the named command's words, if it is
    one: making all of them takes longer than many a command."""
    parser = _Parser(prog="reloader", description=MAIN, epilog=EXIT_CODES, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"reloader {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser, prog="reloader")
    adders = (
        _init,
        _validate,
        _plan,
        _apply,
        _status,
        _history,
        _show,
        _diff,
        _rollback,
        _watch,
        _remove,
        _recover,
        _state,
    )
    wanted = [add for add in adders if add.__name__ == f"_{only}"]
    for add in wanted or adders:
        add(commands)
    return parser


def _command(
    commands: _Commands,
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
        formatter_class=_Help,
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


def _init(commands: _Commands) -> None:
    parser = _command(
        commands,
        "init",
        "report",
        "write a first YAML from an object file",
        """Reads the programs, maps and rodata variables of a compiled object (clang -g) and prints a pipeline to
edit: choose the interface, and a role for every map. Needs no kernel and no privilege.

  reloader init my.bpf.o > edge.yaml""",
        report=False,
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")


def _validate(commands: _Commands) -> None:
    parser = _command(
        commands,
        "validate",
        "report",
        "check pipelines without a kernel",
        """Reads the YAML, the objects and the bulk files it names, and reports every problem at once as
file:line:column: path: message (hint). Needs no kernel and no privilege; exit 65 when something is wrong.""",
    )
    _files(parser)


def _files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a YAML file, or a directory of *.yaml files")


def _reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reset",
        action="append",
        default=[],
        metavar="MAP",
        help="give up this map's contents and start it empty (may be repeated)",
    )
    parser.add_argument(
        "--allow-lossy-rollback",
        action="store_true",
        help="convert state although going back would lose something of it (the plan names what)",
    )


def _plan(commands: _Commands) -> None:
    parser = _command(
        commands,
        "plan",
        "report",
        "show what apply would change, how, and what traffic could notice",
        """Changes nothing. Signs: + add, - remove, ~ change in place, -/+ replace. CAS says whether the kernel
compares the old program before it swaps. A change that would lose state is refused with the full list of
differences.""",
    )
    _files(parser)
    _reset(parser)
    parser.add_argument("--ops", action="store_true", help="print the ops too, in the order they would run")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 when changes are pending")


def _apply(commands: _Commands) -> None:
    parser = _command(
        commands,
        "apply",
        "change",
        "make the kernel look like the YAML",
        """One transaction per document, in order. The new version is loaded beside the running one, its maps are
filled or shared, and each attachment is swapped by a compare-and-swap link update. When the verifier, the
kernel or the disk says no, the running generation stays (exit 1) or is put back (exit 3).""",
    )
    _files(parser)
    _reset(parser)


def _status(commands: _Commands) -> None:
    parser = _command(
        commands,
        "status",
        "report",
        "show every pipeline and what the kernel says of it",
        """Per pipeline: generation, load, attachments with the program that runs there now, and maps. Drift
(somebody else's program on our hook, a vanished interface or pin) is shown where it is seen.""",
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")


def _history(commands: _Commands) -> None:
    parser = _command(
        commands,
        "history",
        "report",
        "list the stored generations of a pipeline",
        "Every commit is a generation, a rollback too. The newest 20 are kept with their objects.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")


def _show(commands: _Commands) -> None:
    parser = _command(
        commands,
        "show",
        "report",
        "show one generation whole",
        "Programs, attachments, maps with layouts, rodata, objects and the changes it made.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("generation", nargs="?", type=int, metavar="N", help="default: the current one")


def _diff(commands: _Commands) -> None:
    parser = _command(
        commands,
        "diff",
        "report",
        "compare two generations",
        "Objects, rodata, programs, attachments, map shapes field by field, and how many entries differ.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("old", type=int, metavar="N")
    parser.add_argument("new", type=int, metavar="M")


def _rollback(commands: _Commands) -> None:
    parser = _command(
        commands,
        "rollback",
        "change",
        "put an earlier generation back into service",
        """Applies a stored generation again, from its stored objects and entries: no source tree is needed. It
becomes a new generation; state maps serve on. Without --to, the one before the version that serves now.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--to", type=int, metavar="N", help="the generation to go back to")


def _watch(commands: _Commands) -> None:
    parser = _command(
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


def _remove(commands: _Commands) -> None:
    parser = _command(
        commands,
        "remove",
        "change",
        "let go of a pipeline; its state is parked",
        """Detaches every program and removes every pin but those of state maps: the next apply of the same name
takes them up again. --state drops them too, with all records.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--state", action="store_true", help="drop the state maps too; they cannot be had back")


def _recover(commands: _Commands) -> None:
    parser = _command(
        commands,
        "recover",
        "change",
        "finish or take back what a killed reloader left",
        """Every changing command does this first for its own pipeline. A transaction with a commit record is
completed, one without is taken back, state included.""",
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")


def _state(commands: _Commands) -> None:
    group = commands.add_parser(
        "state",
        help="record and check the layouts of state maps",
        description="""The registry of state layouts: state/SCHEMA/MAP.VERSION.yaml, reviewed
like database migrations. None of these needs a kernel or a privilege.""",
        epilog=EXIT_CODES,
        formatter_class=_Help,
    )
    words: _Commands = group.add_subparsers(metavar="WORD", required=True, parser_class=_Parser)
    for add in (_state_diff, _state_new, _state_check, _state_show):
        add(words)


def _state_words(parser: argparse.ArgumentParser, schema: str = "--schema") -> None:
    if schema == "--schema":
        parser.add_argument(
            "--schema", required=True, metavar="S", help="the schema's name, as stateSchema in the YAML"
        )
    else:
        parser.add_argument("schema", metavar="SCHEMA", help="the schema's name, as stateSchema in the YAML")
    parser.add_argument(
        "--dir", metavar="DIR", help="where schemas lie (default: state/ here, then the host's, then those shipped)"
    )
    parser.add_argument("--map", metavar="MAP", help="only this map")


def _state_diff(commands: _Commands) -> None:
    parser = _command(
        commands,
        "diff",
        "state",
        "compare an object's state maps with the recorded layouts",
        "Every difference with offset, size and type on both sides.",
    )
    parser.add_argument("object", metavar="OBJECT", help="a .bpf.o file")
    _state_words(parser)


def _state_new(commands: _Commands) -> None:
    parser = _command(
        commands,
        "new",
        "state",
        "write the first or next version of the layouts that changed",
        """Fields that match by name are filled in. What only the author can know, as whether a field was renamed,
stands there as a question, and `state check` and `apply` refuse the file until it is answered.

  reloader state new edge.bpf.o --schema edge""",
        report=False,
    )
    parser.add_argument("object", metavar="OBJECT", help="a .bpf.o file")
    parser.add_argument("--same", action="store_true", help="write a version of the same layout: its meaning changed")
    _state_words(parser)


def _state_check(commands: _Commands) -> None:
    parser = _command(
        commands,
        "check",
        "state",
        "fail unless objects have the recorded layouts",
        "For CI: exit 65 when a state map's layout is not the recorded head, or a file of the registry is not sound.",
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")
    _state_words(parser)


def _state_show(commands: _Commands) -> None:
    parser = _command(
        commands,
        "show",
        "state",
        "list recorded versions, and what becomes of each field",
        "From the first version to the head in one pass, field by field, and what a rollback of that would lose.",
    )
    _state_words(parser, "schema")
