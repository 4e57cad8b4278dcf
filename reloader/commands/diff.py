"""diff: two generations compared, or the current one with the kernel."""

from __future__ import annotations

import argparse

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.errors import UsageError

COLOURS = {"+": "green", "-": "red", "~": "yellow"}


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "diff",
        run,
        "compare two generations, or the current one with the kernel",
        """Compares objects, rodata, programs, attachments, map shapes field by field, and counts entries that differ.

--live shows drift: programs, links, pins and entries of config maps in the kernel, compared with the current
generation.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("old", type=int, nargs="?", metavar="N")
    parser.add_argument("new", type=int, nargs="?", metavar="M")
    parser.add_argument("--live", action="store_true", help="compare the current generation with the running kernel")


def run(args: argparse.Namespace, env: Environment) -> int:
    """What differs between two generations, or between the current one and the kernel."""
    if args.live:
        return _drift(args, env)
    if args.new is None:
        raise UsageError(texts.TWO_GENERATIONS(pipeline=args.pipeline))
    from reloader.report.diff import diff

    lines = diff(env.paths, args.pipeline, args.old, args.new)
    _print(env, lines, texts.ALIKE(old=args.old, new=args.new))
    body = {"pipeline": args.pipeline, "old": args.old, "new": args.new, "live": False, "lines": lines}
    env.output.document("Diff", body)
    return 0


def _drift(args: argparse.Namespace, env: Environment) -> int:
    from reloader.report.drift import find_drift

    if args.old is not None:
        raise UsageError(texts.LIVE_HAS_NO_NUMBERS(pipeline=args.pipeline))
    number, found = find_drift(env.host, args.pipeline)
    lines = [one.text() for one in found]
    _print(env, lines, texts.NO_DRIFT(generation=number))
    body = {"pipeline": args.pipeline, "old": number, "new": 0, "live": True, "lines": lines}
    env.output.document("Diff", body)
    return 0


def _print(env: Environment, lines: list[str], if_none: str) -> None:
    for line in lines:
        env.output.print((line, COLOURS.get(line[0], "")))
    if not lines:
        env.output.print(if_none)
