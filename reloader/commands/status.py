"""status: every pipeline, as records and kernel tell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command

if TYPE_CHECKING:
    from reloader.report.status import MapStatus, PipelineStatus

STATE_COLOUR = {"serving": "green", "unconfirmed": "yellow", "removed": "dim", "orphaned": "yellow"}
"""All others are red."""


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "status",
        run,
        "show every pipeline, and its drift",
        """Per pipeline: generation, load, maps, and attachments with the program that each of them runs now. Drift is
shown where it is found, for example a program of another owner on our hook, or a missing interface or pin.""",
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Show what records and kernel tell of each pipeline."""
    from reloader.report.status import collect

    found = collect(env.host, args.pipelines)
    if not found:
        env.output.print(texts.NO_PIPELINES())
    for one in found:
        _show(env, one)
    env.output.document("Status", {"pipelines": [one.to_json() for one in found]})
    return 0


def _show(env: Environment, one: PipelineStatus) -> None:
    out = env.output
    where, states = "", list[str | tuple[str, str]]()
    for state in one.states:
        states += [", " if states else "  ", (state.value, STATE_COLOUR.get(state, "red"))]
    if one.generation:
        where = f"  generation {one.generation}, load {one.load}, since {one.since} ({one.reason})"
    out.print((one.pipeline, "bold"), *states, where)
    for problem in one.problems:
        out.print("  ", (f"! {problem}", "yellow"))
    for note in one.notes:
        out.print(f"  {note}")
    rows = [(f"  {a.id}", a.program, a.prog_id, a.link_id, a.seen) for a in one.attachments]
    out.table(("  ATTACHMENT", "PROGRAM", "PROG ID", "LINK ID", "SEEN"), rows)
    maps = [(f"  {m.name}", _role(m), m.type, m.id, m.entries, m.pub or m.pin) for m in one.maps]
    out.table(("  MAP", "ROLE", "TYPE", "ID", "ENTRIES", "PIN"), maps)


def _role(row: MapStatus) -> str:
    return f"{row.role}, parked" if row.parked else str(row.role)
