"""show --map, --live, and diff --live: what maps hold by field name, and drift. Called by report.py."""

from __future__ import annotations

import argparse
from typing import Any

from reloader.commands.environment import Environment
from reloader.errors import UsageError
from reloader.wording.printable import counted

SIGNS = {"same": (" ", ""), "changed": ("~", "yellow"), "extra": ("+", "green"), "missing": ("-", "red")}
COLOURS = {"+": "green", "-": "red", "~": "yellow"}


def show_map(args: argparse.Namespace, env: Environment) -> int:
    from reloader.report import drift

    if not args.map:
        raise UsageError("--live needs --map MAP", hint=f"`reloader diff {args.pipeline} --live` shows all drift")
    if args.live and args.generation is not None:
        raise UsageError("--live is about what serves now, not about a stored generation")
    if args.live:
        body = drift.live_contents(env.host, args.pipeline, args.map)
    else:
        body = drift.contents(env.paths, args.pipeline, args.generation, args.map)
    _print_map(env, body)
    env.output.document("MapContents", body)
    return 0


def _print_map(env: Environment, body: dict[str, Any]) -> None:
    from reloader.report.drift import words

    for row in body["entries"]:
        sign, colour = SIGNS[row["state"]]
        env.output.print((f"{sign} {words(row)}", colour))
    differing = body["differing"]
    note = f"{differing} otherwise than generation {body['generation']} lists" if body["live"] and differing else ""
    env.output.note(f"{body['map']}: {counted(len(body['entries']), 'entry')}{f', {note}' if note else ''}")


def show_drift(args: argparse.Namespace, env: Environment) -> int:
    from reloader.report import drift

    if not args.live:
        raise UsageError("two generations, or --live", hint=f"`reloader history {args.pipeline}` lists them")
    if args.old is not None:
        raise UsageError("--live compares the current generation; it takes no numbers")
    number, lines = drift.drift(env.host, args.pipeline)
    for line in lines:
        env.output.print((line, COLOURS.get(line[0], "")))
    if not lines:
        env.output.print(f"the kernel is as generation {number} left it")
    body = {"pipeline": args.pipeline, "old": number, "new": 0, "live": True, "lines": lines}
    env.output.document("Diff", body)
    return 0
