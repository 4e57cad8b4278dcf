"""show: one generation, or the contents of one of its maps, by field name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.errors import UsageError

if TYPE_CHECKING:
    from reloader.report.contents import Contents

SIGNS = {"same": (" ", ""), "changed": ("~", "yellow"), "extra": ("+", "green"), "missing": ("-", "red")}


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "show",
        run,
        "show all of one generation",
        """Programs, attachments, maps with layouts, rodata, objects and the changes that the generation made.

  reloader show edge --map blocklist --live

prints the current contents of the map. A sign marks what the generation lists otherwise: + is not listed, - is
listed and missing, ~ has another value. The entries of state maps are not listed: all of them are printed.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("generation", nargs="?", type=int, metavar="N", help="default: the current generation")
    parser.add_argument("--map", metavar="MAP", help="show the entries of this map, by field name")
    parser.add_argument(
        "--live", action="store_true", help="read them from the kernel; mark what the generation lists otherwise"
    )


def run(args: argparse.Namespace, env: Environment) -> int:
    """One generation, whole, or the contents of one of its maps."""
    if args.map or args.live:
        return _map(args, env)
    from reloader.report.history import show

    body = show(env.paths, args.pipeline, args.generation)
    _print_tree(env, body)
    env.output.document("Generation", body)
    return 0


def _print_tree(env: Environment, body: dict[str, Any], indent: int = 0) -> None:
    """Nested values as indented lines, a list of flat records as one line each."""
    pad = "  " * indent
    for key, value in body.items():
        if isinstance(value, dict) and value:
            env.output.print(f"{pad}{key}:")
            _print_tree(env, value, indent + 1)
        elif isinstance(value, list) and value:
            env.output.print(f"{pad}{key}:")
            for item in value:
                env.output.print(f"{pad}  - {_one_line(item)}")
        else:
            env.output.print(f"{pad}{key}: {_one_line(value)}")


def _one_line(item: Any) -> str:
    if isinstance(item, dict):
        return "  ".join(f"{k}={_one_line(v)}" for k, v in item.items() if v not in (None, "", [], {}))
    if isinstance(item, bool):
        return "yes" if item else "no"
    return "none" if item in (None, "", [], {}) else str(item)


def _map(args: argparse.Namespace, env: Environment) -> int:
    from reloader.report import contents

    if not args.map:
        raise UsageError(texts.LIVE_NEEDS_MAP(pipeline=args.pipeline))
    if args.live and args.generation is not None:
        raise UsageError(texts.LIVE_IS_NOW())
    if args.live:
        found = contents.live_contents(env.host, args.pipeline, args.map)
    else:
        found = contents.contents(env.paths, args.pipeline, args.generation, args.map)
    _print_map(env, found)
    env.output.document("MapContents", found.to_json())
    return 0


def _print_map(env: Environment, found: Contents) -> None:
    from reloader.report.contents import words

    for row in found.entries:
        sign, colour = SIGNS[row["state"]]
        env.output.print((f"{sign} {words(row)}", colour))
    text = texts.DIFFERING if found.live and found.differing else texts.ENTRIES
    count = len(found.entries)
    env.output.note(text(count=count, map=found.map, differing=found.differing, generation=found.generation))
