"""The words of `reloader state`."""

from __future__ import annotations

import argparse

from reloader.commands.words.parts import EXIT_CODES, Commands, Help, Parser, command


def state(commands: Commands) -> None:
    group = commands.add_parser(
        "state",
        help="record and check the layouts of state maps; export and import their contents",
        description="""The registry of state layouts: state/SCHEMA/MAP.VERSION.yaml, reviewed
like database migrations; diff, new, check and show need neither a kernel nor a privilege. And
what the maps hold: export and import, for a planned reboot.""",
        epilog=EXIT_CODES,
        formatter_class=Help,
    )
    words: Commands = group.add_subparsers(metavar="WORD", required=True, parser_class=Parser)
    for add in (_state_diff, _state_new, _state_check, _state_show, _state_export, _state_import):
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


def _state_diff(commands: Commands) -> None:
    parser = command(
        commands,
        "diff",
        "state",
        "compare an object's state maps with the recorded layouts",
        "Every difference with offset, size and type on both sides.",
    )
    parser.add_argument("object", metavar="OBJECT", help="a .bpf.o file")
    _state_words(parser)


def _state_new(commands: Commands) -> None:
    parser = command(
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


def _state_check(commands: Commands) -> None:
    parser = command(
        commands,
        "check",
        "state",
        "fail unless objects have the recorded layouts",
        "For CI: exit 65 when a state map's layout is not the recorded head, or a file of the registry is not sound.",
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")
    _state_words(parser)


def _state_show(commands: Commands) -> None:
    parser = command(
        commands,
        "show",
        "state",
        "list recorded versions, and what becomes of each field",
        "From the first version to the head in one pass, field by field, and what a rollback of that would lose.",
    )
    _state_words(parser, "schema")


def _state_export(commands: Commands) -> None:
    parser = command(
        commands,
        "export",
        "transfer",
        "write the contents of a pipeline's state maps to standard output",
        """For a planned reboot, or another machine. Under traffic each entry is as it was when it was read: a
snapshot of entries, not of the map. The file carries each map's layout, its version and history, and every CPU's
values. Parked state is exported too.

  reloader state export edge > edge.state""",
        report=False,
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--map", metavar="MAP", help="only this map (default: every state map)")


def _state_import(commands: Commands) -> None:
    parser = command(
        commands,
        "import",
        "transfer",
        "add the contents of a file to a pipeline's state maps",
        """The file is read whole and checked first. Another layout is converted by the registry's rules, forwards
or back, or refused with every difference. A map that holds entries already is refused unless --merge says how to
join: counts are added exactly once while programs go on counting, by the recorded merge rules; fields without one
by RULE. Killed in the middle, `recover` completes it.

  reloader state import edge edge.state --merge sum""",
    )
    parser.set_defaults(command="import_")
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("file", metavar="FILE", help="what `state export` wrote")
    parser.add_argument("--map", metavar="MAP", help="only this map (default: every map of the file)")
    parser.add_argument(
        "--merge",
        choices=("sum", "max", "min", "keep_new", "keep_old"),
        metavar="RULE",
        help="join with entries that are there: sum, max, min, keep_new (theirs) or keep_old (the file's)",
    )
